"""Measure how fast a change of a served catalogue is searchable, and what merging changes costs the callers.

    python -m benchmarks.changes [--tools 20000] [--out results]

Indexes the first so many operations of AWS and Google and serves them, with one worker and then with one a core. Tools
that are not indexed yet are put one by one; each counts from the moment it is sent until a search for its name answers
with it. Then so many are put that a merge begins, and one caller goes on asking until the merged index is served.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.processes import free_port, started
from benchmarks.published import describe_machine, publish
from mtrb.formats import read_tools
from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.index import build_index, read_manifest
from qta.live import MERGE_AT
from qta.refusals import run_command

REQUESTS = [line for line in (Path(__file__).parent / "aws_requests.txt").read_text("utf-8").splitlines() if line]
CHANGES = 200
MERGES = 3
_BATCH = 25  # tools of one request; its body stays below the limit of the service
_AFTER = 20  # requests after a merge: each worker opens the new index at its next one


@dataclass(frozen=True)
class Times:
    """Median, 99th percentile and maximum of times in ms."""

    median_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        """Summarise times in seconds."""
        times = sorted(1000 * one for one in seconds)
        return cls(statistics.median(times), times[int(0.99 * len(times))], times[-1])


class Caller:
    """One caller who keeps the connection."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: object) -> Any:
        """Return the answer.

        Raises:
            RuntimeError: it is an error.
        """
        self._connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = json.load(answer)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {content}")
        return content

    def search(self, text: str) -> tuple[float, list[str]]:
        """Return how many seconds a search took, and the ids it found."""
        start = time.perf_counter()
        tools = self.ask("POST", "/retrieve", {"query": text, "k": 5})["tools"]
        return time.perf_counter() - start, [tool["tool_id"] for tool in tools]


def put_to_searchable(writer: Caller, reader: Caller, tools: Sequence[Tool]) -> tuple[list[float], list[float]]:
    """Put tools one by one; return the seconds until each was acknowledged, and until a search found it."""
    acknowledged, found = [], []
    for tool in tqdm(tools, desc="changes", leave=False):
        start = time.perf_counter()
        writer.ask("PUT", "/tools", {"tools": [tool.to_json()]})
        acknowledged.append(time.perf_counter() - start)
        while tool.tool_id not in reader.search(f"call {tool.tool_id}")[1]:
            if time.perf_counter() - start > 10:
                raise RuntimeError(f"{tool.tool_id} was put and cannot be found")
        found.append(time.perf_counter() - start)
    return acknowledged, found


def ask_during_merge(
    writer: Caller, reader: Caller, folder: Path, tools: Iterator[Tool], pending: int
) -> tuple[list[float], float]:
    """Put tools until a merge begins; return the seconds of each search until it is served, and of the merge."""
    before = read_manifest(folder).build
    while pending < MERGE_AT:
        batch = list(islice(tools, min(_BATCH, MERGE_AT - pending)))
        if not batch:
            raise RuntimeError("there are no tools left to put")
        writer.ask("PUT", "/tools", {"tools": [tool.to_json() for tool in batch]})
        pending += len(batch)
    start, times, texts = time.perf_counter(), [], cycle(REQUESTS)
    while read_manifest(folder).build == before:
        times.append(reader.search(next(texts))[0])
        if time.perf_counter() - start > 300:
            raise RuntimeError("the merge did not end within 300 s")
    seconds = time.perf_counter() - start
    times += [reader.search(next(texts))[0] for _ in range(_AFTER)]
    return times, seconds


def measure(folder: Path, workers: int, fresh: Sequence[Tool]) -> dict[str, Any]:
    """Serve a folder and return the figures."""
    port, tools = free_port(), iter(fresh)
    command = [sys.executable, "-m", "service", "--index", str(folder), "--port", str(port), "--workers", str(workers)]
    with started(command, port):
        writer, reader = Caller(port), Caller(port)
        quiet = [reader.search(text)[0] for _ in range(5) for text in REQUESTS]
        acknowledged, found = put_to_searchable(writer, reader, list(islice(tools, CHANGES)))
        busy, merges, pending = [], [], CHANGES
        for _ in tqdm(range(MERGES), desc="merges", leave=False):
            times, seconds = ask_during_merge(writer, reader, folder, tools, pending)
            busy += times
            merges.append(seconds)
            pending = 0
    return {
        "acknowledged": vars(Times.of(acknowledged)),
        "searchable": vars(Times.of(found)),
        "search": vars(Times.of(quiet)),
        "search_during_merge": {**vars(Times.of(busy)), "requests": len(busy)},
        "merge_seconds": statistics.median(merges),
    }


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--tools", "count", type=click.IntRange(1), default=20_000, show_default=True, help="In the catalogue.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(count: int, out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    needed = count + MERGE_AT * MERGES
    tools = list(islice(read_tools(["botocore:", "google:"]), needed))
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built"
        with tqdm(total=count, desc="embed", leave=False) as bar:
            build_index(Toolset(tools[:count]), built, Encoder(), bar.update)
        variants = list(dict.fromkeys([1, os.cpu_count() or 1]))
        rows = {}
        for workers in variants:
            folder = Path(shutil.copytree(built, Path(scratch) / f"index-{workers}"))
            rows[str(workers)] = measure(folder, workers, tools[count:])
    figures = {
        "tools": count,
        "changes": CHANGES,
        "merges": MERGES,
        "merged_at": MERGE_AT,
        "workers": rows,
        "machine": describe_machine(),
        "command": "python -m benchmarks.changes" + ("" if count == 20_000 else f" --tools {count}"),
    }
    publish(out, "changes", figures, table(figures))


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = figures["workers"]
    names = [
        ("acknowledged", "PUT of a tool until it is on disk"),
        ("searchable", "PUT of a tool until a search finds it"),
        ("search", "search, nothing else going on"),
        ("search_during_merge", "search while changes are merged and the new index is opened"),
    ]
    lines = [
        f"| {text}, ms | " + " | ".join(_cell(figures_of[key]) for figures_of in rows.values()) + " |"
        for key, text in names
    ]
    lines.append("| merge, s | " + " | ".join(f"{row['merge_seconds']:.1f}" for row in rows.values()) + " |")
    head = (
        f"{figures['tools']:,} operations of AWS and Google; {figures['changes']} changes, {figures['merges']} "
        f"merges of {figures['merged_at']}; {figures['machine']}; the caller runs on the same cores. "
        f"Made by `{figures['command']}`. Each cell: median / 99th percentile / maximum."
    )
    titles = " | ".join("1 worker" if count == "1" else f"{count} workers" for count in rows)
    return "\n".join([head, "", f"| | {titles} |", "|---|" + "--:|" * len(rows), *lines, ""])


def _cell(times: dict[str, float]) -> str:
    return " / ".join(f"{times[key]:.1f}" for key in ("median_ms", "p99_ms", "max_ms"))


if __name__ == "__main__":
    run_command(main)
