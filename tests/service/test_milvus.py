"""A service over tools in Milvus: one server, several workers, and what is left when the server is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service import Settings
from service.server import listen
from tests.conftest import ROOT, Finished, serving
from tests.service.test_degradation import children, eventually, reasons
from tests.service.test_retrieve import problem
from tests.service.test_tools import FEED, count, get, put

Qta = Callable[..., Finished]
ASK = {"query": "refund order 8841", "k": 5}
FEEDING = {"query": "feed the animals", "k": 1}


def free_port() -> int:
    with listen(Settings(port=0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def milvus(folder: Path, port: int, *token: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a Milvus server until the block ends."""
    command = [sys.executable, str(ROOT / "tests" / "milvus_server.py"), str(folder), str(port), *token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def ids(answer: Any) -> list[str]:
    return [tool["tool_id"] for tool in answer["tools"]]


def test_a_file_of_milvus_lite_is_served_by_one_worker(qta: Qta, tmp_path: Path) -> None:
    assert qta("index", "sample:", "--out", "index", "--milvus", "tools.db").out == "indexed 258 tools in index\n"
    with serving(tmp_path / "index", "--workers", "1") as server:
        answer = server.ask("/retrieve", ASK).json
        assert (ids(answer)[0], answer["index"]["tools"], answer["index"]["search"]) == (
            "shop/request_refund",
            258,
            "milvus",
        )
        assert put(server, FEED)["added"] == 1
        assert ids(server.ask("/retrieve", FEEDING).json) == ["zoo/feed"]
        assert server.ask("/tools/shop/request_refund", method="DELETE").json["removed"] == 1
        assert "shop/request_refund" not in ids(server.ask("/retrieve", ASK).json)
        assert server.ask("/readyz").json["status"] == "ready"
        assert "qta_index_tools" in server.ask("/metrics").body.decode()
    assert "zoo/feed  " in qta("tools", "list", "--index", "index", "--prefix", "zoo/").out
    with serving(tmp_path / "index", "--workers", "1") as server:
        assert (count(server), get(server, "zoo/feed")) == (258, FEED)


def test_all_commands_find_the_tools_where_the_folder_says(qta: Qta, tmp_path: Path) -> None:
    qta("index", "sample:", "--out", "index", "--milvus", "tools.db")
    (tmp_path / "more.jsonl").write_text('{"name": "feed", "description": "Feed the animals.", "parameters": {}}\n')
    assert qta("tools", "add", "zoo=more.jsonl", "--index", "index").out == "1 added, 0 changed, 0 unchanged\n"
    assert "zoo/feed" in qta("retrieve", "feed the animals", "-k", "1", "--index", "index").out
    assert qta("tools", "remove", "zoo/feed", "--index", "index").out == "1 removed\n"
    assert qta("keys", "create", "a", "--index", "index").out.startswith("qta_")
    merged = qta("tools", "merge", "--index", "index")
    assert (merged.status, "nothing to merge" in merged.err) == (2, True)
    again = qta("index", "zoo=more.jsonl", "--out", "index", "--milvus", "tools.db")
    assert again.out == "indexed 1 tools in index\n"
    assert qta("tools", "list", "--index", "index").out == "zoo/feed  Feed the animals.\n"


def test_workers_see_each_others_changes_within_a_second(qta: Qta, tmp_path: Path) -> None:
    port = free_port()
    with milvus(tmp_path / "milvus", port):
        assert qta("index", "sample:", "--out", "index", "--milvus", f"http://127.0.0.1:{port}").status == 0
        with serving(tmp_path / "index", "--workers", "2") as server:
            assert eventually(lambda: len(children(server)) == 2)
            time.sleep(3)  # until both have their tools
            one, other = children(server)
            for round_, (writer, reader) in enumerate([(one, other), (other, one)] * 2):
                tool_id = f"round/feed_{round_}"
                os.kill(reader, signal.SIGSTOP)  # so that the writer, and it alone, answers
                put(server, {"id": tool_id, "name": f"feed_{round_}", "description": f"Feed animal number {round_}."})
                os.kill(writer, signal.SIGSTOP)
                time.sleep(0.5)
                written = time.monotonic()
                os.kill(reader, signal.SIGCONT)
                found = ids(server.ask("/retrieve", {"query": f"feed_{round_}", "k": 1}).json)
                seen = 0.5 + time.monotonic() - written
                os.kill(writer, signal.SIGCONT)
                assert found == [tool_id]
                assert seen < 1


def test_a_server_that_is_gone_while_serving(qta: Qta, tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with milvus(tmp_path / "milvus", port) as process:
        qta("index", "sample:", "--out", "index", "--milvus", uri)
        with serving(tmp_path / "index", "--workers", "1") as server:
            assert put(server, FEED)["added"] == 1
            before = server.ask("/retrieve", ASK).json
            process.kill()
            process.wait()
            during = server.ask("/retrieve", ASK)
            assert (during.status, reasons(during.json)) == (200, ["index_outdated"])
            assert ids(during.json) == ids(before)
            assert ids(server.ask("/retrieve", FEEDING).json) == ["zoo/feed"], "also what was put since"
            start = time.monotonic()
            refused = server.ask("/tools", {"tools": [{**FEED, "description": "Something else."}]}, "PUT")
            assert time.monotonic() - start < 1, "no request waits for a server that is known to be gone"
            assert "send it again" in problem(refused, 503)["detail"]
            assert refused.headers["Retry-After"] == "5"
            ready = server.ask("/readyz")
            assert (ready.status, ready.json["status"], ready.json["degraded"]) == (200, "degraded", ["index_outdated"])
            assert uri in ready.json["troubles"]["index_outdated"]
            os.kill(children(server)[0], signal.SIGKILL)
            assert problem(server.ask("/retrieve", ASK), 503), "a worker that starts without tools says so"
            with milvus(tmp_path / "milvus", port):
                assert eventually(lambda: server.ask("/retrieve", ASK).status == 200, 20)
                assert put(server, {**FEED, "description": "Give the animals water."})["changed"] == 1
                assert server.ask("/readyz").json["status"] == "ready"


def test_what_is_changed_while_a_worker_is_cut_off_is_seen_when_the_server_is_back(qta: Qta, tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with milvus(tmp_path / "milvus", port) as process:
        qta("index", "sample:", "--out", "index", "--milvus", uri)
        with serving(tmp_path / "index", "--workers", "1") as server:
            server.ask("/retrieve", ASK)
            process.kill()
            process.wait()
            assert reasons(server.ask("/retrieve", ASK).json) == ["index_outdated"]
            [worker] = children(server)
            os.kill(worker, signal.SIGSTOP)
            with milvus(tmp_path / "milvus", port):
                assert qta("tools", "remove", "shop/request_refund", "--index", "index").status == 0
                os.kill(worker, signal.SIGCONT)
                assert eventually(lambda: reasons(server.ask("/retrieve", ASK).json) == [], 20)
                assert "shop/request_refund" not in ids(server.ask("/retrieve", ASK).json)


def refusal(done: Finished) -> str:
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


def test_what_cannot_be_served_is_refused_at_start_in_a_line(qta: Qta, tmp_path: Path) -> None:
    port = free_port()
    with milvus(tmp_path / "milvus", port, "root:secret"):
        named = ("--milvus", f"http://127.0.0.1:{port}")
        token = {"QTA_MILVUS_TOKEN": "root:secret"}
        assert "auth check failure" in refusal(qta("index", "sample:", "--out", "index", *named))
        assert not (tmp_path / "index").exists()
        assert qta("index", "sample:", "--out", "index", *named, environment=token).status == 0
        wrong = refusal(qta("serve", "--index", "index", environment={"QTA_MILVUS_TOKEN": "root:wrong"}))
        assert "auth check failure" in wrong
        assert "root:" not in wrong
    assert f"http://127.0.0.1:{port} (qta_tools): Milvus did not answer" in refusal(qta("serve", "--index", "index"))
    (tmp_path / "absent" / "pymilvus").mkdir(parents=True)
    (tmp_path / "absent" / "pymilvus" / "__init__.py").write_text("raise ImportError")
    path = {"PYTHONPATH": f"{tmp_path / 'absent'}:{ROOT}"}
    assert "pip install pymilvus" in refusal(qta("serve", "--index", "index", environment=path))
    (tmp_path / "index" / "milvus.json").write_text('{"uri": "tools.db"}')
    assert "give --workers 1" in refusal(qta("serve", "--index", "index", "--workers", "2"))
    (tmp_path / "index" / "milvus.json").write_text("{")
    assert "milvus.json: cannot be read" in refusal(qta("serve", "--index", "index"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://root:secret@host:19530", "put it into QTA_MILVUS_TOKEN"),
        ("ftp://host:19530", "expected e.g. http://host:19530"),
        ("http://host", "expected e.g. http://host:19530"),
        ("host:19530", "expected e.g. http://host:19530"),
        ("http://host:port", "expected e.g. http://host:19530"),
    ],
)
def test_an_address_that_is_none_is_refused(cli: Qta, tmp_path: Path, uri: str, said: str) -> None:
    error = refusal(cli("index", "sample:", "--out", tmp_path / "index", "--milvus", uri))
    assert said in error
    assert "secret" not in error


def test_a_folder_has_tools_of_its_own_or_says_where_they_are(cli: Qta, sample_folder: Path, tmp_path: Path) -> None:
    lite = ("--milvus", tmp_path / "tools.db")
    assert "holds an index of its own" in refusal(cli("index", "sample:", "--out", sample_folder, *lite))
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "milvus.json").write_text('{"uri": "http://host:19530"}')
    assert "milvus.json" in refusal(cli("index", "sample:", "--out", tmp_path / "index"))
