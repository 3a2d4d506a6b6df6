"""Compare with other ways to find tools: the same tools and requests, side by side in one run.

    python -m benchmarks.peers [--tools 20000 --tools 46000] [--out results]

The catalogue is the bundled sample and the first so many operations of AWS and Google. Every system lives in a process
of its own; rounds alternate, so that all meet the same moods of the machine. The peers with dense retrieval are given
the same vectors of the published MiniLM, which were embedded once, and so is our engine in a row of its own, as the
encoder that is shipped is fine-tuned. Nobody is given annotated examples. k is 5.
"""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from tqdm import tqdm

from benchmarks.load import generate, post
from benchmarks.peer_report import plot, table
from benchmarks.peer_systems import K, MiniLM, Vectors, embedded_text
from benchmarks.peer_worker import ENTRIES, LEAST
from benchmarks.processes import free_port, resident_mb, started
from benchmarks.published import publish
from eval import Sufficiency, evaluate
from mtrb.benchmarks import load
from mtrb.formats import read_tools
from mtrb.types import ScoredTool, Tool
from qta.encoder import WEIGHTS
from qta.refusals import run_command

REQUESTS = [line for line in (Path(__file__).parent / "aws_requests.txt").read_text("utf-8").splitlines() if line]
CALLERS = (1, 4)
HTTP = "qta over HTTP"
_GRACE = 60.0
_PACKAGES = ("fastmcp", "faiss-cpu", "langgraph", "langgraph-bigtool", "llama-index-core", "milvus-lite", "onnxruntime")
_MORE_PACKAGES = ("pymilvus", "rank-bm25", "sentence-transformers", "torch")

Ask = Callable[[dict[str, Any]], Any]


class PeerError(Exception):
    """Say why a system cannot be measured."""


class Worker:
    """A system in its own process."""

    def __init__(self, name: str, scratch: Path, phase: str) -> None:
        self._errors = (scratch / f"{name}.{phase}.log").open("w+")
        command = [sys.executable, "-m", "benchmarks.peer_worker", name, str(scratch), phase]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def hear(self) -> Any:
        """Return what it says next.

        Raises:
            PeerError: it ended instead.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = [text for text in self._errors.read().splitlines() if text.strip()]
            raise PeerError(said[-1][:300] if said else f"it ended with status {self._process.returncode}")
        return json.loads(line)

    def ask(self, command: dict[str, Any]) -> Any:
        """Send a command and return the answer."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # then what it said last tells why
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self.hear()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=_GRACE)  # what it has not yet written to the disk is written at its end
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()


