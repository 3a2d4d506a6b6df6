"""Ask the service for more than it can do: what becomes of throughput, and of the time of those it takes.

    python -m benchmarks.overload [--out results]

Serves the bundled sample from one worker a core on this machine, which also runs the load generator. Capacity is what
callers that wait for their answers get out of it, two for each worker. Then requests come at a given rate whether or
not earlier ones are answered, each over a connection of its own choosing from a pool, and their time counts from when
they were due. Unloaded is a tenth of the capacity. A burst fills the queue before the service knows that it is more
than a burst: the first two seconds of each stretch count for `slowest` only.
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.load import generate, post
from benchmarks.processes import free_port, started
from benchmarks.published import describe_machine, publish
from mtrb.benchmarks import load
from qta.refusals import run_command

LOADS = (0.1, 1.0, 2.0, 5.0)
ROUNDS = 5
_SECONDS = 10.0
_BURST_SECONDS = 2.0
_CONNECTIONS = 64
_CALM_SECONDS = 3.0  # after which the service has forgotten the load before
_PATIENCE = 30.0


@dataclass
class Outcome:
    """What came of a stretch of load: times in ms of what was answered, from when it was due, and the refused."""

    seconds: float = 0.0
    slowest: float = 0.0
    times: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    failed: int = 0

    def note(self, status: int, due: float, taken: float) -> None:
        """Count an answer to a request that was due so many seconds from the beginning."""
        if status == 200:
            self.slowest = max(self.slowest, taken)
        if status not in (200, 429):
            self.failed += 1
        elif due >= _BURST_SECONDS:
            (self.times if status == 200 else self.refusals).append(taken)

    def to_json(self) -> dict[str, float]:
        """Return the figures of a row."""
        times, asked = sorted(self.times), len(self.times) + len(self.refusals) + self.failed
        return {
            "offered_per_second": asked / self.seconds,
            "answered_per_second": len(times) / self.seconds,
            "median_ms": statistics.median(times),
            "slowest_ms": self.slowest,
            "p99_ms": times[int(0.99 * len(times))],
            "refused": len(self.refusals) / asked,
            "refusal_median_ms": statistics.median(self.refusals) if self.refusals else 0.0,
            "failed": self.failed,
        }


def offer(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Outcome:
    """Send requests at a rate, over as many connections at most as the pool has; wait for all answers."""
    selector = selectors.DefaultSelector()
    idle: deque[socket.socket] = deque()
    due: dict[socket.socket, float] = {}
    answers: dict[socket.socket, bytes] = {}
    for _ in range(_CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        idle.append(connection)
    outcome = Outcome()
    start, sent, total = time.perf_counter(), 0, int(rate * seconds)
    while sent < total or due:
        now = time.perf_counter()
        while sent < total and start + sent / rate <= now and idle:
            connection = idle.popleft()
            due[connection], answers[connection] = start + sent / rate, b""
            connection.sendall(requests[sent % len(requests)])
            sent += 1
        pause = max(0.0, start + sent / rate - now) if sent < total and idle else _PATIENCE
        for key, _ in selector.select(pause):
            ready: socket.socket = key.fileobj  # type: ignore[assignment]
            answers[ready] = answers.get(ready, b"") + ready.recv(1 << 20)
            status = _status(answers[ready])
            if status is not None:
                outcome.note(status, due[ready] - start, 1000 * (time.perf_counter() - due.pop(ready)))
                idle.append(ready)
    outcome.seconds = time.perf_counter() - start - _BURST_SECONDS
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return outcome


def _status(answer: bytes) -> int | None:
    """Return the status of a complete answer."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(head.split()[1]) if blank and lengths and len(body) >= int(lengths[0]) else None


def measure(index: Path, requests: Sequence[bytes], options: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return the capacity, and for each load the medians over the rounds."""
    port, workers = free_port(), os.cpu_count() or 1
    command = [sys.executable, "-m", "service", "--index", str(index), "--port", str(port), *options]
    rows: dict[float, list[dict[str, float]]] = {load: [] for load in LOADS}
    capacities = []
    with started(command, port):
        generate(port, requests, 2 * workers, 400)
        for _ in tqdm(range(rounds), desc="rounds"):
            time.sleep(_CALM_SECONDS)
            capacities.append(generate(port, requests, 2 * workers, 1200).per_second)
            for share in LOADS:
                rows[share].append(offer(port, requests, share * capacities[-1], _SECONDS).to_json())
    medians = {
        share: {name: statistics.median(row[name] for row in found) for name in found[0]}
        for share, found in rows.items()
    }
    for row in medians.values():
        row["p99_to_unloaded"] = row["p99_ms"] / medians[LOADS[0]]["p99_ms"]
    return {"capacity_per_second": statistics.median(capacities), "loads": medians}


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    head = (
        f"The bundled sample, {figures['capacity_per_second']:.0f} requests/s at capacity; {figures['machine']}; the "
        f"load generator runs on the same cores; medians of {figures['rounds']} rounds. Made by `{figures['command']}`."
    )
    columns = (
        "| load, of capacity | offered/s | answered/s | median ms | 99th percentile ms | of the unloaded one "
        "| slowest ms | refused | refused after, median ms | failed |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    lines = [
        f"| {share:g} | {row['offered_per_second']:.0f} | {row['answered_per_second']:.0f} | {row['median_ms']:.1f} "
        f"| {row['p99_ms']:.1f} | {row['p99_to_unloaded']:.1f} | {row['slowest_ms']:.0f} | {100 * row['refused']:.0f}% "
        f"| {row['refusal_median_ms']:.1f} | {row['failed']:.0f} |"
        for share, row in figures["loads"].items()
    ]
    return "\n".join([head, "", columns, *lines, ""])


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--queue", type=click.IntRange(1), help="Places in the queue of each worker.  [default: the service's]")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
def main(out: Path, queue: int | None, rounds: int) -> None:
    """Measure, print a table, and write it into the folder."""
    queries = load("sample").queries
    requests = [post("/retrieve", json.dumps({"query": query.text, "k": 5}).encode()) for query in queries]
    os.environ["QTA_LOG_REQUESTS"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "sample"
        subprocess.run([sys.executable, "-m", "qta", "index", "sample:", "--out", str(index)], check=True)
        figures = measure(index, requests, ["--queue", str(queue)] if queue else [], rounds)
    figures["rounds"] = rounds
    figures["machine"] = describe_machine()
    figures["command"] = "python -m benchmarks.overload" + (f" --queue {queue}" if queue else "")
    publish(out, "overload", figures, table(figures))


if __name__ == "__main__":
    run_command(main)
