"""The three MTRB subsets, from the files as their authors released them.

The only place that knows positions and upstream field names. Each loader checks counts, the first and
the last record, and name and position of every golden tool, because the files mix 0- and 1-based ids.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from mtrb.benchmarks import upstream
from mtrb.benchmarks.files import make_benchmark
from mtrb.benchmarks.local import local_file
from mtrb.errors import DataError
from mtrb.formats.records import read_lines
from mtrb.identifiers import make_tool_id
from mtrb.types import Benchmark, Tool, Toolset

TRAIN_SIZE = 10

METATOOL_DRAWS = 5
"""MetaTool's ten training queries were not released: `train-1` ... `train-5` are draws from its pool, seeds 1 ... 5."""

STANDIN_NOTE = "stand-in corpus of 3,406 tools with raw descriptions: not comparable with the paper"

# Digests of the first and last query of each split, so that a cut or re-ordered file is noticed.
_ENDS = {
    "mtrb/restbench/train": ("1610a48795b3", "4a497ff109aa"),
    "mtrb/restbench/test": ("00096ffa63a5", "c8da46ef7b5f"),
    "mtrb/metatool/test": ("4c5851303fbe", "e277e1d5b495"),
    "mtrb/toolbench/train": ("48120d13770e", "0f54e7888a74"),
    "mtrb/toolbench/test": ("70735721c1ec", "e4f7f01d7d60"),
}


def load_restbench(split: str) -> Benchmark:
    """Load MTRB-RestBench: 54 TMDB endpoints, 90 test queries, 10 training queries found by elimination.

    Raises:
        DataError: a file is absent or not as expected.
    """
    entries = _json(upstream.RESTBENCH_TOOLS)
    tools = [_tool("restbench", entry["tool_usage"], entry["rewrite_description"]) for entry in entries]
    toolset = _toolset("mtrb/restbench", tools, 54)
    test = _json(upstream.RESTBENCH_TEST)
    if split == "train":
        pool = [
            (entry["query"], [name.strip() for name in entry["solution"]]) for entry in _json(upstream.RESTBENCH_ALL)
        ]
        queries = _eliminate("mtrb/restbench", pool, test)
    else:
        queries = _released("mtrb/restbench", test, tools)
    return _benchmark("mtrb/restbench", split, toolset, queries, "restbench")


def load_metatool(split: str) -> Benchmark:
    """Load MTRB-MetaTool: 199 plug-ins, 90 test queries, a training draw of 10 from the 905 others.

    Raises:
        DataError: a file is absent or not as expected.
    """
    entries: Mapping[str, str] = _json(upstream.METATOOL_TOOLS)
    tools = [_tool("metatool", name, description) for name, description in entries.items()]
    toolset = _toolset("mtrb/metatool", tools, 199)
    test = _json(upstream.METATOOL_TEST)
    if split == "test":
        queries = _released("mtrb/metatool", test, tools)
    else:
        pool = [(entry["query"], [entry["tool"]]) for entry in _json(upstream.METATOOL_POOL)]
        queries = _eliminate("mtrb/metatool", pool, test, expected=905)
        seed = int(split.removeprefix("train").removeprefix("-") or 1)  # `train` is the first draw
        queries = random.Random(seed).sample(queries, TRAIN_SIZE)  # noqa: S311 (a draw, no secret)
    return _benchmark("mtrb/metatool", split, toolset, queries, "metatool")


def load_toolbench(split: str) -> Benchmark:
    """Load MTRB-ToolBench with its released corpus of 2,391 tools.

    Raises:
        DataError: a file is absent or not as expected.
    """
    entries = _json(upstream.TOOLBENCH_TOOLS)
    listed = list(entries.items()) if isinstance(entries, Mapping) else [(None, entry) for entry in entries]
    try:
        tools = [
            Tool(
                make_tool_id("toolbench", str(entry.get("ID", key))),
                entry["tool_name"],
                str(entry.get("rewrite_description") or entry.get("tool_description") or ""),
                source="toolbench",
            )
            for key, entry in listed
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"mtrb/toolbench: the corpus has another shape than expected: {error!r}") from None
    return _toolbench("mtrb/toolbench", split, _toolset("mtrb/toolbench", tools, 2391), "")


