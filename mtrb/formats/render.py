"""Write tools as their callers want them: OpenAI (Chat and Responses), Anthropic, MCP, or our own records.

Vendors allow fewer names than catalogues hold. A name that a vendor allows stays as it is; any other becomes a slug and
a hash of the tool's id, the same every time, and `names` says which tool it stands for. So it is with the names of
parameters that Anthropic does not allow, see `renamed_parameters`.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from mtrb.formats.schema import without_alternatives
from mtrb.types import Tool

OutputFormat = Literal[
    "native", "openai", "openai_responses", "tool_search_output", "anthropic", "tool_reference", "mcp"
]
Detail = Literal["name", "description", "full"]

_HASH = 8
_DESCRIBED = 1024  # characters; a longer description fails the whole request
_PARAMETER = re.compile(r"[a-zA-Z0-9_.-]{1,64}")  # what Anthropic allows a parameter to be called


class _Vendor(NamedTuple):
    """Say which names a vendor allows, how long they may be, and how it writes a tool of such a name."""

    allowed: str
    longest: int
    write: Callable[[str, Tool], dict[str, Any]]


def _chat(name: str, tool: Tool) -> dict[str, Any]:
    function = {"name": name, "description": _shortened(tool.description), "parameters": _plain_schema(tool)}
    return {"type": "function", "function": function}


def _shortened(text: str) -> str:
    """Return a description as long as OpenAI's Chat API takes it, cut behind a sentence or between words."""
    if len(text) <= _DESCRIBED:
        return text
    kept = text[: _DESCRIBED - 1]
    sentence, word = max(kept.rfind(". "), kept.rfind("。")), kept.rfind(" ")
    if sentence > _DESCRIBED // 2:
        return kept[: sentence + 1]
    return kept[: word if word > _DESCRIBED // 2 else None] + "…"


def _responses(name: str, tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": tool.description,
        "parameters": _plain_schema(tool),
        "strict": False,
    }


def _anthropic(name: str, tool: Tool) -> dict[str, Any]:
    schema = _plain_schema(tool)
    if renamed_parameters(tool):
        schema["properties"] = {_parameter(own): child for own, child in schema["properties"].items()}
        if "required" in schema:
            schema["required"] = [_parameter(own) for own in schema["required"]]
    return {"name": name, "description": tool.description, "input_schema": schema}


def _reference(name: str, tool: Tool) -> dict[str, Any]:  # noqa: ARG001 (a reference is a name)
    return {"type": "tool_reference", "tool_name": name}


def _mcp(name: str, tool: Tool) -> dict[str, Any]:
    title = {"title": tool.name} if name != tool.name else {}
    return {"name": name, **title, "description": tool.description, "inputSchema": _schema(tool)}


_VENDORS: Mapping[str, _Vendor] = {
    "openai": _Vendor(r"a-zA-Z0-9_-", 64, _chat),
    "openai_responses": _Vendor(r"a-zA-Z0-9_-", 64, _responses),
    "tool_search_output": _Vendor(r"a-zA-Z0-9_-", 64, _responses),
    "anthropic": _Vendor(r"a-zA-Z0-9_-", 64, _anthropic),
    "tool_reference": _Vendor(r"a-zA-Z0-9_-", 64, _reference),
    "mcp": _Vendor(r"a-zA-Z0-9_.-", 128, _mcp),
}


def render(
    tools: Sequence[Tool], format: OutputFormat, detail: Detail = "full", shared: Collection[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return tools in a format, and the id of the tool behind each name.

    Args:
        tools: what to write, no id twice.
        format: whose shape; `tool_search_output` has that of `openai_responses`, and is put into its envelope by
            `search_output`.
        detail: `name` and `description` leave the schemas out of our own records; vendors' shapes are always whole.
        shared: names that several tools of the catalogue have; each of them gets another, the same in every answer.
    """
    if format == "native":
        return [_native(tool, detail) for tool in tools], {tool.tool_id: tool.tool_id for tool in tools}
    vendor = _VENDORS[format]
    names: dict[str, str] = {}
    written = []
    for tool in tools:
        name, attempt = _slug(tool, vendor) if tool.name in shared else vendor_name(tool, format), 0
        while name in names:  # two tools of one allowed name, or one that is called as another is mapped
            name, attempt = _slug(tool, vendor, attempt), attempt + 1
        names[name] = tool.tool_id
        written.append(vendor.write(name, tool))
    return written, names


def renamed_parameters(tool: Tool) -> dict[str, str]:
    """Return the names that stand for a tool's parameters in Anthropic's form, where it does not allow their own."""
    own_names = _plain_schema(tool)["properties"]
    return {name: own for own in own_names if (name := _parameter(own)) != own}


def _parameter(own: str) -> str:
    return own if _PARAMETER.fullmatch(own) else _hashed(own, own, "a-zA-Z0-9_.-", 64)


def search_output(tools: Sequence[Mapping[str, Any]], call_id: str | None) -> dict[str, Any]:
    """Return the answer to OpenAI's `tool_search_call` with `execution: "client"`."""
    return {
        "type": "tool_search_output",
        "call_id": call_id,
        "execution": "client",
        "status": "completed",
        "tools": list(tools),
    }


def vendor_name(tool: Tool, format: OutputFormat) -> str:
    """Return a tool's name as a vendor allows it."""
    vendor = _VENDORS[format]
    valid = re.fullmatch(f"[{vendor.allowed}]{{1,{vendor.longest}}}", tool.name)
    return tool.name if valid else _slug(tool, vendor)


def _slug(tool: Tool, vendor: _Vendor, attempt: int = 0) -> str:
    return _hashed(tool.name, tool.tool_id + "#" * attempt, vendor.allowed, vendor.longest)


def _hashed(name: str, identity: str, allowed: str, longest: int) -> str:
    words = re.sub(f"[^{allowed}]+", "_", name).strip("_")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_HASH]
    return f"{words[: longest - _HASH - 1]}_{digest}".lstrip("_")


def _native(tool: Tool, detail: Detail) -> dict[str, Any]:
    record: dict[str, Any] = {"tool_id": tool.tool_id, "name": tool.name}
    if detail != "name":
        record["description"] = tool.description
    if detail == "full":
        record["parameters"] = dict(tool.parameters)
    return record


def _schema(tool: Tool) -> dict[str, Any]:
    """Return the parameters as every vendor takes them: an object with properties, and nothing else than an object."""
    return {"type": "object", "properties": {}} | dict(tool.parameters) | {"type": "object"}


def _plain_schema(tool: Tool) -> dict[str, Any]:
    """Return the parameters as OpenAI and Anthropic take them, who refuse alternatives at the top of a schema."""
    return without_alternatives(_schema(tool))
