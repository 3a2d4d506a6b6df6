"""`/tools`: the catalogue, listed and changed while it is served."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, request
from pydantic import ConfigDict, Field
from werkzeug.exceptions import HTTPException, NotFound, ServiceUnavailable
from werkzeug.routing import PathConverter

from mtrb.errors import ArtefactError, BusyError, StorageError
from mtrb.formats import parse_records
from mtrb.identifiers import clean_tool_id, make_tool_id
from mtrb.types import Tool
from qta.catalogue import Catalogue
from qta.listing import list_tools
from qta.overlay import Overlay
from qta.selection import SHARED, namespace_of
from service.answers import Removed, ToolPage, ToolRecord, Written
from service.openapi import operation
from service.problems import InvalidField, UnprocessableRequest, problem
from service.respond import engine, json_response, require_json
from service.schemas import Body

MAX_TOOLS = 1_000
"""So many tools are taken or listed at once."""

_SHOWN_ERRORS = 20

logger = logging.getLogger(__name__)
blueprint = Blueprint("tools", __name__)

Namespace = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)]


class PutRequest(Body):
    """The body of `PUT /tools`: records in our own form or in those of OpenAI, Anthropic and MCP."""

    tools: Annotated[list[Any], Field(min_length=1, max_length=MAX_TOOLS)]
    source: Annotated[str, Field(max_length=200)] = ""
    namespace: Namespace = SHARED


class DeleteRequest(Body):
    """The body of `DELETE /tools`."""

    ids: Annotated[list[str], Field(min_length=1, max_length=MAX_TOOLS)]


class ListQuery(Body):
    """What may stand behind the `?` of `GET /tools`."""

    model_config = ConfigDict(strict=False)

    limit: Annotated[int, Field(ge=1, le=MAX_TOOLS)] = 100
    after: str = ""
    prefix: str = ""
    search: str = ""
    namespace: Namespace | None = None


class InsufficientStorage(HTTPException):
    """507: the disk did not take the change."""

    code = 507
    description = "the change could not be written: the disk is full or read-only; nothing was changed"


class _ToolId(PathConverter):
    """An id in a path, which may begin with a slash and hold several in a row."""

    regex = ".+"
    part_isolating = False
    weight = 200


@blueprint.record_once
def _know_ids(state: Any) -> None:
    state.app.url_map.converters["tool_id"] = _ToolId


@blueprint.errorhandler(ArtefactError)
def _not_written(error: ArtefactError) -> Response:
    """Answer a fault of the log of changes; where it lies on disk is nothing for a client."""
    logger.error("%s %s: %s", request.method, request.path, error)
    if isinstance(error, StorageError):
        return problem(InsufficientStorage())
    if isinstance(error, BusyError):
        busy = "another process is writing to the catalogue; nothing was changed, try again"
        return problem(ServiceUnavailable(busy, retry_after=1))
    return problem(ServiceUnavailable("the catalogue cannot be read or written; the reason was logged"))


@blueprint.put("/tools")
@operation(Written, body=PutRequest)
def put_tools() -> Response:
    """Add or replace tools, all or none; answered once the change is on disk.

    :raise 400: the body is no JSON.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field or a record is invalid; nothing was changed.
    :raise 503: no index is loaded, or another process is writing.
    :raise 507: the disk is full.
    """
    require_json()
    asked = PutRequest.parse(request.get_data())
    tools = _tools_of(asked)
    catalogue = _catalogue()
    written = catalogue.put(tools)
    return json_response(
        {
            "added": written.added,
            "changed": written.changed,
            "unchanged": written.unchanged,
            "revision": catalogue.now.revision,
            "ids": [tool.tool_id for tool in tools],
        }
    )


@blueprint.get("/tools")
@operation(ToolPage, query=ListQuery)
def get_tools() -> Response:
    """List tools in alphabetical order of their ids, a page at a time.

    :raise 422: a parameter is unknown or out of range.
    """
    asked = _list_query()
    namespaces = None if asked.namespace is None else {asked.namespace}
    page = list_tools(_catalogue().now, asked.limit, asked.after, asked.prefix, asked.search, namespaces)
    return json_response({"tools": [tool.to_json() for tool in page.tools], "total": page.total, "next": page.next})


@blueprint.delete("/tools")
@operation(Removed, body=DeleteRequest)
def delete_tools() -> Response:
    """Remove tools; ids that there are not are named in the answer.

    :raise 400: the body is no JSON.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field is invalid.
    :raise 503: no index is loaded, or another process is writing.
    :raise 507: the disk is full.
    """
    require_json()
    asked = DeleteRequest.parse(request.get_data())
    catalogue = _catalogue()
    missing = [tool_id for tool_id in dict.fromkeys(asked.ids) if catalogue.now.position(tool_id) is None]
    removed = catalogue.remove(asked.ids).removed
    return json_response({"removed": removed, "missing": missing, "revision": catalogue.now.revision})


@blueprint.get("/tools/<tool_id:tool_id>", merge_slashes=False)
@operation(ToolRecord)
def get_tool(tool_id: str) -> Response:
    """Return one tool's record.

    :raise 404: there is none of that id.
    """
    now = _catalogue().now
    return json_response(now.tool(_known(now, tool_id)).to_json())


@blueprint.delete("/tools/<tool_id:tool_id>", merge_slashes=False)
@operation(Removed)
def delete_tool(tool_id: str) -> Response:
    """Remove one tool.

    :raise 404: there is none of that id.
    :raise 503: no index is loaded, or another process is writing.
    :raise 507: the disk is full.
    """
    catalogue = _catalogue()
    removed = catalogue.remove([_known(catalogue.now, tool_id)]).removed
    return json_response({"removed": removed, "revision": catalogue.now.revision})


def _catalogue() -> Catalogue:
    return engine().catalogue


def _known(now: Overlay, text: str) -> str:
    """Return the id that a path means; ids are percent-encoded themselves, and may be pasted as they are.

    A path is decoded once on its way here. What holds characters that no id holds was an id before.
    """
    tool_id = text if clean_tool_id(text) == text else make_tool_id("", text)
    if now.position(tool_id) is None:
        raise NotFound(f"there is no tool {tool_id!r}; in a URL, a percent sign of an id is written %25")
    return tool_id


def _list_query() -> ListQuery:
    twice = [InvalidField(name, "is given twice") for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise UnprocessableRequest(twice)
    return ListQuery.parse(orjson.dumps(request.args.to_dict()))


def _tools_of(asked: PutRequest) -> list[Tool]:
    """Return the tools of a request.

    :raise 422: a record is invalid, or two share an id.
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