def http_asker(port: int, pid: int) -> Ask:
    """Return what answers a worker's commands for the service."""
    bodies = [post("/retrieve", json.dumps({"query": text, "k": K}).encode()) for text in REQUESTS]

    def rank(text: str) -> list[str]:
        body = json.dumps({"query": text, "k": K}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/retrieve", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return [tool["tool_id"] for tool in json.load(answer)["tools"]]

    def ask(command: dict[str, Any]) -> Any:
        if "rank" in command:
            return [rank(text) for text in command["rank"]]
        if "memory" in command:
            return resident_mb(pid)
        rate = generate(port, bodies, command["callers"], LEAST).per_second
        return vars(generate(port, bodies, command["callers"], max(LEAST, int(rate * command["seconds"]))))

    return ask


@contextmanager
def serving(folder: Path) -> Iterator[Ask]:
    """Serve a folder as `qta serve` does."""
    port = free_port()
    with started([sys.executable, "-m", "service", "--index", str(folder), "--port", str(port)], port) as process:
        yield http_asker(port, process.pid)


def open_all(scratch: Path, stack: ExitStack, embed_seconds: float) -> tuple[dict[str, Ask], dict[str, dict[str, Any]]]:
    """Build and open every system, one after the other; return how each is asked, and its first figures."""
    askers: dict[str, Ask] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name, entry in tqdm(ENTRIES.items(), desc="index", leave=False):
        figures[name] = {"dense": entry.dense}
        try:
            if name == "qta with rewriter" and not (WEIGHTS / "rewriter.onnx").exists():
                raise PeerError("there is no rewriter in qta/weights")
            with Worker(name, scratch, "build") as builder:
                built = builder.hear() if entry.build else 0.0
            worker = stack.enter_context(Worker(name, scratch, "serve"))
            opened = worker.hear()
            askers[name] = worker.ask
            figures[name] |= {"open_seconds": opened}
            if name != "qta with rewriter":  # whose index is that of qta
                figures[name]["index_seconds"] = built + opened + embed_seconds * entry.vectors
        except PeerError as error:
            figures[name]["not_measured"] = str(error)
    if "qta" in askers:
        askers[HTTP] = stack.enter_context(serving(scratch / "ours"))
        figures[HTTP] = {"dense": True}
    return askers, figures


def measure(tools: Sequence[Tool], vectors: Vectors, embed_seconds: float, rounds: int, seconds: float) -> Any:
    """Return each system's figures over one catalogue: medians over the rounds, which alternate."""
    bench = load("sample")
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        (scratch / "tools.jsonl").write_bytes(b"".join(orjson.dumps(tool.to_json()) + b"\n" for tool in tools))
        np.save(scratch / "vectors.npy", vectors)
        (scratch / "requests.json").write_text(json.dumps(REQUESTS), "utf-8")
        askers, figures = open_all(scratch, stack, embed_seconds)
        for name, ask in tqdm(list(askers.items()), desc="rank", leave=False):
            try:
                rankings = ask({"rank": [query.text for query in bench.queries]})
            except PeerError as error:
                figures[name]["not_measured"] = str(error)
                continue
            run = {
                query.query_id: [ScoredTool(tool_id, -float(place)) for place, tool_id in enumerate(ranking)]
                for query, ranking in zip(bench.queries, rankings, strict=True)
            }
            figures[name]["sufficiency"] = evaluate(bench.qrels, run, [Sufficiency @ K]).mean(Sufficiency @ K)
        _load_all(askers, figures, rounds, seconds)
    return {"tools": len(tools), "embed_seconds": embed_seconds, "systems": figures}


def _load_all(askers: dict[str, Ask], figures: dict[str, dict[str, Any]], rounds: int, seconds: float) -> None:
    """Let one caller and four ask each system in turn, and note what they saw."""
    seen: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in tqdm(range(rounds), desc="rounds", leave=False):
        for name, ask in askers.items():
            for callers in CALLERS if "not_measured" not in figures[name] else ():
                try:
                    seen.setdefault((name, callers), []).append(ask({"callers": callers, "seconds": seconds}))
                except PeerError as error:
                    figures[name]["not_measured"] = str(error)
                    break
    for name, ask in askers.items():
        if "not_measured" not in figures[name]:
            figures[name]["resident_mb"] = ask({"memory": True})
            for callers in CALLERS:
                loads = seen[name, callers]
                figures[name][f"callers_{callers}"] = {
                    key: statistics.median(one[key] for one in loads) for key in ("median_ms", "p99_ms", "per_second")
                }


def hardware() -> str:
    """Return what the machine is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.machine()}, Python {platform.python_version()}"
    )


def versions() -> dict[str, str]:
    """Return the versions of what was compared."""
    found = {}
    for name in (*_PACKAGES, *_MORE_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--tools", "sizes", type=click.IntRange(1), multiple=True, default=(20_000, 46_000), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Of a round.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(sizes: tuple[int, ...], rounds: int, seconds: float, out: Path) -> None:
    """Measure, print tables, and write them with a picture into the folder."""
    sizes = tuple(sorted(set(sizes)))
    sample = list(read_tools(["sample:"]))
    tools = [*sample, *islice(read_tools(["botocore:", "google:"]), sizes[-1])]
    if len(tools) < len(sample) + sizes[-1]:
        raise click.UsageError(
            f"there are {len(tools) - len(sample):,} operations of AWS and Google, not {sizes[-1]:,}"
        )
    minilm = MiniLM()
    catalogues = []
    vectors, elapsed = np.empty((0, 384), np.float32), 0.0
    for size in sizes:
        start, count = time.perf_counter(), len(sample) + size
        fresh = minilm.embed([embedded_text(tool) for tool in tools[len(vectors) : count]])
        elapsed += time.perf_counter() - start
        vectors = np.concatenate([vectors, fresh])
        catalogues.append((count, elapsed))
    del minilm
    figures = {
        "catalogues": [measure(tools[:size], vectors[:size], spent, rounds, seconds) for size, spent in catalogues],
        "requests": {"speed": len(REQUESTS), "sufficiency": len(load("sample").queries)},
        "rounds": rounds,
        "seconds": seconds,
        "machine": hardware(),
        "versions": versions(),
        "command": shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]]),
    }
    publish(out, "bench", figures, table(figures))
    plot(figures, out / "bench.png")


if __name__ == "__main__":
    run_command(main)
