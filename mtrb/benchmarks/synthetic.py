"""Requests that a model wrote for tools of real catalogues (`qta.training.requests`), as training sets."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mtrb.benchmarks.training import registry_tools
from mtrb.formats import read_tools
from mtrb.types import Benchmark, Query, Tool, Toolset

CATALOGUES: Mapping[str, Callable[[], list[Tool]]] = {
    "botocore:": lambda: list(read_tools(["botocore:"])),
    "google:": lambda: list(read_tools(["google:"])),
    "registries": registry_tools,
}
"""The catalogues that are asked about: AWS, Google, and the functions in two registries of MCP servers."""


def load_synthetic(file: Path) -> Iterator[Benchmark]:
    """Yield each catalogue with the requests of a file, one JSON object a line: `catalogue`, `query`, `tools`."""
    by_catalogue: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in file.read_text("utf-8").splitlines():
        row = json.loads(line)
        by_catalogue[row["catalogue"]].append(row)
    for name, rows in by_catalogue.items():
        dataset_id = f"synthetic/{name.rstrip(':')}"
        queries = tuple(Query(f"{dataset_id}-{at}", row["query"]) for at, row in enumerate(rows))
        qrels = {query.query_id: dict.fromkeys(row["tools"], 1) for query, row in zip(queries, rows, strict=True)}
        yield Benchmark(dataset_id, "train", Toolset(CATALOGUES[name]()), queries, qrels)
