"""Compare ways to find the nearest of many vectors: every vector, an HNSW graph, and codes looked at again.

    python -m benchmarks.dense --index DIR [--out results]

Takes the vectors of an index (that of all AWS operations: `qta index botocore: --out DIR`), and five of each with noise
on them for a catalogue five times as large. The requests are about AWS; a query takes 260 tools, as the service does
for an answer of five, on one core.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.published import describe_machine, publish
from benchmarks.serve import REQUESTS
from qta.dense import DenseIndex
from qta.encoder import Encoder
from qta.index import load_index
from qta.refusals import run_command

TAKEN, COPIES, NOISE, ROUNDS = 260, 5, 0.02, 5
Vectors = NDArray[np.float32]
Search = Callable[[Vectors], NDArray[np.int64]]


def every_vector(vectors: Vectors) -> Search:
    """Return FAISS' scan of vectors in half precision."""
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return lambda query: np.asarray(index.search(query[None], TAKEN)[1][0])


def graph(vectors: Vectors) -> Search:
    """Return FAISS' HNSW over vectors in half precision: 32 links, 200 looked at to build, 520 to search."""
    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.train(vectors)
    index.add(vectors)
    parameters = faiss.SearchParametersHNSW(efSearch=2 * TAKEN)
    return lambda query: np.asarray(index.search(query[None], TAKEN, params=parameters)[1][0])


def codes(vectors: Vectors) -> Search:
    """Return what the service does."""
    index = DenseIndex.build(vectors)
    return lambda query: index.search(query, TAKEN)[0]


WAYS = {"every vector, half precision": every_vector, "HNSW": graph, "codes, looked at again (served)": codes}


def measure(vectors: Vectors, queries: Vectors) -> dict[str, dict[str, float]]:
    """Return for each way its seconds to build, median ms, and the share of the nearest ten and hundred it finds."""
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :100]
    figures: dict[str, dict[str, float]] = {}
    for name, build in WAYS.items():
        faiss.omp_set_num_threads(os.cpu_count())
        start = time.perf_counter()
        search = build(vectors)
        seconds = time.perf_counter() - start
        faiss.omp_set_num_threads(1)
        times = []
        for query in [query for _ in range(ROUNDS) for query in queries]:
            start = time.perf_counter()
            search(query)
            times.append(1000 * (time.perf_counter() - start))
        found = [search(query) for query in queries]
        shares = {
            f"found_{n}": float(np.mean([len({*a[:n]} & {*b[:n]}) / n for a, b in zip(exact, found, strict=True)]))
            for n in (10, 100)
        }
        figures[name] = {"build_seconds": seconds, "median_ms": statistics.median(times), **shares}
    return figures


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [f"{TAKEN} tools a query, one core; {figures['machine']}. Made by `{figures['command']}`."]
    for tools, rows in figures["catalogues"].items():
        lines += ["", f"## {int(tools):,} tools", ""]
        lines += ["| | built, s | median, ms | of the nearest 10 | of the nearest 100 |", "|---|--:|--:|--:|--:|"]
        lines += [
            f"| {name} | {row['build_seconds']:.1f} | {row['median_ms']:.2f} | {100 * row['found_10']:.2f}% "
            f"| {100 * row['found_100']:.2f}% |"
            for name, row in rows.items()
        ]
    return "\n".join([*lines, ""])


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--index", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of an index.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(index: Path, out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    encoder = Encoder()
    vectors = np.asarray(load_index(index, encoder).dense.vectors, np.float32)
    noise = np.random.default_rng(0).normal(0, NOISE, (COPIES, *vectors.shape)).astype(np.float32)
    many = (vectors + noise).reshape(-1, vectors.shape[1])
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    queries = encoder.encode(REQUESTS)
    figures = {
        "machine": describe_machine(),
        "command": "python -m benchmarks.dense --index DIR",
        "catalogues": {str(len(one)): measure(one, queries) for one in (vectors, many)},
    }
    publish(out, "dense", figures, table(figures))


if __name__ == "__main__":
    run_command(main)
