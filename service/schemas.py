"""Requests as the service accepts them; everything else is refused with the field's name."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import BadRequest

from mtrb.formats.render import Detail, OutputFormat
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

QueryText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARACTERS)]
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


Size = Annotated[Annotated[int, Field(ge=1, le=100)] | Literal["auto"], _one_message("must be 1 to 100, or 'auto'")]
Blocks = Annotated[str | list[dict[str, Any]] | None, _one_message("must be a text or a list of content blocks")]


class Body(BaseModel):
    """A JSON body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

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


class Wanted(BaseModel):
    """Which tools a request wants; what is not said allows all."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: Names = []
    sources: Names = []
    namespaces: Names | None = None
    include: Names | None = None
    exclude: Names = []

    def filter(self) -> Filter:
        """Return it as the engine takes it."""
        return Filter(
            tags=tuple(self.tags),
            sources=tuple(self.sources),
            namespaces=None if self.namespaces is None else tuple(self.namespaces),
            include=None if self.include is None else tuple(self.include),
            exclude=tuple(self.exclude),
        )


class Message(BaseModel):
    """A message of a conversation, as OpenAI or Anthropic have it; what else is in it is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    role: str = ""
    content: Blocks = None


class RetrieveRequest(Body):
    """The body of `POST /retrieve`: a `query`, several `queries` answered alike, or a conversation's `messages`."""

    query: QueryText | None = None
    queries: Annotated[list[QueryText], Field(min_length=1, max_length=MAX_QUERIES)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    k: Size = 5
    rewrite: Literal["auto", "off", "always"] = "auto"
    format: OutputFormat = "native"
    detail: Detail = "full"
    call_id: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    filter: Wanted = Wanted()
    always: Annotated[list[Name], Field(max_length=100)] = []
    token_budget: Annotated[int, Field(ge=1, le=MAX_BUDGET)] | None = None
    explain: bool = False

    @property
    def size(self) -> int | Literal["auto"] | None:
        """Return how many tools are wanted; None for as many as fit the budget."""
        return self.k if "k" in self.model_fields_set or self.token_budget is None else None

    @field_validator("queries")
    @classmethod
    def _bounded(cls, queries: list[str] | None) -> list[str] | None:
        characters = sum(map(len, queries or ()))
        if characters > MAX_BATCH_CHARACTERS:
            raise ValueError(f"{characters:,} characters in all; at most {MAX_BATCH_CHARACTERS:,} are answered at once")
        return queries

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
    used: Annotated[list[Name], Field(max_length=100)]


def _wrong(field: str, message: str) -> UnprocessableRequest:
    return UnprocessableRequest([InvalidField(field, message)])


def _field(location: Sequence[int | str], message: str) -> InvalidField:
    return InvalidField(".".join(map(str, location)) or "body", message.removeprefix("Value error, "))
