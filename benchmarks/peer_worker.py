"""One system of `benchmarks.peers` in a process of its own, so that its memory is its own.

    python -m benchmarks.peer_worker SYSTEM SCRATCH build|serve

`build` writes what a system keeps on disk and prints how long that took. `serve` opens or fills it, says so, and then
answers commands, a JSON line each: {"callers": 1, "seconds": 10} with what the callers saw, {"rank": ["request"]} with
rankings, {"memory": true} with MB.
"""

import ctypes
import gc
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks import peer_systems
from benchmarks.load import Load
from benchmarks.peer_systems import System, Vectors
from benchmarks.processes import resident_mb
from mtrb.types import Tool, Toolset

LEAST = 20
"""So many requests are asked in a round at least, however long they take."""


@dataclass(frozen=True)
class Entry:
    """How a system is built and opened, given the scratch folder.

    Attributes:
        serve: fill or open it.
        build: write it first, in another process; None for what lives in memory only.
        dense: whether it searches by meaning.
        vectors: whether it takes the shared vectors.
    """

    serve: Callable[[Path], System]
    build: Callable[[Path], object] | None = None
    dense: bool = True
    vectors: bool = True


def tools_of(scratch: Path) -> list[Tool]:
    """Return the catalogue that the comparison wrote."""
    with (scratch / "tools.jsonl").open("rb") as lines:
        return [Tool.from_json(orjson.loads(line)) for line in lines]


def vectors_of(scratch: Path) -> Vectors:
    """Return the shared vectors."""
    return np.asarray(np.load(scratch / "vectors.npy"))


def _build_ours(scratch: Path) -> None:
    from qta.encoder import Encoder
    from qta.index import build_index

    build_index(Toolset(tools_of(scratch)), scratch / "ours", Encoder())


def _build_given(scratch: Path) -> None:
    peer_systems.Ours.build_given(tools_of(scratch), vectors_of(scratch), scratch / "ours-published")


def _build_milvus(scratch: Path) -> None:
    peer_systems.MilvusLite.build(tools_of(scratch), vectors_of(scratch), scratch / "milvus.db")


ENTRIES: dict[str, Entry] = {
    "qta": Entry(lambda at: peer_systems.Ours(at / "ours"), _build_ours, vectors=False),
    "qta, published MiniLM": Entry(
        lambda at: peer_systems.Ours(at / "ours-published", peer_systems.PublishedEncoder()), _build_given
    ),
    "qta with rewriter": Entry(lambda at: peer_systems.Ours(at / "ours", rewriter=True), vectors=False),
    "langgraph-bigtool": Entry(lambda at: peer_systems.Bigtool(tools_of(at), vectors_of(at))),
    "LlamaIndex ObjectIndex": Entry(lambda at: peer_systems.LlamaIndex(tools_of(at), vectors_of(at))),
    "Milvus Lite": Entry(lambda at: peer_systems.MilvusLite(at / "milvus.db"), _build_milvus),
    "FastMCP BM25": Entry(lambda at: peer_systems.FastMCPSearch(tools_of(at)), dense=False, vectors=False),
    "rank-bm25": Entry(lambda at: peer_systems.RankBM25(tools_of(at)), dense=False, vectors=False),
}


def ask(system: System, requests: list[str], callers: int, seconds: float) -> Load:
    """Let callers, a thread each, ask one request after the other for so long."""
    numbers, lock = count(), threading.Lock()
    times: list[float] = []
    failures: list[Exception] = []
    start = time.perf_counter()

    def call() -> None:
        while not failures:
            with lock:
                number = next(numbers)
            begun = time.perf_counter()
            if begun - start > seconds and number >= LEAST:
                return
            try:
                system.search(requests[number % len(requests)])
            except Exception as error:  # of whatever kind: the comparison reports it
                failures.append(error)
                return
            times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    elapsed = time.perf_counter() - start
    times.sort()
    return Load(len(times) / elapsed, 1000 * statistics.median(times), 1000 * times[int(0.99 * len(times))])


def memory_mb() -> float:
    """Return the resident memory of this process, what was freed given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_mb(int(Path("/proc/self").readlink().name))


def answer(system: System, command: dict[str, Any], requests: list[str]) -> Any:
    """Do what a command says."""
    if "rank" in command:
        return [system.search(text) for text in command["rank"]]
    if "memory" in command:
        return memory_mb()
    return vars(ask(system, requests, command["callers"], command["seconds"]))


def main() -> None:
    """Build, or serve until the input ends."""
    name, scratch, phase = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    out, sys.stdout = sys.stdout, sys.stderr  # libraries write to it as they like

    def say(result: Any) -> None:
        print(json.dumps(result), file=out, flush=True)

    entry, start = ENTRIES[name], time.perf_counter()
    if phase == "build":
        if entry.build is not None:
            entry.build(scratch)
        say(time.perf_counter() - start)
        return
    system = entry.serve(scratch)
    say(time.perf_counter() - start)
    requests = json.loads((scratch / "requests.json").read_text("utf-8"))
    for line in sys.stdin:
        say(answer(system, json.loads(line), requests))


if __name__ == "__main__":
    main()
