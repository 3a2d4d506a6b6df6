"""Requests as the service accepts them; everything else is refused with the field's name."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from werkzeug.exceptions import BadRequest

from service.problems import InvalidField, UnprocessableRequest

MAX_QUERY_CHARACTERS = 10_000
MAX_QUERIES = 100
MAX_BATCH_CHARACTERS = 100_000
MAX_BATCH_TOOLS = 2_000


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Put behind the limits of a whole number: to JSON, 5.0 is one, and the same as 5."""

QueryText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARACTERS),
    Field(json_schema_extra={"pattern": r"[^\s\u0085]"}),  # what stripping and a length of one come to
]


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
            if found[0]["type"] == "model_type":
                fields = ", ".join(f"'{name}'" for name in cls.model_fields)
                raise UnprocessableRequest([InvalidField("body", f"must be an object with {fields}")]) from None
            raise UnprocessableRequest([_field(entry["loc"], entry["msg"]) for entry in found]) from None


class RetrieveRequest(Body):
    """The body of `POST /retrieve`: one `query`, or several `queries` answered alike."""

    model_config = ConfigDict(json_schema_extra=exactly_one_of("query", "queries"))

    query: QueryText | None = None
    """What is to be done, as the user says it."""
    queries: Annotated[list[QueryText], Field(min_length=1, max_length=MAX_QUERIES)] | None = None
    """Several requests; they may ask for 2,000 tools (queries x k) and hold 100,000 characters in all."""
    k: Annotated[int, Field(ge=1, le=100), WHOLE] = 5
    """How many tools."""
    rewrite: Literal["auto", "off", "always"] = "auto"
    """Whether a rewriter, where one is installed, puts the request into the catalogue's words; `auto` leaves alone
    what names its tool."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError("give either 'query' (a text) or 'queries' (a list of texts)")
        return self

    @field_validator("queries")
    @classmethod
    def _bounded(cls, queries: list[str] | None) -> list[str] | None:
        characters = sum(map(len, queries or ()))
        if characters > MAX_BATCH_CHARACTERS:
            raise ValueError(f"{characters:,} characters in all; at most {MAX_BATCH_CHARACTERS:,} are answered at once")
        return queries

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        asked = len(self.queries or ()) * self.k
        if asked > MAX_BATCH_TOOLS:
            raise ValueError(f"queries x k asks for {asked:,} tools; at most {MAX_BATCH_TOOLS:,} are returned at once")
        return self


def _field(location: tuple[int | str, ...], message: str) -> InvalidField:
    name = ".".join(map(str, location)) or ("queries" if message.endswith("at once") else "query")
    return InvalidField(name, message.removeprefix("Value error, "))
