"""`/tools`: the catalogue, listed and changed while it is served."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, request
from pydantic import ConfigDict, Field
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.routing import PathConverter

from mtrb.formats import parse_records
from mtrb.identifiers import clean_tool_id, make_tool_id
from mtrb.types import Tool
from qta.catalogue import Catalogue
from qta.keys import NAME
from qta.listing import list_tools
from qta.overlay import Overlay
from qta.selection import SHARED, namespace_of
from service.answers import Removed, ToolPage, ToolRecord, Written
from service.auth import caller, scope
from service.openapi import operation
from service.problems import InvalidField, UnprocessableRequest
from service.respond import engine, json_response, require_json
from service.schemas import Body

MAX_TOOLS = 1_000
"""So many tools are taken or listed at once."""

_SHOWN_ERRORS = 20

blueprint = Blueprint("tools", __name__)

Namespace = Annotated[str, Field(pattern=f"^({NAME})?$")]


class PutRequest(Body):
    """The body of `PUT /tools`."""

    tools: Annotated[list[Any], Field(min_length=1, max_length=MAX_TOOLS)]
    """Records in our own form or in those of OpenAI, Anthropic and MCP."""
    source: Annotated[str, Field(max_length=200)] = ""
    """Where they come from, for records that do not say so."""
    namespace: Namespace = SHARED
    """Where they are put; their ids then begin with `@namespace/`."""


class DeleteRequest(Body):
    """The body of `DELETE /tools`."""

    ids: Annotated[list[str], Field(min_length=1, max_length=MAX_TOOLS)]
    """Ids of tools."""


class ListQuery(Body):
    """What may stand behind the `?` of `GET /tools`."""

    model_config = ConfigDict(strict=False)

    limit: Annotated[int, Field(ge=1, le=MAX_TOOLS)] = 100
    """How many tools a page has."""
    after: str = ""
    """Begin behind this id: `next` of the page before."""
    prefix: str = ""
    """Only tools whose id begins so."""
    search: str = ""
    """Only tools with this in their id or name, in capitals or not."""
    namespace: Namespace | None = None
    """Only tools of this namespace; an empty one is that of all tools whose id names none."""


class _ToolId(PathConverter):
    """An id in a path, which may begin with a slash and hold several in a row."""

    regex = ".+"
    part_isolating = False
    weight = 200


@blueprint.record_once
def _know_ids(state: Any) -> None:
    state.app.url_map.converters["tool_id"] = _ToolId


@blueprint.put("/tools")
@operation(Written, body=PutRequest)
@scope("write")
def put_tools() -> Response:
    """Add or replace tools, all or none; answered once the change is on disk.

    :raise 400: the body is no JSON.
    :raise 403: the key may not write a tool of this namespace; nothing was changed.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field or a record is invalid; nothing was changed.
    :raise 503: no index is loaded, another process is writing, or Milvus does not answer.
    :raise 507: the disk is full.
    """
    require_json()
    asked = PutRequest.parse(request.get_data())
    tools = _tools_of(asked)
    _refuse_others([tool.tool_id for tool in tools])
    catalogue = _catalogue()
    written = catalogue.put(tools)
    return json_response(
        Written(
            added=written.added,
            changed=written.changed,
            unchanged=written.unchanged,
            revision=_revision(catalogue),
            ids=[tool.tool_id for tool in tools],
        )
    )


@blueprint.get("/tools")
@operation(ToolPage, query=ListQuery)
@scope("retrieve")
def get_tools() -> Response:
    """List tools in alphabetical order of their ids, a page at a time.

    :raise 422: a parameter is unknown or out of range.
    """
    asked = _list_query()
    granted = caller().granted
    wanted = granted if asked.namespace is None else frozenset({asked.namespace})
    namespaces = wanted if granted is None or wanted is None else wanted & granted
    page = list_tools(_catalogue().now, asked.limit, asked.after, asked.prefix, asked.search, namespaces)
    records = [ToolRecord(**tool.to_json()) for tool in page.tools]
    return json_response(ToolPage(tools=records, total=page.total, next=page.next))


@blueprint.delete("/tools")
@operation(Removed, body=DeleteRequest)
@scope("write")
def delete_tools() -> Response:
    """Remove tools; ids that there are not are named in the answer.

    :raise 400: the body is no JSON.
    :raise 403: the key may not write one of these tools; nothing was removed.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field is invalid.
    :raise 503: no index is loaded, another process is writing, or Milvus does not answer.
    :raise 507: the disk is full.
    """
    require_json()
    asked = DeleteRequest.parse(request.get_data())
    catalogue = _catalogue()
    now = catalogue.now
    ids = {tool_id: clean_tool_id(tool_id) for tool_id in asked.ids}  # as their owner wrote them
    known = list(dict.fromkeys(tool_id for tool_id in ids.values() if _is_known(now, tool_id)))
    _refuse_others(known)
    missing = [given for given, tool_id in ids.items() if tool_id not in set(known)]
    removed = catalogue.remove(known).removed
    return json_response(Removed(removed=removed, missing=missing, revision=_revision(catalogue)))


@blueprint.get("/tools/<tool_id:tool_id>", merge_slashes=False)
@operation(ToolRecord)
@scope("retrieve")
def get_tool(tool_id: str) -> Response:
    """Return one tool's record.

    :raise 404: there is none of that id.
    """
    now = _catalogue().now
    return json_response(now.tool(_known(now, tool_id)).to_json())


@blueprint.delete("/tools/<tool_id:tool_id>", merge_slashes=False)
@operation(Removed)
@scope("write")
def delete_tool(tool_id: str) -> Response:
    """Remove one tool.

    :raise 403: the key may not write this tool.
    :raise 404: there is none of that id.
    :raise 503: no index is loaded, another process is writing, or Milvus does not answer.
    :raise 507: the disk is full.
    """
    catalogue = _catalogue()
    known = [_known(catalogue.now, tool_id)]
    _refuse_others(known)
    removed = catalogue.remove(known).removed
    return json_response(Removed(removed=removed, missing=[], revision=_revision(catalogue)))


def _catalogue() -> Catalogue:
    return engine().catalogue


def _known(now: Overlay, text: str) -> str:
    """Return the id that a path means; ids are percent-encoded themselves, and may be pasted as they are.

    A path is decoded once on its way here. What holds characters that no id holds was an id before.
    """
    tool_id = text if clean_tool_id(text) == text else make_tool_id("", text)
    if not _is_known(now, tool_id):
        raise NotFound(f"there is no tool {tool_id!r}; in a URL, a percent sign of an id is written %25")
    return tool_id


def _is_known(now: Overlay, tool_id: str) -> bool:
    """Tell whether there is a tool of an id, which is looked for only where the caller may know of it."""
    return caller().sees(tool_id) and now.position(tool_id) is not None


def _refuse_others(tool_ids: Sequence[str]) -> None:
    """Refuse to write tools of namespaces that are not the caller's.

    :raise 403: there are some.
    """
    found = caller()
    others = [tool_id for tool_id in tool_ids if not found.owns(tool_id)]
    if others:
        owned = ", ".join(f"@{namespace}/..." for namespace in sorted(found.owned or ()))
        raise Forbidden(f"the key {found.name!r} writes only tools of its namespaces, {owned}, not {others[0]!r}")


def _revision(catalogue: Catalogue) -> int | None:
    """Return the catalogue's revision, for a caller who may know how often others change it."""
    return catalogue.now.revision if caller().granted is None else None


