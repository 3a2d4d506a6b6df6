"""The MCP door: a server of two tools, `search_tools` and `get_tool_details`, over stdio here and over HTTP at `/mcp`.

It finds tools and describes them; it never calls one.
"""

import json
import logging
import textwrap
from collections.abc import Callable
from typing import Annotated, Any

import jsonref
from mcp.server import CacheHint, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema
from werkzeug.exceptions import HTTPException, NotFound

from mtrb.errors import QTAError
from mtrb.identifiers import clean_tool_id
from qta import __version__
from qta.asking import Answer, Request
from qta.engine import Engine
from qta.remarks import NOTHING_FITS
from qta.selection import namespace_of
from service.answers import Content
from service.schemas import WHOLE, Body, QueryText, Wanted

logger = logging.getLogger(__name__)

Granted = frozenset[str] | None

INSTRUCTIONS = """\
A catalogue of tools, too large to list. Call search_tools with what is to be done before you decide that there is no \
tool for it; then get_tool_details for the few tools that you will use, to learn their parameters. Search again for \
every further job. Nothing is called here: the tools that you find are called where they are offered."""

_LINE = 160
_DAY_MS = 24 * 60 * 60 * 1000


class Arguments(Body):
    """Arguments that a language model wrote: `"5"` is 5, but a name that there is not is refused."""

    model_config = ConfigDict(strict=False)


class ToolFilter(Arguments, Wanted):
    """What may be found; what is not said allows all."""


class SearchTools(Arguments):
    """Find tools by what is to be done, best first.

    The answer is a ranking: it usually holds every tool that the job needs, and some that it does not. It gives names,
    ids and a line on each; parameters are in get_tool_details.
    """

    query: QueryText
    """What is to be done, in plain words and with the names and numbers that matter: 'refund order 8841 and tell the \
customer'. One job at a time finds more than a list of key words. English works best."""
    k: Annotated[int, Field(ge=1, le=50), WHOLE] = 5
    """How many tools; more when one job needs many."""
    filter: ToolFilter = ToolFilter()


class GetToolDetails(Arguments):
    """Return the full definitions of tools: description and parameters (JSON Schema)."""

    ids: Annotated[list[str], Field(min_length=1, max_length=50)]
    """Ids of tools, as search_tools gives them in `tool_id`."""


class FoundTool(Content):
    """A tool that fits, in a line."""

    tool_id: str
    name: str
    description: str
    score: float
    """Comparable within one answer only."""


class FoundTools(Content):
    """What search_tools answers."""

    tools: list[FoundTool]
    notes: list[str]
    """What did not go as asked."""


class ToolDefinition(Content):
    """A tool in full."""

    tool_id: str
    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the tool's arguments."""


class ToolDefinitions(Content):
    """What get_tool_details answers."""

    tools: list[ToolDefinition]
    unknown: list[str]
    """Ids that no tool has."""


class _Desk:
    """Answer calls with the engine and the rights that a call has."""

    def __init__(
        self, engine: Callable[[], Engine], answer: Callable[[Request], Answer], granted: Callable[[], Granted]
    ) -> None:
        self._engine = engine
        self._answer = answer
        self._granted = granted

    def search(self, asked: SearchTools) -> FoundTools:
        request = Request(asked.query, asked.k, wanted=asked.filter.filter(), granted=self._granted())
        answer = self._answer(request)
        notes = [entry["detail"] for entry in answer.degraded]
        if not answer.tools:
            notes.append("no tool is allowed by the filter; ask with less of it")
        elif answer.no_tool_fits:
            notes.append(NOTHING_FITS)
        tools = [
            FoundTool(
                tool_id=tool.tool_id,
                name=tool.name,
                description=_one_line(tool.description),
                score=round(scored.score, 4),
            )
            for tool, scored in zip(answer.tools, answer.ranking, strict=True)
        ]
        return FoundTools(tools=tools, notes=notes)

    def details(self, asked: GetToolDetails) -> ToolDefinitions:
        """Return definitions.

        Raises:
            NotFound: no tool has any of the ids.
        """
        now, granted = self._engine().catalogue.now, self._granted()
        found, unknown = [], []
        for given in dict.fromkeys(asked.ids):
            tool_id = clean_tool_id(given)
            seen = granted is None or namespace_of(tool_id) in granted
            position = now.position(tool_id) if seen else None
            if position is None:
                unknown.append(given)
                continue
            tool = now.tools[position]
            found.append(
                ToolDefinition(
                    tool_id=tool_id, name=tool.name, description=tool.description, parameters=dict(tool.parameters)
                )
            )
        if not found:
            raise NotFound(f"no tool has an id of {', '.join(unknown)}; ids are the 'tool_id's of search_tools")
        return ToolDefinitions(tools=found, unknown=unknown)


def build_server(
    engine: Callable[[], Engine], answer: Callable[[Request], Answer], granted: Callable[[], Granted] = lambda: None
) -> "Server[Any]":
    """Return the server.

    Args:
        engine: returns the engine, asked at every call.
        answer: ranks the tools for a request.
        granted: returns the namespaces that the caller may see, asked at every call; None is all.
    """
    desk = _Desk(engine, answer, granted)
    calls: dict[str, tuple[type[Arguments], type[BaseModel], Callable[[Any], BaseModel]]] = {
        "search_tools": (SearchTools, FoundTools, desk.search),
        "get_tool_details": (GetToolDetails, ToolDefinitions, desk.details),
    }
    tools = [_described(name, arguments, answer) for name, (arguments, answer, _) in calls.items()]

    async def list_tools(_ctx: ServerRequestContext[Any], _page: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(_ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        if params.name not in calls:
            known = " and ".join(calls)
            raise MCPError(INVALID_PARAMS, f"no tool is called {params.name!r}; there are {known}")
        arguments, _, answer = calls[params.name]
        try:
            content = answer(arguments.parse(json.dumps(params.arguments or {}).encode()))
        except HTTPException as error:
            return _refusal(error.description or error.name)
        except QTAError as error:
            logger.error("%s: %s", params.name, error)
            return _refusal("the catalogue cannot be read; the reason was logged")
        except Exception:
            logger.exception("unexpected error in %s", params.name)
            return _refusal("an unexpected error; it was logged")
        return CallToolResult(
            content=[TextContent(text=content.model_dump_json())], structured_content=content.model_dump(mode="json")
        )

    return Server(
        "qta",
        version=__version__,
        title="Tool search",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(_DAY_MS, "public"), "server/discover": CacheHint(_DAY_MS, "public")},
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(name: str, arguments: type[BaseModel], answer: type[BaseModel]) -> Tool:
    return Tool(
        name=name,
        description=" ".join((arguments.__doc__ or "").split()),
        input_schema=_schema(arguments),
        output_schema=_schema(answer),
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    )


class _Untitled(GenerateJsonSchema):
    """Leave out titles that repeat the fields' names; a language model pays for each."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (of no field)
        return False


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema in one piece: not every client follows references."""
    schema = jsonref.replace_refs(model.model_json_schema(schema_generator=_Untitled), proxies=False, lazy_load=False)
    return {key: value for key, value in schema.items() if key not in ("$defs", "title", "description")}


def _refusal(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def _one_line(description: str) -> str:
    return textwrap.shorten(description.partition("\n")[0], _LINE, placeholder=" ...")
