"""Answers as the service gives them, for its OpenAPI document; tests hold real answers against them.

The routes do not build these: an engine's answer is JSON already, and checking it at every request would take longer
than to rank.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qta.remarks import REASONS


class Content(BaseModel):
    """A JSON object of an answer; fields that are not named here do not occur."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class InvalidFieldEntry(Content):
    """A field of a request and what is wrong with it."""

    field: str
    message: str


class Problem(Content):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """What is wrong, and what to do."""
    instance: str = ""
    """The path that was asked."""
    request_id: str = ""
    """What the service's log calls the request."""
    errors: list[InvalidFieldEntry] = []
    """The fields that are wrong, where some are."""


class Health(Content):
    """The process answers."""

    status: Literal["ok"]


class IndexAbout(Content):
    """What identifies the catalogue that was searched."""

    tools: int
    search: str
    """How vectors are searched: `flat` compares all, others look at the nearest only."""
    revision: int | None = None
    """Grows with every change of the catalogue; told to callers who see all tools, as what follows."""
    fingerprint: str = ""
    created: str = ""
    encoder: str = ""


class Ready(Content):
    """Requests can be answered."""

    status: Literal["ready", "degraded"]
    degraded: list[str]
    """What is amiss."""
    index: IndexAbout | None = None
    """Told to callers who see all tools, as what follows."""
    troubles: dict[str, str] = {}
    """What is amiss, in words."""


class Why(Content):
    """What put a tool into the answer, each with what it counted; what counted nothing is left out."""

    meaning: float | None = None
    """Cosine of the request's vector and the tool's."""
    examples: float | None = None
    """What of `meaning` is due to examples that use the tool; below zero where they use it for other requests."""
    words: float | None = None
    """Score of the words that request and tool share."""
    named: bool = False
    """The request names the tool."""
    clause: str = ""
    """The part of the request that the tool is the best for."""
    step: str = ""
    """The rewriter's step that the tool is the best for."""
    prior: float | None = None
    """What uses added, in the examples that were learnt from and in feedback."""
    provides_for: str = ""
    """The tool that needs what this one gives."""
    used_with: str = ""
    """The tool that examples need this one beside."""
    always: bool = False
    """It was asked for in `always`."""
    filter: list[str] = []
    """Fields of the filter that it passed."""


class Place(Content):
    """Where a tool stands in the answer."""

    score: float
    """Comparable within one answer only."""
    rank: int
    why: Why | None = None
    """With `explain`, what put it there."""


class RankedTool(Place):
    """A tool and its place."""

    tool_id: str
    name: str
    description: str = ""
    """Left out with `"detail": "name"`."""
    parameters: dict[str, Any] = {}
    """JSON Schema of the tool's arguments; left out unless the detail is `full`."""


class RankedId(Place):
    """The place of a tool that is written in a vendor's form."""

    tool_id: str


class Degradation(Content):
    """Something that did not go as asked."""

    reason: Annotated[str, Field(json_schema_extra={"enum": list(REASONS)})]
    detail: str


class RetrieveAnswer(Content):
    """The tools for a request, best first."""

    tools: list[RankedTool] | list[dict[str, Any]] | dict[str, Any]
    """In the form that was asked for: our own records, a vendor's, or one `tool_search_output`."""
    ranking: list[RankedId] = []
    """With a vendor's form, ids and places in the same order."""
    names: dict[str, str] = {}
    """With a vendor's form, the ids behind the names, where the vendor does not allow a tool's own name."""
    parameters: dict[str, dict[str, str]] = {}
    """With Anthropic's form, by the tool's name: the parameters behind the names that stand for those not allowed."""
    query: str
    rewritten_query: str | None
    """The steps that the rewriter made of the request, where it did."""
    k: int
    """How many tools were asked for; with `auto` or a token_budget, how many there are."""
    confidence: float | None = None
    """With `auto`, the probability that the tools are enough; where none fits, the p-value that says so."""
    no_tool_fits: bool = False
    """Even the nearest tool is farther away than those of nearly all requests that some tool fits."""
    whole_catalogue: bool = False
    """The answer has all tools that the request may get."""
    tokens: int | None = None
    """With a token_budget, what the tools take."""
    tokens_saved: int | None = None
    """With a token_budget, how many more tokens all tools would take that the request may get."""
    request_id: str | None = None
    """What `POST /feedback` refers to, for a day."""
    index: IndexAbout
    timing_ms: dict[str, float]
    """Milliseconds by stage."""
    degraded: list[Degradation]


class RetrieveAnswers(Content):
    """The answers to several requests, in their order."""

    results: list[RetrieveAnswer]


class JsonRpcMessage(BaseModel):
    """A request or notification of MCP; the protocol says what it may hold."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    jsonrpc: Literal["2.0"]
    method: str
    id: Any = None
    """A number or text that the answer is to name; a message without it is a notification and gets none."""
    params: dict[str, Any] | None = None


class JsonRpcError(Content):
    """Why there is no result."""

    code: int
    message: str
    data: Any = None


class JsonRpcAnswer(Content):
    """The result of a request of MCP, or its error."""

    jsonrpc: Literal["2.0"]
    id: int | str | None = None
    result: dict[str, Any] = {}
    error: JsonRpcError | None = None


class ToolRecord(Content):
    """A tool of the catalogue."""

    id: str
    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the tool's arguments."""
    tags: list[str]
    source: str


class ToolPage(Content):
    """Tools in alphabetical order of their ids."""

    tools: list[ToolRecord]
    total: int
    next: str | None
    """What to give as `after` for the next page; null on the last."""


class Written(Content):
    """What a bulk write did, once it is on disk."""

    added: int
    changed: int
    unchanged: int
    revision: int | None
    """The catalogue's, where the caller sees all tools."""
    ids: list[str]
    """The ids of the tools, in the order of the records."""


class Removed(Content):
    """What was removed, once it is on disk."""

    removed: int
    missing: list[str] = []
    """Ids that there are not."""
    revision: int | None
    """The catalogue's, where the caller sees all tools."""


class FeedbackAnswer(Content):
    """What was kept."""

    request_id: str
    used: list[str]
    """The tools that were used, each once."""
