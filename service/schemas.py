"""Requests as the service accepts them; everything else is refused with the field's name."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import BadRequest

from mtrb.formats.render import Detail, OutputFormat
from qta.conversation import request_of
from qta.selection import Filter
from service.problems import InvalidField, UnprocessableRequest

MAX_QUERY_CHARACTERS = 10_000
MAX_QUERIES = 100
MAX_BATCH_CHARACTERS = 100_000
MAX_BATCH_TOOLS = 2_000
MAX_BUDGET = 200_000
MAX_BATCH_TOKENS = 400_000
MAX_MESSAGES = 2_000
MAX_NAMES = 1_000
AUTO_TOOLS = 100
"""Tools that `"k": "auto"` may return."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Put behind the limits of a whole number: to JSON, 5.0 is one, and the same as 5."""

QueryText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARACTERS),
    Field(json_schema_extra={"pattern": r"[^\s\u0085]"}),  # what stripping and a length of one come to
]
Name = Annotated[str, StringConstraints(max_length=1_000)]
Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]


def _one_message(message: str) -> WrapValidator:
    """Say in one message what a field of several types takes, instead of one for each type."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("invalid", message) from None

    return WrapValidator(validate)


Size = Annotated[
    Annotated[int, Field(ge=1, le=100), WHOLE] | Literal["auto"], _one_message("must be 1 to 100, or 'auto'")
]
Blocks = Annotated[str | list[dict[str, Any]] | None, _one_message("must be a text or a list of content blocks")]


def exactly_one_of(*names: str) -> dict[str, Any]:
    """Return the JSON Schema that says that one of some fields is given; the others are absent or null."""
    given, absent = {"not": {"type": "null"}}, {"type": "null"}
    return {
        "oneOf": [
            {"required": [name], "properties": {other: given if other == name else absent for other in names}}
            for name in names
        ]
    }


class Body(BaseModel):
    """A JSON body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a JSON body.

        Raises:
            BadRequest: the body is no JSON.
            UnprocessableRequest: a field is missing, unknown or out of range.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            if found[0]["type"] == "json_invalid":
                raise BadRequest(
                    f"the body is no valid JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}"
                ) from None
            if found[0]["type"] == "model_type" and not found[0]["loc"]:
                fields = ", ".join(f"'{name}'" for name in cls.model_fields)
                raise UnprocessableRequest([InvalidField("body", f"must be an object with {fields}")]) from None
            raise UnprocessableRequest([_field(entry["loc"], entry["msg"]) for entry in found]) from None


class Wanted(Body):
    """Which tools a request wants; what is not said allows all."""

    tags: Names = []
    """Only tools that have all of these tags."""
    sources: Names = []
    """Only tools from one of these sources, such as a server's or an API's name."""
    namespaces: Names | None = None
    """Only tools in one of these namespaces; an id '@team/mail/send' is in the namespace 'team'."""
    include: Names | None = None
    """Only tools of these ids."""
    exclude: Names = []
    """No tools of these ids."""

    def filter(self) -> Filter:
        """Return it as the engine takes it."""
        return Filter(
            tags=tuple(self.tags),
            sources=tuple(self.sources),
            namespaces=None if self.namespaces is None else tuple(self.namespaces),
            include=None if self.include is None else tuple(self.include),
            exclude=tuple(self.exclude),
        )


class Message(Body):
    """A message of a conversation, as OpenAI or Anthropic have it; what else is in it is passed over."""

    model_config = ConfigDict(extra="ignore")

    role: str = ""
    content: Blocks = None


Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


class Conversation(Body):
    """A request among `queries` that is the last of a conversation."""

    messages: Messages
    """The conversation, oldest message first."""


Asked = Annotated[
    QueryText | Conversation,
    _one_message(f"must be a text of 1 to {MAX_QUERY_CHARACTERS:,} characters, or an object with 'messages' alone"),
]


