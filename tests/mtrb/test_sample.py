"""The bundled sample keeps what it promises."""

import json
from collections import Counter

import jsonschema_rs

from mtrb.benchmarks import load
from mtrb.formats import read_tools, sample_path
from mtrb.identifiers import make_tool_id

QUERIES = [json.loads(line) for line in sample_path("queries.jsonl").read_text("utf-8").splitlines()]


def test_the_catalogue() -> None:
    tools = list(read_tools(["sample:"]))
    assert len(tools) == 258
    assert len({tool.source for tool in tools}) == 25
    for tool in tools:
        assert tool.tool_id == make_tool_id(tool.source, tool.name)
        assert len(tool.description.split()) >= 8
        jsonschema_rs.meta.validate(dict(tool.parameters))


def test_the_splits() -> None:
    assert {split: len(load("sample", split).queries) for split in ("train", "validation", "test")} == {
        "train": 10,
        "validation": 40,
        "test": 100,
    }
    assert len({query["query"] for query in QUERIES}) == 150


def test_what_the_requests_are_like() -> None:
    sizes = Counter(len(query["tools"]) for query in QUERIES)
    assert set(sizes) == {1, 2, 3, 4}
    kinds = Counter(kind for query in QUERIES for kind in query["kind"])
    assert kinds["lookup"] >= 60
    assert kinds["named"] >= 14
    assert sum(query["language"] != "en" for query in QUERIES) >= 30
    assert {"ja", "ru", "zh", "de", "es"} <= {query["language"] for query in QUERIES if query["split"] == "test"}


def test_every_golden_tool_exists() -> None:
    ids = {tool.tool_id for tool in read_tools(["sample:"])}
    assert {tool for query in QUERIES for tool in query["tools"]} <= ids
