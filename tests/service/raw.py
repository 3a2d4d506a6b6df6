"""HTTP by hand, for what a client library does not do."""

import socket

from tests.conftest import Reply


def post(body: bytes, *headers: bytes, path: bytes = b"/retrieve") -> bytes:
    """Return a request."""
    lines = [b"POST %s HTTP/1.1" % path, b"Host: localhost", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def read(connection: socket.socket) -> Reply:
    """Read one answer."""
    connection.settimeout(30)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return Reply(int(lines[0].split()[1]), headers, body)