def load_toolbench_standin(split: str) -> Benchmark:
    """Load MTRB-ToolBench's queries over a stand-in corpus, for where the released one cannot be had.

    Raises:
        DataError: a file is absent or not as expected.
    """
    path = local_file("mtrb/toolbench/tools_standin.jsonl")
    tools = [
        Tool(make_tool_id("toolbench", record["id"]), record["name"], record["description"], source="toolbench")
        for _, record in read_lines(path)
    ]
    return _toolbench("mtrb/toolbench-standin", split, _toolset("mtrb/toolbench-standin", tools, 3406), STANDIN_NOTE)


def _toolbench(dataset_id: str, split: str, toolset: Toolset, note: str) -> Benchmark:
    test = _json(upstream.TOOLBENCH_TEST)
    if split == "train":
        records = [record for _, record in read_lines(local_file("mtrb/toolbench/train.jsonl"))]
        pool = [(record["query"], record["tools"]) for record in records]
        pairs = _eliminate(dataset_id, pool, test)
    else:
        pairs = [(entry["query"], [str(number) for number in entry["relevant IDs"]]) for entry in test]
        _expect(dataset_id, "test queries", len(pairs), 90)
        for entry in test:
            for number, name in zip(entry["relevant IDs"], entry["relevant Tools"], strict=True):
                position = toolset.positions.get(make_tool_id("toolbench", str(number)))
                if position is None or toolset[position].name != name:
                    raise DataError(f"{dataset_id}: golden tool {number} is not {name!r} in the corpus")
    return _benchmark(dataset_id, split, toolset, pairs, "toolbench", note)


_Annotated = tuple[str, list[str]]


def _json(file: upstream.UpstreamFile) -> Any:
    return json.loads(upstream.read(file))


def _tool(source: str, name: str, description: str) -> Tool:
    return Tool(make_tool_id(source, name), name, description, source=source)


def _toolset(dataset_id: str, tools: Sequence[Tool], expected: int) -> Toolset:
    _expect(dataset_id, "tools", len(tools), expected)
    return Toolset(tools)


def _expect(dataset_id: str, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"{dataset_id}: {found} {what}, expected {expected}")


def _released(dataset_id: str, test: list[Any], tools: Sequence[Tool]) -> list[_Annotated]:
    """Translate the released golden positions (0-based) into names, checking one against the other."""
    _expect(dataset_id, "test queries", len(test), 90)
    queries = []
    for number, entry in enumerate(test):
        for position, name in zip(entry["relevant IDs"], entry["relevant Tools"], strict=True):
            if tools[position].name != name:
                raise DataError(
                    f"{dataset_id}: test query {number}: tool {position} is {tools[position].name!r}, not {name!r}"
                )
        queries.append((entry["query"], list(entry["relevant Tools"])))
    return queries


def _eliminate(
    dataset_id: str, pool: list[_Annotated], test: list[Any], expected: int = TRAIN_SIZE
) -> list[_Annotated]:
    """Return the annotated queries of the source that the test split does not hold."""
    used = {_normal(entry["query"]) for entry in test}
    left = [(query, golden) for query, golden in pool if _normal(query) not in used]
    _expect(dataset_id, "queries outside the test split", len(left), expected)
    return left


def _normal(query: str) -> str:
    return " ".join(query.lower().split())


def _benchmark(
    dataset_id: str, split: str, toolset: Toolset, queries: Sequence[_Annotated], source: str, note: str = ""
) -> Benchmark:
    ends = tuple(hashlib.sha256(queries[end][0].encode()).hexdigest()[:12] for end in (0, -1))
    if _ENDS.get(f"mtrb/{source}/{split}", ends) != ends:
        raise DataError(f"{dataset_id}: the first or last query of the split {split!r} is not the expected one")
    records = [
        (
            f"{dataset_id} {split} query {number}",
            {
                "id": f"{source}-{split}-{number:03d}",
                "query": query,
                "tools": [make_tool_id(source, name) for name in golden],
            },
        )
        for number, (query, golden) in enumerate(queries)
    ]
    return make_benchmark(dataset_id, split, toolset, records, note)
