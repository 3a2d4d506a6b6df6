"""Start servers for a measurement, and look at what they use."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def started(command: Sequence[str], port: int, seconds: float = 60) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends, and wait for its port first.

    Raises:
        RuntimeError: it ended, or the port stayed closed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(process, port, time.monotonic() + seconds)
        yield process
    finally:
        process.terminate()
        process.wait(40)


def _wait(process: subprocess.Popen[bytes], port: int, deadline: float) -> None:
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            time.sleep(3)  # for the workers behind the port
            return
    raise RuntimeError(f"the server did not open port {port}")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in MB; shared pages count for each."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in (pid, *map(int, children)):
        status = Path(f"/proc/{one}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return total / 1024
