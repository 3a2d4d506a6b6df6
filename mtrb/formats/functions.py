"""Function formats: one record is one tool, as OpenAI, Anthropic, MCP and our own JSON Lines write it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import orjson

from mtrb.formats.schema import check_schema, normalise_parameters
from mtrb.identifiers import clean_tool_id, make_tool_id
from mtrb.types import Tool

Record = tuple[str, Any, str]
"""Where a record stands, the record, and the source its tool belongs to."""

_MAX_NAME = 512


def tool_from(
    record: Mapping[str, Any], source: str, parameters: dict[str, Any], tool_id: str | None = None, tags: Any = ()
) -> Tool:
    """Build a tool from a record's `name` and `description`, checking both.

    Raises:
        ValueError: a field is missing or of the wrong type.
    """
    name = _text(record, "name", _MAX_NAME)
    if not name:
        raise ValueError("the name is missing; every tool needs one")
    description = _text(record, "description")
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags must be a list of texts")
    parameters = _as_stored(name, description, parameters, tags, source, tool_id)
    return Tool(
        tool_id=tool_id or make_tool_id(source, name),
        name=name,
        description=re.sub(r"[^\S\n]+", " ", description),
        parameters=parameters,
        tags=tuple(tags),
        source=source,
    )


def _as_stored(name: str, description: str, parameters: dict[str, Any], *others: Any) -> dict[str, Any]:
    """Return the parameters as they will be read from an index; numbers beyond 64 bits become floats there."""
    try:
        stored: dict[str, Any] = orjson.loads(json.dumps([parameters, name, description, *others]))[0]
    except (TypeError, ValueError) as error:
        surrogate = "surrogate" in str(error)
        reason = "the text holds half of a surrogate pair, which is not valid Unicode" if surrogate else str(error)
        raise ValueError(f"cannot be written as JSON: {reason}") from None
    return stored


def _text(record: Mapping[str, Any], key: str, limit: int | None = None) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, not {type(value).__name__}")
    value = value.strip()
    if limit and len(value) > limit:
        raise ValueError(f"{key} has {len(value):,} characters; at most {limit} are allowed")
    return value


def _schema_in(record: Mapping[str, Any]) -> Any:
    """Return the parameters of a record, under the first of the names that they have: ours, Gemini's, LangChain's."""
    names = ("parameters", "parametersJsonSchema", "parameters_json_schema")
    for name in names:
        if record.get(name) is not None:
            return record[name]
    schema, properties = record.get("args_schema"), record.get("args")
    if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
        return schema
    if isinstance(properties, Mapping) and all(isinstance(child, Mapping) for child in properties.values()):
        return {"type": "object", "properties": dict(properties)}
    return None


def parse_native(record: Mapping[str, Any], source: str) -> Tool:
    """Read our own record: `name`, and optionally `id`, `description`, `parameters`, `tags`, `source`.

    Raises:
        ValueError: the record does not hold a tool.
    """
    given = record.get("id")
    if given is not None and (not isinstance(given, str | int) or not str(given).strip()):
        raise ValueError("id must be a text that is not empty")
    parameters = normalise_parameters(_schema_in(record))
    tags = record.get("tags") or ([record["category"]] if isinstance(record.get("category"), str) else ())
    tool_id = clean_tool_id(str(given)) if given is not None else None
    return tool_from(record, _text(record, "source") or source, parameters, tool_id, tags)


def parse_openai(record: Mapping[str, Any], source: str) -> Tool:
    """Read an OpenAI tool: Chat (`function` or `custom` inside) or Responses (flat).

    A custom tool takes a free text, which becomes its one parameter `input`.

    Raises:
        ValueError: the record does not hold a function.
    """
    kind = record.get("type", "function")
    if kind not in ("function", "custom"):
        raise ValueError(f"a tool of type {kind!r} is hosted by the vendor and has nothing to retrieve by")
    function = record.get(kind, record)
    if not isinstance(function, Mapping):
        raise ValueError(f"{kind!r} must be an object")
    return tool_from(function, source, _FREE_TEXT if kind == "custom" else check_schema(_schema_in(function)))


_FREE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def parse_anthropic(record: Mapping[str, Any], source: str) -> Tool:
    """Read an Anthropic tool with its `input_schema`.

    Raises:
        ValueError: the record does not hold a client tool.
    """
    if "input_schema" not in record:
        kind = record.get("type")
        raise ValueError(
            f"a tool of type {kind!r} is hosted by the vendor and has nothing to retrieve by"
            if kind
            else "'input_schema' is missing"
        )
    return tool_from(record, source, check_schema(record["input_schema"]))


def parse_mcp(record: Mapping[str, Any], source: str) -> Tool:
    """Read a tool of an MCP `tools/list` result; a `title` helps where there is no description.

    Raises:
        ValueError: the record does not hold a tool.
    """
    if "inputSchema" not in record:
        raise ValueError("'inputSchema' is missing")
    if not record.get("description") and isinstance(record.get("title"), str):
        record = {**record, "description": record["title"]}
    return tool_from(record, source, check_schema(record["inputSchema"]))


PARSERS: dict[str, Callable[[Mapping[str, Any], str], Tool]] = {
    "native": parse_native,
    "openai": parse_openai,
    "anthropic": parse_anthropic,
    "mcp": parse_mcp,
}


def is_ours(record: Mapping[str, Any]) -> bool:
    """Tell whether a record that shows no other format has a field that only ours has."""
    return not {"id", "tags", "source"}.isdisjoint(record)


def sniff_record(record: object) -> str | None:
    """Return the format that one record is certainly in, or None: a name alone may stand in any."""
    if not isinstance(record, Mapping):
        return None
    if "inputSchema" in record:
        return "mcp"
    if "input_schema" in record:
        return "anthropic"
    if record.get("type") in ("function", "custom", "namespace") or isinstance(record.get("function"), Mapping):
        return "openai"
    return None


def records_of(document: Any, where: str, source: str) -> Iterator[Record]:
    """Yield the tool records of a document: a list, an object with `tools`, or a map of servers.

    An OpenAI namespace and an MCP server of a map become the source of the tools they hold. An MCP answer that is one
    of several pages says so behind its tools.

    Raises:
        ValueError: the document has no list of tools where one is expected.
    """
    document = _unwrapped(document)
    more = isinstance(document, Mapping) and isinstance(document.get("tools"), list) and document.get("nextCursor")
    if isinstance(document, Mapping):
        keys = ("tools", "functions")  # the latter in requests to OpenAI's older interface
        lists = [document[key] for key in keys if isinstance(document.get(key), list)]
        document = [*chain.from_iterable(lists)] if lists else document
    if isinstance(document, list):
        for number, record in enumerate(document, start=1):
            location = f"{where}, record {number}"
            if (
                isinstance(record, Mapping)
                and record.get("type") == "namespace"
                and isinstance(record.get("tools"), list)
            ):
                yield from records_of(record["tools"], location, str(record.get("name", source)))
            else:
                yield location, record, source
    elif isinstance(document, Mapping) and document and all(_holds_tools(value) for value in document.values()):
        for server, value in document.items():
            yield from records_of(value, f"{where}, server {server!r}", str(server))
    elif isinstance(document, Mapping) and ("name" in document or sniff_record(document)):
        yield f"{where}, record 1", document, source
    else:
        raise ValueError("holds no tools: expected a list of tools, an object with 'tools', or a map of MCP servers")
    if more:
        reason = "the list goes on behind its 'nextCursor': ask for all its pages, or use `qta sync`"
        yield f"{where}, end of the list", ValueError(reason), source


def _unwrapped(document: Any) -> Any:
    for envelope in ("result", "mcpServers"):  # of an MCP answer in JSON-RPC, and of a client's servers
        if isinstance(document, Mapping) and isinstance(document.get(envelope), Mapping):
            document = document[envelope]
    return document


def _holds_tools(value: object) -> bool:
    if isinstance(value, Mapping) and isinstance(value.get("result"), Mapping):
        value = value["result"]
    return isinstance(value, list) or (isinstance(value, Mapping) and isinstance(value.get("tools"), list))
