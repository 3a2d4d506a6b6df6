"""Measure the service over all AWS operations, beside rank-bm25 + sentence-transformers on the same requests.

    python -m benchmarks.serve [--out results]

Indexes the installed botocore, starts `qta serve` with one worker a core, and asks it over HTTP from this machine.
The other stack runs in this process, which spares it HTTP: rank-bm25 over the same words, MiniLM in torch, one matrix
product, the same fusion. Rounds alternate, so that both meet the same moods of the machine.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from benchmarks.load import Load, generate, post
from benchmarks.processes import free_port, resident_mb, started
from benchmarks.published import describe_machine, publish
from mtrb.formats import read_tools
from mtrb.types import Query, Toolset
from qta.baselines import FloatDenseRetriever
from qta.hybrid import LEXICAL_WEIGHT
from qta.lexical import lexical_text
from qta.refusals import run_command
from qta.retrievers import best
from qta.tokens import tokenize

REQUESTS = [line for line in (Path(__file__).parent / "aws_requests.txt").read_text("utf-8").splitlines() if line]
ROUNDS = 7


class NaiveStack:
    """Rank with rank-bm25 and sentence-transformers/torch."""

    def __init__(self, toolset: Toolset) -> None:
        from rank_bm25 import BM25Okapi

        start = time.perf_counter()
        self._bm25 = BM25Okapi([tokenize(lexical_text(tool)) for tool in toolset])
        self._dense = FloatDenseRetriever(toolset, lambda tool: tool.default_text(), 128)
        self.build_seconds = time.perf_counter() - start

    def retrieve(self, text: str, k: int = 5) -> list[int]:
        """Return the positions of the k best tools."""
        scores = self._dense.scores([Query("q", text)])[0] + LEXICAL_WEIGHT * self._bm25.get_scores(tokenize(text))
        return [int(position) for position in best(np.asarray(scores), k)]


def measure(index: Path, naive: NaiveStack) -> dict[str, Any]:
    """Ask both, in alternating rounds; return medians over the rounds."""
    requests = [post("/retrieve", json.dumps({"query": text, "k": 5}).encode()) for text in REQUESTS]
    port = free_port()
    one: list[Load] = []
    four: list[Load] = []
    other: list[list[float]] = []
    with started([sys.executable, "-m", "service", "--index", str(index), "--port", str(port)], port) as process:
        generate(port, requests, 4, 200)
        for _ in tqdm(range(ROUNDS), desc="rounds"):
            one.append(generate(port, requests, 1, 200))
            four.append(generate(port, requests, 4, 800))
            times = []
            for text in REQUESTS[:20]:
                start = time.perf_counter()
                naive.retrieve(text)
                times.append(1000 * (time.perf_counter() - start))
            other.append(times)
        in_server = _server_times(port)
        memory = resident_mb(process.pid)
    naive_median = statistics.median(time for times in other for time in times)
    median = statistics.median(load.median_ms for load in one)
    return {
        "service": {
            "median_ms_in_server": in_server,
            "median_ms_over_http_1_caller": median,
            "p99_ms_over_http_1_caller": statistics.median(load.p99_ms for load in one),
            "per_second_4_callers": statistics.median(load.per_second for load in four),
            "per_second_4_callers_slowest_round": min(load.per_second for load in four),
            "median_ms_4_callers": statistics.median(load.median_ms for load in four),
            "p99_ms_4_callers": statistics.median(load.p99_ms for load in four),
            "resident_mb_all_workers": memory,
        },
        "rank-bm25 + sentence-transformers": {
            "median_ms_in_process": naive_median,
            "per_second": 1000 / naive_median,
        },
        "ratio_of_medians": naive_median / in_server,
    }


def _server_times(port: int) -> float:
    import urllib.request

    totals = []
    for text in REQUESTS:
        body = json.dumps({"query": text, "k": 5}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/retrieve", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            totals.append(json.load(answer)["timing_ms"]["total"])
    return statistics.median(totals)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "aws"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "qta", "index", "botocore:", "--out", str(index)], check=True)
        build_seconds = time.perf_counter() - start
        toolset = Toolset(read_tools(["botocore:"]))
        click.echo("building rank-bm25 and embedding with torch, about four minutes", err=True)
        naive = NaiveStack(toolset)
        figures = measure(index, naive)
    figures["service"]["index_seconds"] = build_seconds
    figures["rank-bm25 + sentence-transformers"]["index_seconds"] = naive.build_seconds
    figures["tools"] = len(toolset)
    figures["machine"] = describe_machine()
    figures["command"] = "make bench-serve"
    publish(out, "serve", figures, table(figures))


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    ours, other = figures["service"], figures["rank-bm25 + sentence-transformers"]

    def one(key: str, digits: int = 1) -> str:
        return f"{ours[key]:.{digits}f}"

    build_ratio = other["index_seconds"] / ours["index_seconds"]
    rate_ratio = ours["per_second_4_callers"] / other["per_second"]
    in_server, slowest = one("median_ms_in_server", 2), one("per_second_4_callers_slowest_round", 0)
    rows = [
        ("index built, s", one("index_seconds", 0), f"{other['index_seconds']:.0f}", build_ratio),
        (
            "1 caller, median ms in the process",
            in_server,
            f"{other['median_ms_in_process']:.1f}",
            figures["ratio_of_medians"],
        ),
        ("1 caller, median ms over HTTP", one("median_ms_over_http_1_caller", 2), "", None),
        ("1 caller, 99th percentile ms over HTTP", one("p99_ms_over_http_1_caller"), "", None),
        ("requests/s, at 4 callers and at 1", one("per_second_4_callers", 0), f"{other['per_second']:.0f}", rate_ratio),
        ("requests/s, slowest round", slowest, "", None),
        ("4 callers, median ms", one("median_ms_4_callers"), "", None),
        ("4 callers, 99th percentile ms", one("p99_ms_4_callers"), "", None),
        ("resident memory of all workers, MB", one("resident_mb_all_workers", 0), "", None),
    ]
    lines = [f"| {name} | {a} | {b} | {f'{ratio:.1f}x' if ratio else ''} |" for name, a, b, ratio in rows]
    head = (
        f"{figures['tools']:,} AWS operations; {figures['machine']}; the load generator runs on the same cores. "
        f"Made by `{figures['command']}`."
    )
    columns = "| | service | rank-bm25 + sentence-transformers | ratio |\n|---|--:|--:|--:|"
    return "\n".join([head, "", columns, *lines, ""])


if __name__ == "__main__":
    run_command(main)
