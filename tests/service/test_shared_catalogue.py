"""One catalogue under several processes, a full disk and a held lock: seen by all, or said and not done."""

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit

from tests.conftest import Server, serving
from tests.service.test_retrieve import problem
from tests.service.test_tools import FEED, count, get, put


def workers_of(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_change_through_one_worker_is_seen_by_the_other_within_a_second(sample_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sample_folder, tmp_path / "index")
    with serving(folder, "--workers", "2") as server:
        deadline = time.monotonic() + 20
        while len(workers_of(server)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)  # until the second one has its index open
        one, other = workers_of(server)
        for round_, (writer, reader) in enumerate([(one, other), (other, one)] * 2):
            tool_id = f"round/feed_{round_}"
            record = {"id": tool_id, "name": f"feed_{round_}", "description": f"Feed animal number {round_}."}
            os.kill(reader, signal.SIGSTOP)  # so that the writer, and it alone, answers
            put(server, record)
            written = time.monotonic()
            os.kill(writer, signal.SIGSTOP)
            os.kill(reader, signal.SIGCONT)
            found = server.ask("/retrieve", {"query": f"feed_{round_}", "k": 1}).json["tools"][0]["tool_id"]
            seen = time.monotonic() - written
            os.kill(writer, signal.SIGCONT)
            assert found == tool_id
            assert seen < 1


def test_a_full_disk_is_said_and_changes_nothing(sample_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sample_folder, tmp_path / "index")
    with serving(folder, "--workers", "1") as server:
        assert put(server, FEED)["added"] == 1
        [worker] = workers_of(server)
        log = folder / "changes.db-wal"
        prlimit(worker, RLIMIT_FSIZE, (log.stat().st_size + 20_000, RLIM_INFINITY))  # no file may grow beyond it
        records = [{"name": f"t{n}", "description": f"Tool number {n}. " * 20} for n in range(200)]
        content = problem(server.ask("/tools", {"tools": [*records, {**FEED, "tags": []}]}, "PUT"), 507)
        assert "nothing was changed" in content["detail"]
        assert str(tmp_path) not in json.dumps(content)
        assert (count(server), get(server, "zoo/feed")) == (259, FEED)
        assert server.ask("/retrieve", {"query": "feed the animals", "k": 1}).json["tools"][0]["tool_id"] == "zoo/feed"
        prlimit(worker, RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
        assert put(server, *records)["added"] == 200
    with serving(folder, "--workers", "1") as server:
        assert (count(server), get(server, "zoo/feed")) == (459, FEED)


def test_a_log_that_another_process_holds_is_said(sample_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sample_folder, tmp_path / "index")
    with serving(folder, "--workers", "1") as server:
        blocker = sqlite3.connect(folder / "changes.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        reply = server.ask("/tools", {"tools": [FEED]}, "PUT")
        assert "try again" in problem(reply, 503)["detail"]
        assert reply.headers["Retry-After"] == "1"
        problem(server.ask("/tools/zoo/feed"), 404)
        blocker.execute("ROLLBACK")
        blocker.close()
        assert put(server, FEED)["added"] == 1
