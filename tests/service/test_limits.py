"""The queue: it has an end, waiting has an end, who leaves gives its place back, and a stop answers who was let in."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.service.raw import post, read

BODY = json.dumps({"query": "refund order 8841"}).encode()
SLOW = json.dumps({"queries": ["refund the order of last week " * 30] * 100, "k": 20, "rewrite": "off"}).encode()


@contextmanager
def busy(server: Server) -> Iterator[socket.socket]:
    """Keep the only worker computing for a second or more."""
    with socket.create_connection(server.address) as connection:
        connection.sendall(post(SLOW))
        time.sleep(0.2)
        yield connection


def connections(stack: ExitStack, server: Server, count: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(server.address)) for _ in range(count)]


@pytest.fixture(scope="module")
def small(sample_folder: Path) -> Iterator[Server]:
    with serving(sample_folder, "--workers", "1", "--queue", "2") as server:
        yield server


@pytest.fixture
def _calm() -> Iterator[None]:
    yield
    time.sleep(2.2)  # the moment for which a refusal keeps the queue short


@pytest.mark.usefixtures("_calm")
def test_who_finds_the_queue_full_is_told_at_once(small: Server) -> None:
    with ExitStack() as stack:
        slow = stack.enter_context(busy(small))
        callers = connections(stack, small, 10)
        start = time.monotonic()
        for caller in callers:
            caller.sendall(post(BODY, b"X-Request-Id: mine"))
            time.sleep(0.01)
        refused = [read(caller) for caller in callers[2:]]
        assert time.monotonic() - start < 1, "while the worker was busy"
        for reply in refused:
            assert reply.status == 429
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.headers["content-type"] == "application/problem+json"
            assert (reply.headers["x-request-id"], reply.json["request_id"]) == ("mine", "mine")
            assert "more requests come than can be answered" in reply.json["detail"]
        assert [read(one).status for one in (slow, *callers[:2])] == [200] * 3
        callers[-1].sendall(post(BODY))
        assert read(callers[-1]).status == 200, "over the connection on which it was refused"


@pytest.mark.usefixtures("_calm")
def test_a_probe_is_answered_under_load(small: Server) -> None:
    with ExitStack() as stack:
        stack.enter_context(busy(small))
        for caller in connections(stack, small, 6):
            caller.sendall(post(BODY))
        [probe] = connections(stack, small, 1)
        probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read(probe).status == 200


def test_who_has_waited_too_long_is_not_computed(small: Server) -> None:
    with ExitStack() as stack:
        stack.enter_context(busy(small))
        hasty, patient = connections(stack, small, 2)
        hasty.sendall(post(BODY, b"X-Request-Timeout: 0.05"))
        patient.sendall(post(BODY, b"X-Request-Timeout: 60"))
        late = read(hasty)
        assert late.status == 503
        assert "waited" in late.json["detail"]
        assert read(patient).status == 200


@pytest.mark.parametrize("text", [b"soon", b"-1", b"0", b"nan", b"inf", b""])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(small: Server, text: bytes) -> None:
    with socket.create_connection(small.address) as caller:
        caller.sendall(post(BODY, b"X-Request-Timeout: " + text))
        reply = read(caller)
        assert reply.status == 400
        assert "X-Request-Timeout" in reply.json["detail"]


def test_the_service_has_a_deadline_of_its_own(sample_folder: Path) -> None:
    with (
        serving(sample_folder, "--workers", "1", "--deadline", "0.1") as server,
        busy(server) as slow,
        socket.create_connection(server.address) as caller,
    ):
        caller.sendall(post(BODY))
        assert read(caller).status == 503
        assert read(slow).status == 200


def test_who_goes_away_gives_its_place_to_another(small: Server) -> None:
    with ExitStack() as stack:
        stack.enter_context(busy(small))
        before = len(small.log)
        for caller in connections(stack, small, 2):
            caller.sendall(post(BODY))
            time.sleep(0.05)
            caller.close()
        time.sleep(0.1)
        staying = connections(stack, small, 2)
        for caller in staying:
            caller.sendall(post(BODY))
        assert [read(caller).status for caller in staying] == [200, 200]
        time.sleep(0.2)
        computed = [line for line in small.log[before:] if line.get("route") == "/retrieve"]
        assert len(computed) == 3, "the slow one and those that stayed"


def test_requests_sent_together_over_one_connection_are_all_answered(small: Server) -> None:
    with socket.create_connection(small.address) as caller:
        caller.sendall(post(BODY) * 20)
        received = b""
        while received.count(b"HTTP/1.1 ") < 20:
            received += caller.recv(65536)
        assert received.count(b"HTTP/1.1 200 OK") == 20


def test_a_stop_answers_all_who_were_let_in_and_nobody_new_keeps_it_up(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "1") as server, ExitStack() as stack:
        slow = stack.enter_context(busy(server))
        waiting = connections(stack, server, 5)
        for caller in waiting:
            caller.sendall(post(BODY))
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        replies = [read(one) for one in (slow, *waiting)]
        assert [reply.status for reply in replies] == [200] * 6
        assert {reply.headers["connection"] for reply in replies[1:]} == {"close"}
        assert server.process.wait(10) == 0


def test_every_request_is_answered_whatever_the_load(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "2", "--queue", "4") as server:
        statuses: list[int] = []

        def ask() -> None:
            with socket.create_connection(server.address) as caller:
                for _ in range(30):
                    caller.sendall(post(BODY))
                    statuses.append(read(caller).status)

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(statuses) == 24 * 30
        assert set(statuses) == {200, 429}
