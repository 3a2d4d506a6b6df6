"""What breaks while the service runs, each with the real fault: docs/operations.md has the table."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mtrb.errors import ArtefactError
from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.index import MANIFEST, build_index, read_manifest
from qta.rewriting import RewriterChoice
from service import Settings, create_app
from service.opening import check_rewriter
from service.server import listen
from tests.conftest import Server, serving
from tests.service.raw import post, read

ASK = {"query": "thing number 7", "k": 5}


def generation(number: int) -> Toolset:
    return Toolset([Tool(f"s/t{n}", f"thing_{n}", f"Thing number {n} of generation {number}.", {}) for n in range(40)])


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    build_index(generation(0), tmp_path / "index", encoder)
    return tmp_path / "index"


def damage(folder: Path) -> None:
    """Put an index in the place of the one that is there, whose vectors are not what its manifest says."""
    manifest = read_manifest(folder)
    build = f"{'0' * 12}-{os.urandom(3).hex()}"
    shutil.copytree(folder / manifest.build, folder / build)
    vectors = folder / build / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-7] + b"damaged")
    (folder / "next").write_text(manifest.model_copy(update={"build": build}).model_dump_json())
    (folder / "next").replace(folder / MANIFEST)


def reasons(answer: Any) -> list[str]:
    return [entry["reason"] for entry in answer["degraded"]]


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_a_dead_rewriter(folder: Path) -> None:
    with listen(Settings(port=0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with serving(folder, "--workers", "1", "--rewriter", url, "--rewriter-model", "m") as server:
        answer = server.ask("/retrieve", {**ASK, "rewrite": "always"})
        assert (answer.status, len(answer.json["tools"]), reasons(answer.json)) == (200, 5, ["rewrite_failed"])


def test_a_rewriter_that_does_not_answer_in_time(folder: Path) -> None:
    with listen(Settings(port=0)) as silent:
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        options = ("--rewriter", url, "--rewriter-model", "m", "--rewrite-timeout", "0.3")
        with serving(folder, "--workers", "1", *options) as server:
            server.ask("/retrieve", ASK)
            start = time.monotonic()
            answer = server.ask("/retrieve", {**ASK, "rewrite": "always"}).json
            assert time.monotonic() - start < 2
            assert (len(answer["tools"]), reasons(answer)) == (5, ["rewrite_timeout"])


def test_a_rewriter_whose_files_are_gone_when_a_worker_starts(folder: Path, tmp_path: Path) -> None:
    client = create_app(Settings(index=folder, rewriter=str(tmp_path / "gone"))).test_client()
    answer = client.post("/retrieve", json=ASK).get_json()
    assert (len(answer["tools"]), reasons(answer)) == (5, ["rewrite_failed"])
    ready = client.get("/readyz").get_json()
    assert (ready["status"], ready["degraded"]) == ("degraded", ["rewriter_absent"])
    assert "no rewriter" in ready["troubles"]["rewriter_absent"]


def test_a_rewriter_is_tried_at_start_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match="no rewriter"):
        check_rewriter(Settings(rewriter=str(tmp_path / "gone")))
    opened = tmp_path / "opened"
    monkeypatch.setattr(RewriterChoice, "open", lambda _: opened.write_text(str(os.getpid())))
    check_rewriter(Settings(rewriter="default"))
    assert int(opened.read_text()) != os.getpid(), "a model on a GPU here is none in the workers, which are forks"
    check_rewriter(Settings(rewriter="off"))


def test_an_index_swapped_for_a_damaged_one(folder: Path, encoder: Encoder) -> None:
    with serving(folder, "--workers", "2") as server:
        before = server.ask("/retrieve", ASK).json
        damage(folder)

        def all_say_so() -> bool:
            answers = [server.ask("/retrieve", ASK) for _ in range(10)]
            assert all(answer.status == 200 for answer in answers)
            assert all(answer.json["tools"] == before["tools"] for answer in answers)
            return all(reasons(answer.json) == ["index_outdated"] for answer in answers)

        # Which worker answers is chance, so these go on until the slower of the two has noticed, too.
        assert eventually(all_say_so)
        assert eventually(lambda: all(server.ask("/readyz").json["status"] == "degraded" for _ in range(10)))
        ready = server.ask("/readyz")
        assert (ready.status, ready.json["status"], ready.json["degraded"]) == (200, "degraded", ["index_outdated"])
        assert "vectors.npy: missing or damaged" in ready.json["troubles"]["index_outdated"]
        (folder / MANIFEST).unlink()
        assert server.ask("/retrieve", ASK).json["tools"] == before["tools"]
        shutil.rmtree(folder / next(path.name for path in folder.iterdir() if path.name.startswith("0" * 12)))
        for path in [path for path in folder.iterdir() if path.is_dir()]:
            shutil.rmtree(path)
        build_index(generation(1), folder, encoder)

        def recovered() -> bool:
            answers = [server.ask("/retrieve", ASK).json for _ in range(6)]
            return all(reasons(one) == [] and "generation 1" in one["tools"][0]["description"] for one in answers)

        assert eventually(recovered)
        assert eventually(lambda: [server.ask("/readyz").json["status"] for _ in range(10)] == ["ready"] * 10)


def children(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_that_starts_over_a_damaged_index(folder: Path, encoder: Encoder) -> None:
    with serving(folder, "--workers", "1") as server:
        damage(folder)
        os.kill(children(server)[0], signal.SIGKILL)
        refused = server.ask("/retrieve", ASK)
        assert refused.status == 503
        assert refused.headers["Retry-After"]
        assert "cannot be read" in refused.json["detail"]
        assert server.ask("/readyz").status == 503
        assert server.ask("/healthz").status == 200
        assert any("vectors.npy: missing or damaged" in line["message"] for line in server.log)
        shutil.rmtree(folder)
        build_index(generation(2), folder, encoder)
        assert eventually(lambda: server.ask("/retrieve", ASK).status == 200)


def test_of_two_workers_the_one_without_an_index_leaves_requests_to_the_other(folder: Path) -> None:
    with serving(folder, "--workers", "2") as server:
        assert eventually(lambda: len(children(server)) == 2)
        damage(folder)
        os.kill(children(server)[0], signal.SIGKILL)
        time.sleep(3)  # until it is back
        statuses = [server.ask("/retrieve", ASK).status for _ in range(50)]
        assert statuses.count(200) >= 48


def test_a_killed_worker_takes_no_other_workers_request_along(folder: Path) -> None:
    request = post(json.dumps(ASK).encode())
    with serving(folder, "--workers", "2", "--queue", "100") as server, ExitStack() as stack:
        callers: list[socket.socket] = []

        def both_are_asked() -> bool:
            caller = stack.enter_context(socket.create_connection(server.address, 10))
            caller.sendall(request)
            assert read(caller).status == 200
            callers.append(caller)
            owned = [sockets_of(pid, server.address[1]) for pid in children(server)]
            return len(owned) == 2 and all(len(ports) >= 3 for ports in owned)

        assert eventually(both_are_asked)
        owned = {pid: sockets_of(pid, server.address[1]) for pid in children(server)}
        killed, other = owned
        kept = [caller for caller in callers if caller.getsockname()[1] in owned[other]]
        for caller in kept:
            caller.sendall(request)
        os.kill(killed, signal.SIGKILL)
        assert [read(caller).status for caller in kept] == [200] * len(kept)
        assert eventually(lambda: len(set(children(server)) - {killed}) == 2)


def sockets_of(pid: int, port: int) -> set[int]:
    """Return the ports of the clients that a process is connected with."""
    inodes = {str(link.readlink())[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].split(":")[1], 16) for row in rows if row[9] in inodes and int(row[1].split(":")[1], 16) == port}


def test_ten_swaps_while_queries_go_on(folder: Path, encoder: Encoder) -> None:
    stop = threading.Event()
    failures: list[Any] = []
    seen: set[str] = set()
    asked = [0]

    def ask() -> None:
        while not stop.is_set():
            reply = server.ask("/retrieve", ASK)
            asked[0] += 1
            if reply.status != 200 or reply.json["degraded"]:
                failures.append(reply.body)
                continue
            generations = {tool["description"].rsplit(" ", 1)[1] for tool in reply.json["tools"]}
            if len(generations) != 1 or len(reply.json["tools"]) != 5:
                failures.append(reply.body)
            seen.update(f"{one} {reply.json['index']['fingerprint']}" for one in generations)

    with serving(folder, "--workers", "2") as server:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 11):
            build_index(generation(number), folder, encoder)
            time.sleep(0.2)
        time.sleep(1)
        last = server.ask("/retrieve", ASK).json
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert "generation 10." in last["tools"][0]["description"]
    assert len(seen) == len({one.split()[0] for one in seen}) >= 8, "a generation has one fingerprint"
    assert asked[0] > 50
