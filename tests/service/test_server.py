"""The server as a process: bytes that are no HTTP, slow clients, signals, and what it refuses to start with."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.config import Settings
from service.server import listen
from tests.conftest import Finished, Server, serving

BODY = json.dumps({"query": "refund order 8841"}).encode()
HEAD = b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)


def send(server: Server, *parts: bytes, pause: float = 0) -> bytes:
    """Send raw bytes, and return all that comes back until the server closes or is silent for a moment."""
    with socket.create_connection(server.address, timeout=2) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionError):
            pass
        return received


MALFORMED = {
    "no address": (b"GET http://[bad HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "header without colon": (b"GET /healthz HTTP/1.1\r\nHost x\r\n\r\n", 400),
    "length is a word": (b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
    "length is negative": (b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    "length and chunks": (
        b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
        501,
    ),
    "broken chunk": (
        b"POST /retrieve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    "headers too large": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 500_000 + b"\r\n\r\n", 431),
    "announced body too large": (
        b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n",
        413,
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_proper_http_gets_problem_details(server: Server, case: str) -> None:
    sent, status = MALFORMED[case]
    head, _, body = send(server, sent).partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert b"Traceback" not in body


def test_a_client_that_leaves_in_the_middle_does_no_harm(server: Server) -> None:
    for cut in (5, len(REQUEST) - 1, len(REQUEST) + 3):
        with socket.create_connection(server.address) as connection:
            connection.sendall((REQUEST + BODY)[:cut])
    assert server.ask("/healthz").status == 200


def test_a_chunked_body_is_read(server: Server) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\n\r\n"
    assert send(server, head + b"Connection: close\r\n\r\n" + chunks).startswith(b"HTTP/1.1 200")


def test_a_refused_head_has_no_body_that_the_next_answer_would_begin_with(server: Server) -> None:
    refused = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: soon\r\n\r\n"
    head, _, rest = send(server, refused + REQUEST + BODY).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert rest.startswith(b"HTTP/1.1 200")


def test_several_requests_over_one_connection(server: Server) -> None:
    assert send(server, (REQUEST + BODY) * 3).count(b"HTTP/1.1 200 OK") == 3


def test_slow_clients_do_not_keep_others_waiting(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "1", "--queue", "50") as server:
        slow = [socket.create_connection(server.address) for _ in range(50)]
        for number, connection in enumerate(slow):
            connection.sendall((REQUEST + BODY)[: 10 + 3 * number])  # some stop in the header, some in the body
        start = time.monotonic()
        assert all(server.ask("/retrieve", {"query": "refund"}).status == 200 for _ in range(10))
        assert time.monotonic() - start < 5
        for number, connection in enumerate(slow):
            connection.sendall((REQUEST + BODY)[10 + 3 * number :])
        for connection in slow:
            connection.settimeout(10)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.close()


def test_many_callers_get_their_own_answers(sample_folder: Path) -> None:
    def ask(number: int) -> bool:
        text = f"refund order {number}"
        reply = server.ask("/retrieve", {"query": text, "k": 1 + number % 9}).json
        return bool(reply["query"] == text and len(reply["tools"]) == 1 + number % 9)

    with serving(sample_folder, "--queue", "16") as server, ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_stop_answers_what_was_asked(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "2") as server:
        body = json.dumps({"queries": ["refund the order of last week " * 20] * 100, "k": 20}).encode()
        replies: list[int] = []
        asking = threading.Thread(target=lambda: replies.append(server.ask("/retrieve", body).status))
        asking.start()
        time.sleep(0.1)  # a hundred long queries take a second
        server.process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert replies == [200]
        assert server.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, 1)


def test_a_stop_does_not_wait_for_idle_connections(sample_folder: Path) -> None:
    with serving(sample_folder) as server, socket.create_connection(server.address) as idle:
        idle.sendall(REQUEST)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - start < 10


def test_a_killed_worker_is_replaced(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "1") as server:
        pid = server.process.pid
        [worker] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        assert server.ask("/retrieve", {"query": "refund"}).status == 200
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text().split() != [worker]


def test_the_first_line_says_how_many_tools_there_are_now_and_what_to_try(
    sample_folder: Path, tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    folder = shutil.copytree(sample_folder, tmp_path / "index")
    (tmp_path / "zoo.json").write_text('{"tools": [{"name": "feed", "description": "Feed the animals."}]}')
    assert cli("tools", "add", tmp_path / "zoo.json", "--index", folder).status == 0
    environment = {**os.environ, "QTA_INDEX": str(folder), "QTA_PORT": "0"}
    with_settings = [sys.executable, "-m", "service", "--workers", "1", "--port", "0"]
    process = subprocess.Popen(with_settings, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving 259 tools on http://127.0.0.1:")
        command = process.stdout.readline().strip()
        answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        assert json.loads(answer)["tools"][0]["tool_id"] == "shop/request_refund"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--index", "nothing"], {}, "nothing: no index; make one with `qta index"),
        ([], {"QTA_INDEX": "nothing"}, "nothing: no index"),
        (["--port", "70000"], {}, "70000 is not in the range"),
        (["--port", "http"], {}, "'http' is not a valid integer"),
        (["--workers", "0"], {}, "0 is not in the range"),
        (["--wrokers", "2"], {}, "No such option"),
        ([], {"QTA_PORT": "http"}, "QTA_PORT is 'http': Input should be a valid integer"),
        ([], {"QTA_WORKERS": "-1"}, "QTA_WORKERS is '-1': Input should be greater than or equal to 1"),
        ([], {"QTA_INDXE": "index"}, "unknown setting QTA_INDXE; known: QTA_INDEX"),
        (["--index", "{sample}", "--host", "203.0.113.7"], {}, "cannot listen on 203.0.113.7"),
        (["--index", "{sample}", "--host", "no.such.host.invalid"], {}, "cannot listen on no.such.host.invalid"),
        (["--index", "{sample}", "--port", "{taken}"], {}, "Address already in use; choose another"),
    ],
)
def test_it_refuses_to_start_in_two_lines(
    options: list[str], environment: dict[str, str], message: str, sample_folder: Path, qta: Callable[..., Finished]
) -> None:
    with listen(Settings(port=0)) as taken:
        taken.listen()
        values = {"{sample}": str(sample_folder), "{taken}": str(taken.getsockname()[1])}
        finished = qta("serve", *(values.get(option, option) for option in options), environment=environment)
    assert finished.status == 2
    assert finished.out == ""
    assert 1 <= len(finished.err.splitlines()) <= 2
    assert message in finished.err


def test_a_damaged_index_is_not_served(sample_folder: Path, tmp_path: Path, qta: Callable[..., Finished]) -> None:
    import shutil

    folder = Path(shutil.copytree(sample_folder, tmp_path / "index"))
    [vectors] = folder.glob("*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-1])
    finished = qta("serve", "--index", folder, "--port", 0)
    assert finished.status == 2
    assert "vectors.npy: missing or damaged; build the index again" in finished.err
