"""A load generator that costs little itself: keep-alive sockets in one thread, requests prepared beforehand."""

import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What callers saw: answers per second, and the median and 99th percentile of the answer time in ms."""

    per_second: float
    median_ms: float
    p99_ms: float


def post(path: str, body: bytes) -> bytes:
    """Return a complete HTTP request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def generate(port: int, requests: Sequence[bytes], callers: int, total: int) -> Load:
    """Send requests from some callers at a time, each sending its next one when it has its answer.

    Raises:
        ConnectionError: the server closed a connection or did not answer 200.
    """
    selector = selectors.DefaultSelector()
    times: list[float] = []
    sent = 0
    begun: dict[socket.socket, float] = {}
    answers: dict[socket.socket, bytes] = {}
    start = time.perf_counter()

    def send(connection: socket.socket) -> None:
        nonlocal sent
        begun[connection], answers[connection] = time.perf_counter(), b""
        connection.sendall(requests[sent % len(requests)])
        sent += 1

    for _ in range(callers):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        send(connection)
    while len(times) < total:
        for key, _ in selector.select():
            ready: socket.socket = key.fileobj  # type: ignore[assignment]
            received = ready.recv(1 << 20)
            if not received:
                raise ConnectionError("the server closed a connection")
            answers[ready] += received
            if _complete(answers[ready]):
                times.append(time.perf_counter() - begun[ready])
                if sent < total:
                    send(ready)
    elapsed = time.perf_counter() - start
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    times.sort()
    return Load(total / elapsed, 1000 * statistics.median(times), 1000 * times[int(0.99 * len(times))])


def _complete(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"expected 200, got {head.splitlines()[0].decode()}: {body[:200].decode()}")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0])