class RetrieveRequest(Body):
    """The body of `POST /retrieve`: a `query`, several `queries` answered alike, or a conversation's `messages`."""

    model_config = ConfigDict(json_schema_extra=exactly_one_of("query", "queries", "messages"))

    query: QueryText | None = None
    """What is to be done, as the user says it."""
    queries: Annotated[list[Asked], Field(min_length=1, max_length=MAX_QUERIES)] | None = None
    """Several requests, texts or conversations; they may ask for 2,000 tools (queries x k, 100 each with `auto`) or
    400,000 tokens (queries x token_budget), and hold 100,000 characters in all."""
    messages: Messages | None = None
    """A conversation, oldest message first; the request is what its user last asked for."""
    k: Size = 5
    """How many tools; `auto` as many as are enough with a stated probability."""
    rewrite: Literal["auto", "off", "always"] = "auto"
    """Whether a rewriter, where one is installed, puts the request into the catalogue's words; `auto` leaves alone
    what names its tool."""
    format: OutputFormat = "native"
    """In whose form the tools are written."""
    detail: Detail = "full"
    """How much of a tool is written; the forms of vendors are always whole."""
    call_id: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    """The call that a `tool_search_output` answers."""
    filter: Wanted = Wanted()
    """Which tools may be in the answer."""
    always: Annotated[list[Name], Field(max_length=100)] = []
    """Ids of tools that are in the answer whatever the request."""
    token_budget: Annotated[int, Field(ge=1, le=MAX_BUDGET), WHOLE] | None = None
    """How many tokens the tools may take as they are written; without `k`, as many tools as fit."""
    explain: bool = False
    """Whether every tool says why it is in the answer."""

    @property
    def size(self) -> int | Literal["auto"] | None:
        """Return how many tools are wanted; None for as many as fit the budget."""
        return self.k if "k" in self.model_fields_set or self.token_budget is None else None

    @cached_property
    def texts(self) -> list[str]:
        """Return what is asked in words, a text a request; of a conversation what its user last asked for.

        Raises:
            UnprocessableRequest: the user of a conversation has said nothing.
        """
        if self.queries is None:
            return [self.query or _said(self.messages or (), "messages")]
        return [
            asked if isinstance(asked, str) else _said(asked.messages, f"queries.{at}.messages")
            for at, asked in enumerate(self.queries)
        ]

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if sum(asked is not None for asked in (self.query, self.queries, self.messages)) != 1:
            raise _wrong("query", "give one of 'query' (a text), 'queries' (a list of texts) and 'messages'")
        return self

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.detail != "full" and self.format != "native":
            raise _wrong("detail", f"is for the format 'native'; '{self.format}' is always whole")
        if self.call_id is not None and self.format != "tool_search_output":
            raise _wrong("call_id", f"is for the format 'tool_search_output', and this is '{self.format}'")
        return self

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        characters = sum(map(len, self.texts))
        if characters > MAX_BATCH_CHARACTERS:
            raise _wrong(
                "queries", f"{characters:,} characters in all; at most {MAX_BATCH_CHARACTERS:,} are answered at once"
            )
        queries = len(self.queries or ())
        asked = queries * (AUTO_TOOLS if self.k == "auto" else self.k)
        if self.token_budget is None and asked > MAX_BATCH_TOOLS:
            raise _wrong("queries", f"x k asks for {asked:,} tools; at most {MAX_BATCH_TOOLS:,} are returned at once")
        if queries * (self.token_budget or 0) > MAX_BATCH_TOKENS:
            raise _wrong("queries", f"x token_budget is more than {MAX_BATCH_TOKENS:,}, which are returned at most")
        return self


class FeedbackRequest(Body):
    """The body of `POST /feedback`: which tools were used for a request that was answered."""

    request_id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """What the answer had in `request_id`."""
    used: Annotated[list[Name], Field(max_length=100)]
    """Ids of the tools that were used; empty where none was of use."""


def _said(messages: Sequence[Message], field: str) -> str:
    said = request_of([message.model_dump() for message in messages])
    if said is None:
        raise _wrong(field, "no message of the role 'user' has a text")
    return said


def _wrong(field: str, message: str) -> UnprocessableRequest:
    return UnprocessableRequest([InvalidField(field, message)])


def _field(location: Sequence[int | str], message: str) -> InvalidField:
    return InvalidField(".".join(map(str, location)) or "body", message.removeprefix("Value error, "))
