"""What may be trained on: the open part of public sets, and requests written for this project (mtrb/written).

Rules: no query whose golden tools are held out, no tool that MTRB has by name, and no request that nearly equals a
request of any validation or test set, whatever its source.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import regex

from mtrb.benchmarks.files import make_benchmark, read_queries
from mtrb.benchmarks.local import local_file
from mtrb.benchmarks.public import TENTH, is_held_out
from mtrb.errors import InputError
from mtrb.formats import read_tools
from mtrb.identifiers import make_tool_id
from mtrb.types import Benchmark, Query, Tool, Toolset

OPEN = (*TENTH, "apibench", "tooleyes")
WRITTEN = ("invented", "plugins", "registries", "clouds")
NAMES = (*OPEN, *WRITTEN)
"""What the shipped encoder and rewriter are trained on."""

LATER = ("assistants", "domains", "bundles", "invented-again", "registries-again")
"""Requests that were written after those were trained; what they are worth is said in docs/results.md."""

_NEAR = 0.6  # of the words of two requests; at that they say the same
_SHORTEST_NAME = 7  # letters; shorter names ("search") say nothing of where a tool is from

Record = tuple[str, Mapping[str, Any]]


def load_training(name: str) -> Iterator[Benchmark]:
    """Yield the catalogues of a training set with their annotated requests, as `open/NAME` or `written/CATALOGUE`.

    Raises:
        DataError: the data is not there, or another version.
        MissingDependencyError: the package that holds a cloud's operations is not installed.
    """
    if name in OPEN:
        toolset = Toolset(read_tools([str(local_file(f"{name}/tools.jsonl"))], format="native"))
        records = [
            entry
            for entry in read_queries(local_file(f"{name}/queries.jsonl"))
            if not is_held_out(name, entry[1]["tools"])
        ]
        yield make_benchmark(f"open/{name}", "train", toolset, records)
        return
    by_catalogue: dict[str, list[Record]] = defaultdict(list)
    for location, record in read_queries(_written(f"{name}.queries.jsonl")):
        by_catalogue[record["catalogue"]].append((location, record))
    for catalogue, records in by_catalogue.items():
        tools = _TOOLS[name.removesuffix("-again")](catalogue, records)
        yield make_benchmark(f"written/{catalogue}", "train", Toolset(tools), records)


def allowed(training: Iterable[Benchmark], held_out: Iterable[Benchmark]) -> Iterator[Benchmark]:
    """Yield the training catalogues without what would tell of a held-out set, and without repetitions.

    Left out are requests that share 60 % of their words with a held-out or an earlier training request, and requests
    for a tool that a tool of MTRB shares its name with.
    """
    known = _Requests()
    named: set[str] = set()
    for bench in held_out:
        for query in bench.queries:
            known.add(query.text)
        if bench.dataset_id.startswith("mtrb/"):
            named |= {_plain(tool.name) for tool in bench.toolset}
    for bench in training:
        kept: list[Query] = []
        for query in bench.queries:
            names = {_plain(bench.toolset[bench.toolset.positions[one]].name) for one in bench.qrels[query.query_id]}
            if known.has_near(query.text) or any(len(one) >= _SHORTEST_NAME for one in names & named):
                continue
            known.add(query.text)
            kept.append(query)
        qrels = {query.query_id: bench.qrels[query.query_id] for query in kept}
        yield Benchmark(bench.dataset_id, bench.split, bench.toolset, tuple(kept), qrels)


class _Requests:
    """Find whether a request that says nearly the same was there before."""

    def __init__(self) -> None:
        self._words: list[frozenset[str]] = []
        self._with: dict[str, list[int]] = defaultdict(list)

    def add(self, text: str) -> None:
        words = _words(text)
        for word in words:
            self._with[word].append(len(self._words))
        self._words.append(words)

    def has_near(self, text: str) -> bool:
        words = _words(text)
        # A near request lacks at most 1 - _NEAR of the words, so it has one of any more than so many: the rarest.
        enough = int((1 - _NEAR) * len(words) + 1e-9) + 1
        rare = sorted(words, key=lambda word: len(self._with.get(word, ())))[:enough]
        candidates = {number for word in rare for number in self._with.get(word, ())}
        return any(len(words & self._words[at]) >= _NEAR * len(words | self._words[at]) for at in candidates)


def _words(text: str) -> frozenset[str]:
    return frozenset(regex.findall(r"[\p{Han}\p{Hiragana}\p{Katakana}]|\w+", text.casefold()))


def _plain(name: str) -> str:
    plain: str = regex.sub(r"[^\p{L}\p{N}]", "", name.casefold())
    return plain


def _written(name: str) -> Path:
    path = Path(str(resources.files("mtrb") / "written" / name))
    if not path.exists():
        raise InputError(f"{path}: the requests written for training come with the repository, not with the package")
    return path


def _own_tools(kind: str, catalogue: str, _records: list[Record]) -> list[Tool]:
    return [tool for tool in _all_own(kind) if tool.tool_id.partition("/")[0] == catalogue]


@cache
def _all_own(kind: str) -> list[Tool]:
    return list(read_tools([str(_written(f"{kind}.tools.jsonl"))], format="native"))


def _registry_tools(_catalogue: str, records: list[Record]) -> list[Tool]:
    """Return all functions of the servers that a catalogue's requests need functions of."""
    return _functions(dict.fromkeys(tool_id.rpartition("#")[0] for _, record in records for tool_id in record["tools"]))


def registry_tools() -> list[Tool]:
    """Return the functions of all MCP servers in the registries of which no part is held out."""
    return _functions(server for server in _registries() if not server.startswith("mcpm/"))


def _functions(servers: Iterable[str]) -> list[Tool]:
    tools: dict[str, Tool] = {}
    for server in servers:
        for name, description in _registries()[server]:
            tool_id = make_tool_id("", f"{server}#{name}")
            tools.setdefault(tool_id, Tool(tool_id, name, description, source=server))
    return list(tools.values())


@cache
def _registries() -> Mapping[str, list[tuple[str, str]]]:
    """Return the functions of each server: its name, or `mcpm/NAME` and `docker/NAME` in those registries."""
    functions: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for package in _lines("toolsdk-mcp-registry/tools.jsonl"):
        functions[package["id"]] += [(one["name"], one.get("description") or "") for one in package["apis"]]
    for registry, file in (("mcpm", "mcpm-registry/functions.jsonl"), ("docker", "docker-mcp-registry/tools.jsonl")):
        for one in _lines(file):
            functions[f"{registry}/{one['server']}"].append((one["name"], one.get("description") or ""))
    return functions


def _lines(name: str) -> Iterator[dict[str, Any]]:
    path = local_file(name)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _cloud_tools(_catalogue: str, records: list[Record]) -> list[Tool]:
    """Return all operations of the services that a catalogue's requests need operations of."""
    services = {tool_id.partition("/")[0] for _, record in records for tool_id in record["tools"]}
    return [tool for tool in _clouds() if tool.source in services]


@cache
def _clouds() -> list[Tool]:
    return list(read_tools(["botocore:", "google:"]))


_TOOLS: Mapping[str, Any] = {
    **{kind: partial(_own_tools, kind) for kind in ("invented", "plugins", "assistants", "domains", "bundles")},
    "registries": _registry_tools,
    "clouds": _cloud_tools,
}