def _list_query() -> ListQuery:
    twice = [InvalidField(name, "is given twice") for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise UnprocessableRequest(twice)
    return ListQuery.parse(orjson.dumps(request.args.to_dict()))


def _tools_of(asked: PutRequest) -> list[Tool]:
    """Return the tools of a request.

    :raise 422: a record is invalid, two share an id, or namespaces among them hold too many.
    """
    tools: list[Tool] = []
    first: dict[str, int] = {}
    wrong: list[InvalidField] = []
    for place, tool in _placed(asked):
        if isinstance(tool, Exception):
            wrong.append(InvalidField(f"tools.{place}", str(tool)))
        elif tool.tool_id in first:
            wrong.append(InvalidField(f"tools.{place}", f"has the id {tool.tool_id!r} of tools.{first[tool.tool_id]}"))
        else:
            first[tool.tool_id] = place
            tools.append(tool)
    if wrong:
        raise UnprocessableRequest(wrong[:_SHOWN_ERRORS])
    if len(tools) > MAX_TOOLS:
        many = f"hold {len(tools):,} tools; at most {MAX_TOOLS:,} are taken at once"
        raise UnprocessableRequest([InvalidField("tools", many)])
    return tools


def _placed(asked: PutRequest) -> Iterator[tuple[int, Tool | Exception]]:
    """Yield the tools with their places, put into the request's namespace."""
    for place, tool in parse_records(asked.tools, asked.source):
        if isinstance(tool, Exception) or not asked.namespace or namespace_of(tool.tool_id) == asked.namespace:
            yield place, tool
        elif namespace_of(tool.tool_id) != SHARED:
            yield place, ValueError(f"id {tool.tool_id!r} is in another namespace than {asked.namespace!r}")
        else:
            yield place, replace(tool, tool_id=f"@{asked.namespace}/{tool.tool_id}")
