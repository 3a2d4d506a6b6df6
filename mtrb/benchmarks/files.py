"""A user's own benchmark: a catalogue in any format, and annotated requests in JSON Lines."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrb.errors import InputError
from mtrb.formats import read_tools
from mtrb.formats.records import read_lines
from mtrb.identifiers import clean_tool_id, is_unicode
from mtrb.types import Benchmark, Query, Toolset


def read_queries(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (location, record) of a JSON Lines file of annotated queries: `id`, `query`, `tools`.

    Raises:
        InputError: a record is no object or lacks a field.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; expected JSON Lines with id, query and tools")
    for location, record in read_lines(path):
        if isinstance(record, Exception):
            raise InputError(f"{location}: {record}")
        if not isinstance(record, Mapping):
            raise InputError(f"{location}: a query must be an object, not {type(record).__name__}")
        query, tools = record.get("query"), record.get("tools")
        if any(not is_unicode(text) for text in (record.get("id"), query, *_list(tools))):
            raise InputError(f"{location}: the text holds half of a surrogate pair, which is not valid Unicode")
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"{location}: 'query' must be a text that is not empty")
        if not isinstance(tools, list) or not tools or not all(isinstance(tool, str) for tool in tools):
            raise InputError(f"{location}: 'tools' must be a list of at least one tool id")
        yield location, record


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def make_benchmark(
    dataset_id: str, split: str, toolset: Toolset, records: Iterable[tuple[str, Mapping[str, Any]]], note: str = ""
) -> Benchmark:
    """Bundle a catalogue with query records, checking that every golden tool exists.

    Raises:
        InputError: a golden tool is not in the catalogue, a query id occurs twice, or there is no query.
    """
    queries: list[Query] = []
    qrels: dict[str, dict[str, int]] = {}
    groups: dict[str, str] = {}
    for location, record in records:
        given = record.get("id")
        query_id = clean_tool_id(f"q{len(queries) + 1}" if given in (None, "") else str(given))
        if query_id in qrels:
            raise InputError(f"{location}: query id {query_id!r} occurs twice")
        golden = [clean_tool_id(tool) for tool in record["tools"]]
        for tool_id in golden:
            if tool_id not in toolset.positions:
                raise InputError(
                    f"{location}: golden tool {tool_id!r} is not in the catalogue of {len(toolset)} tools"
                    + _suggestion(tool_id, toolset)
                )
        queries.append(Query(query_id, record["query"]))
        qrels[query_id] = dict.fromkeys(golden, 1)
        if isinstance(record.get("language"), str):
            groups[query_id] = record["language"]
    if not queries:
        raise InputError(f"{dataset_id}: there are no queries in the split {split!r}")
    return Benchmark(dataset_id, split, toolset, tuple(queries), qrels, groups, note)


def _suggestion(tool_id: str, toolset: Toolset) -> str:
    named = [tool.tool_id for tool in toolset if tool.name == tool_id or tool.tool_id.endswith(f"/{tool_id}")]
    near = named or difflib.get_close_matches(tool_id, toolset.ids, n=1)
    return f"; did you mean {near[0]!r}?" if near else "; ids are SOURCE/NAME, as `qta retrieve` shows them"


def split_names(records: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return the splits that query records name."""
    return sorted({str(record["split"]) for _, record in records if record.get("split") not in (None, "")})


def load_files(tools: str | Sequence[str], queries: str, split: str | None = None, named: bool = True) -> Benchmark:
    """Read a user's own catalogue, of one file or several, and annotated queries.

    `split` keeps the queries that name it; without `named` all of a file where none names any.

    Raises:
        InputError: a file or record is invalid, or there is no such split.
    """
    records = list(read_queries(Path(queries)))
    splits = split_names(records)
    if not (named or splits):
        split = None
    kept = [entry for entry in records if split is None or str(entry[1].get("split")) == split]
    if records and not kept:
        there = f"there are {', '.join(splits)}; name one with --split" if splits else "no query names a split"
        raise InputError(f"{Path(queries).stem}: there are no queries in the split {split!r}: {there}")
    toolset = Toolset(read_tools([tools] if isinstance(tools, str) else tools))
    return make_benchmark(Path(queries).stem, split or "all", toolset, kept)
