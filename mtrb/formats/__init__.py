"""Read tools from files and catalogues of many formats, one record at a time, dropping nothing in silence."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mtrb.errors import InputError
from mtrb.formats.catalogues import aws_tools, google_tools
from mtrb.formats.functions import PARSERS, Record, is_ours, records_of, sniff_record
from mtrb.formats.openapi import api_title, is_openapi, operations, parse_operation
from mtrb.formats.records import is_json_lines, read_document, read_lines
from mtrb.types import Tool

FORMATS = (*PARSERS, "openapi")

Parse = Callable[[Mapping[str, Any], str], Tool]

_SNIFFED_RECORDS = 20


@dataclass(frozen=True)
class Skipped:
    """Say which record was left out, and why."""

    location: str
    reason: str


def sample_path(name: str) -> Path:
    """Return the path of a file of the bundled sample."""
    return Path(str(resources.files("mtrb") / "sample" / name))


def _sample_tools() -> Iterator[Tool]:
    return read_tools([str(sample_path("tools.jsonl"))])


CATALOGUES: dict[str, Callable[[], Iterator[Tool]]] = {
    "sample:": _sample_tools,
    "botocore:": aws_tools,
    "google:": google_tools,
}


def read_tools(specs: Iterable[str], format: str | None = None, skipped: list[Skipped] | None = None) -> Iterator[Tool]:
    """Yield the tools of files and catalogues, in order, each id once.

    Args:
        specs: paths, or `sample:`, `botocore:`, `google:`. `NAME=PATH` says what the file's tools are called after.
        format: one of `FORMATS` for all files; sniffed from each file when not given.
        skipped: where to note invalid records; without it the first one is an error.

    Raises:
        InputError: a file cannot be read, is in no known format, or a record is invalid or a duplicate.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    first_seen: dict[str, str] = {}
    for spec in specs:
        for location, tool in _read(spec, format):
            reason = str(tool) if isinstance(tool, Exception) else None
            if isinstance(tool, Tool) and tool.tool_id in first_seen:
                reason = (
                    f"the id {tool.tool_id!r} is already taken by {first_seen[tool.tool_id]}; "
                    "files of the same name can be told apart as NAME=PATH"
                )
            if reason is None:
                first_seen[tool.tool_id] = location
                yield tool
            elif skipped is None:
                raise InputError(f"{location}: {reason}\nmend it, or leave such records out with --skip-invalid")
            else:
                skipped.append(Skipped(location, reason))


def parse_records(records: Sequence[Any], source: str) -> Iterator[tuple[int, Tool | Exception]]:
    """Yield the tools of records in memory, each with its record's place, from 0: a tool, or why there is none.

    A record may be in any form but OpenAPI, known by itself, else by its neighbours; only ours has an `id`.
    """
    usual = next(filter(None, map(sniff_record, records)), "native")

    def parse(record: Mapping[str, Any], source: str) -> Tool:
        return PARSERS[sniff_record(record) or ("native" if is_ours(record) else usual)](record, source)

    for place, outer in enumerate(records):
        inner = list(records_of([outer], str(place), source))  # several, where it is an OpenAI namespace
        if not inner:
            yield place, ValueError("holds no tools")
        for _, record, its_source in inner:
            yield place, _parsed(record, its_source, parse)


def _read(spec: str, format: str | None) -> Iterator[tuple[str, Any]]:
    """Yield (location, tool or the exception that says why there is none)."""
    if spec in CATALOGUES:
        for number, tool in enumerate(CATALOGUES[spec](), start=1):
            yield f"{spec} record {number}", tool
        return
    path, name = _split_spec(spec)
    count = 0
    try:
        records, parse = _open(path, name, format)
        for location, record, source in records:
            count += 1
            yield location, _parsed(record, source, parse)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be read") from None
    if not count:
        raise InputError(f"{path}: holds no tools")


def _parsed(record: Any, source: str, parse: Parse) -> Tool | Exception:
    if isinstance(record, Exception):
        return record
    if not isinstance(record, Mapping):
        return ValueError(f"a tool must be an object, not {type(record).__name__}")
    try:
        return parse(record, source)
    except ValueError as error:
        return error
    except RecursionError:
        return ValueError("nested too deeply")


def spec_path(spec: str) -> Path:
    """Return the path of a file that is given as `PATH` or `NAME=PATH`."""
    return _split_spec(spec)[0]


def _split_spec(spec: str) -> tuple[Path, str | None]:
    """Return the path, and the source where one is given as `NAME=PATH`."""
    name, equals, rest = spec.partition("=")
    if equals and rest and re.fullmatch(r"[\w.-]+", name) and not Path(spec).exists():
        return Path(rest), name
    return Path(spec), None


def _open(path: Path, name: str | None, format: str | None) -> tuple[Iterable[Record], Parse]:
    if not path.exists():
        known = ", ".join(CATALOGUES)
        raise InputError(f"{path}: no such file; expected a file of tools, or one of {known}")
    source = name or path.name.removesuffix(".gz").rsplit(".", 1)[0]
    if format != "openapi" and is_json_lines(path):
        return _sniffed(((location, value, source) for location, value in read_lines(path)), path, format)
    document = read_document(path)
    if format == "openapi" or (format is None and is_openapi(document)):
        if not is_openapi(document):
            raise ValueError("no OpenAPI document: neither 'openapi' nor 'swagger' at the top")
        return operations(document, str(path), name or api_title(document) or source), parse_operation
    return _sniffed(records_of(document, str(path), source), path, format)


def _sniffed(records: Iterator[Record], path: Path, format: str | None) -> tuple[Iterable[Record], Parse]:
    """Choose the parser of a file: for each record by itself where it shows its format, else by its neighbours."""
    if format is not None:
        return records, PARSERS[format]
    seen = list(islice(records, _SNIFFED_RECORDS))
    certain = next(filter(None, (sniff_record(value) for _, value, _ in seen)), None)
    if certain is None and not any(isinstance(value, Mapping) and "name" in value for _, value, _ in seen):
        if seen and isinstance(seen[0][1], Exception):
            raise InputError(f"{seen[0][0]}: {seen[0][1]}")
        if seen:
            raise InputError(
                f"{path}: in none of the known formats ({', '.join(FORMATS)}); "
                "name it with --format, or give each tool a 'name'"
            )
    usual = certain or "native"

    def parse(record: Mapping[str, Any], source: str) -> Tool:
        return PARSERS[sniff_record(record) or ("native" if is_ours(record) else usual)](record, source)

    return chain(seen, records), parse
