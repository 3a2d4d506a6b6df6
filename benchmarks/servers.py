"""Compare HTTP servers under our application: with four callers, and while some clients send their body slowly.

    python -m benchmarks.servers [--out results]

All serve the bundled sample from two processes (waitress alone has one) on this machine, and take turns, a round
each, so that they meet the same moods of the machine. The sample's requests are the load. Gunicorn's sync workers are
not in the field: they close the connection after each answer.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.load import Load, generate, post
from benchmarks.processes import free_port, resident_mb, started
from benchmarks.published import describe_machine, publish
from mtrb.benchmarks import load
from qta.refusals import run_command

ROUNDS = 7
_REQUESTS_A_ROUND = 600
_SLOW_CLIENTS = (1, 4, 8, 64)
_PATIENCE = 3.0  # seconds; an answer takes milliseconds

_GUNICORN = (
    "-m",
    "gunicorn",
    "benchmarks.wsgi:app",
    "--no-control-socket",
    "--bind",
    "127.0.0.1:{port}",
    "--workers",
    "2",
)
SERVERS = {
    "ours: gunicorn, a waitress in each worker": ("-m", "service", "--workers", "2", "--port", "{port}"),
    "gunicorn (4 threads a worker)": (*_GUNICORN, "--worker-class", "gthread", "--threads", "4"),
    "granian (4 threads a worker)": (
        *("-m", "granian", "--interface", "wsgi", "benchmarks.wsgi:app", "--port", "{port}"),
        *("--workers", "2", "--blocking-threads", "4", "--no-access-log"),
    ),
    "waitress (one process, 4 threads)": ("-m", "waitress", "--listen", "127.0.0.1:{port}", "benchmarks.wsgi:app"),
}


@contextmanager
def serving(arguments: tuple[str, ...], index: Path) -> Iterator[tuple[int, int]]:
    """Run a server; give its port and process id."""
    port = free_port()
    os.environ["QTA_INDEX"] = str(index)
    with started([sys.executable, *(part.format(port=port) for part in arguments)], port) as process:
        yield port, process.pid


def slow_clients_borne(port: int) -> int:
    """Return how many clients that have sent half their body leave another client its answer."""
    whole = post("/retrieve", json.dumps({"query": "refund order 8841"}).encode())
    borne = 0
    with ExitStack() as stack:
        opened = 0
        for number in _SLOW_CLIENTS:
            for _ in range(number - opened):
                slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                slow.sendall(whole[:-10])
            opened = number
            if not _is_answered(port, whole):
                break
            borne = number
    return borne


def _is_answered(port: int, whole: bytes) -> bool:
    # Two clients one after the other: with two workers the first may have been lucky.
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", port), _PATIENCE) as client:
            try:
                client.sendall(whole)
                if not client.recv(100).startswith(b"HTTP/1.1 200"):
                    return False
            except (TimeoutError, ConnectionError):
                return False
    return True


def measure(index: Path, requests: list[bytes]) -> dict[str, dict[str, Any]]:
    """Return each server's medians over the rounds."""
    one: dict[str, list[Load]] = {name: [] for name in SERVERS}
    four: dict[str, list[Load]] = {name: [] for name in SERVERS}
    with ExitStack() as stack:
        running = {name: stack.enter_context(serving(arguments, index)) for name, arguments in SERVERS.items()}
        for port, _ in running.values():
            generate(port, requests, 4, 200)
        for _ in tqdm(range(ROUNDS), desc="rounds"):
            for name, (port, _) in running.items():
                one[name].append(generate(port, requests, 1, _REQUESTS_A_ROUND // 3))
                four[name].append(generate(port, requests, 4, _REQUESTS_A_ROUND))
        return {
            name: {
                "per_second": statistics.median(load.per_second for load in four[name]),
                "per_second_slowest_round": min(load.per_second for load in four[name]),
                "median_ms_1_caller": statistics.median(load.median_ms for load in one[name]),
                "median_ms": statistics.median(load.median_ms for load in four[name]),
                "p99_ms": statistics.median(load.p99_ms for load in four[name]),
                "resident_mb": resident_mb(pid),
                "slow_clients_borne": slow_clients_borne(port),
            }
            for name, (port, pid) in running.items()
        }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    most = _SLOW_CLIENTS[-1]
    lines = [
        f"| {name} | {row['per_second']:.0f} ({row['per_second_slowest_round']:.0f}) | {row['median_ms_1_caller']:.1f} "
        f"| {row['median_ms']:.1f} | {row['p99_ms']:.1f} | {row['resident_mb']:.0f} "
        f"| {row['slow_clients_borne']}{' or more' * (row['slow_clients_borne'] == most)} |"
        for name, row in figures["servers"].items()
    ]
    head = (
        f"The bundled sample; {figures['machine']}; the load generator runs on the same cores; medians of {ROUNDS} "
        f"rounds in turn. Made by `{figures['command']}`."
    )
    columns = (
        "| | requests/s at 4 callers (slowest round) | median ms, 1 caller | median ms, 4 callers "
        "| 99th percentile ms, 4 callers | memory, MB | clients with half a body that leave others their answer |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, "", columns, *lines, ""])


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    requests = [
        post("/retrieve", json.dumps({"query": query.text, "k": 5}).encode()) for query in load("sample").queries
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "sample"
        subprocess.run([sys.executable, "-m", "qta", "index", "sample:", "--out", str(index)], check=True)
        figures = {
            "servers": measure(index, requests),
            "machine": describe_machine(),
            "command": "make bench-servers",
        }
    publish(out, "servers", figures, table(figures))


if __name__ == "__main__":
    run_command(main)
