"""The OpenAPI 3.1 document, made of what the routes say of themselves: address, docstring, models.

A route's docstring gives the summary (first line), the description and, in lines `:raise CODE: when`, its errors.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask
from pydantic import BaseModel, TypeAdapter
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.routing import IntegerConverter, Rule

from qta import __version__
from service.answers import Problem
from service.auth import Needed, scope_of

View = TypeVar("View", bound=Callable[..., Any])
Schema = dict[str, Any]

_RAISE = re.compile(r"^:raise (\d{3}): (.+?)(?=^:raise|\Z)", re.MULTILINE | re.DOTALL)
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "What `qta keys create` prints; each scope includes those before it: retrieve, write, admin. "
    "While the index has no key, whoever asks from the same machine may do everything.",
}
_OPEN = {
    "400": "X-Request-Timeout is no number of seconds.",
    "401": "what is given as a key is none, or unknown, or revoked.",
    "429": "more requests come than can be answered.",
    "503": "the request waited too long.",
}
"""Errors of every route that needs no key."""
_LET_IN = {
    "400": _OPEN["400"],
    "401": "there is no key, or it is unknown or revoked.",
    "403": "the key has another scope.",
    "429": _OPEN["429"],
    "503": "the request waited too long, or no index is loaded.",
}
"""Errors of every other route."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Operation:
    """Say what a route takes and gives.

    Attributes:
        answers: what it gives by status: a type that pydantic knows, or None where there is no body.
        body: the JSON body that it takes.
        query: the parameters that it takes behind `?`.
        media_type: of answers; errors are problem details everywhere.
    """

    answers: dict[int, Any]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    media_type: str = "application/json"

    def types(self) -> Iterable[tuple[Literal["validation", "serialization"], Any]]:
        """Yield every type with the side from which it is described: as it is read, or as it is written."""
        yield from (("validation", model) for model in (self.body, self.query) if model is not None)
        yield from (("serialization", answer) for answer in self.answers.values() if answer is not None)


def operation(
    answer: Any,
    *,
    status: int = 200,
    others: dict[int, Any] | None = None,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    media_type: str = "application/json",
) -> Callable[[View], View]:
    """Describe a route, below its `@blueprint.get` or alike.

    Args:
        answer: what it gives when all is well, None for no body.
        status: the status of that answer.
        others: further answers by status, other than problem details.
        body: the JSON body that it takes.
        query: the parameters that it takes behind `?`.
        media_type: of the answers.
    """

    def describe(view: View) -> View:
        answers = {status: answer, **(others or {})}
        view.operation = Operation(answers, body, query, media_type)  # type: ignore[attr-defined]
        return view

    return describe


def openapi(app: Flask) -> Schema:
    """Return the document of an application.

    Raises:
        LookupError: a route does not describe itself.
    """
    described: list[tuple[Rule, Any]] = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    silent = [rule.rule for rule, view in described if not hasattr(view, "operation")]
    if silent:
        raise LookupError(f"{', '.join(silent)}: put @operation(...) of service.openapi on the view")
    schemas = _Schemas([view.operation for _, view in described])
    paths: dict[str, dict[str, Schema]] = {}
    for rule, view in sorted(described, key=lambda pair: pair[0].rule):
        methods = [method for method in _METHODS if method in (rule.methods or ())]
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in methods:
            paths.setdefault(path, {})[method.lower()] = _operation(rule, view, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "qta",
            "summary": "Tool retrieval: the few tools that are enough for a request.",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas.definitions, "securitySchemes": {"key": _KEY}},
    }


class _Schemas:
    """The JSON Schemas of all types that operations name; shared ones stand in `components` once."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types = {side_and_type: None for found in operations for side_and_type in found.types()}
        types["serialization", Problem] = None
        self._by_type, definitions = TypeAdapter.json_schemas(
            [(kind, side, TypeAdapter(kind)) for side, kind in types],
            ref_template="#/components/schemas/{model}",
        )
        self.definitions: dict[str, Schema] = definitions.get("$defs", {})

    def read(self, kind: Any) -> Schema:
        """Return the schema of a type that the service reads."""
        return self._by_type[kind, "validation"]

    def written(self, kind: Any) -> Schema:
        """Return the schema of a type that the service writes."""
        return self._by_type[kind, "serialization"]

    def resolved(self, kind: Any) -> Schema:
        """Return the schema of a type that the service reads, itself rather than a reference to it."""
        schema = self.read(kind)
        return self.definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _operation(rule: Rule, view: Any, schemas: _Schemas) -> Schema:
    described: Operation = view.operation
    text = inspect.getdoc(view) or ""
    summary, _, rest = _RAISE.sub("", text).partition("\n")
    group, _, name = rule.endpoint.rpartition(".")
    found: Schema = {
        "operationId": name,
        "summary": summary.strip().rstrip("."),
        "tags": [group or name],
        "parameters": [*_path_parameters(rule), *_query_parameters(described, schemas)],
        "responses": _responses(described, text, schemas, scope_of(view)),
    }
    needed = scope_of(view)
    found["security"] = [] if needed == "open" else [{"key": [needed]}]
    if rest.strip():
        found["description"] = " ".join(rest.split())
    if described.body is not None:
        content = {"application/json": {"schema": schemas.read(described.body)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _responses(described: Operation, text: str, schemas: _Schemas, needed: Needed) -> Schema:
    responses: Schema = {}
    for status, answer in described.answers.items():
        responses[str(status)] = {"description": HTTP_STATUS_CODES[status]}
        if answer is not None:
            responses[str(status)]["content"] = {described.media_type: {"schema": schemas.written(answer)}}
    errors = {code: " ".join(when.split()) for code, when in _RAISE.findall(text)}
    if described.body is not None:
        errors.setdefault("413", "the body is larger than the service is set to take.")
    for code, when in (_OPEN if needed == "open" else _LET_IN).items():
        errors[code] = f"{errors[code]} Or: {when}" if code in errors and errors[code] != when else when
    problem = {"application/problem+json": {"schema": schemas.written(Problem)}}
    for code, when in sorted(errors.items()):
        description = f"{HTTP_STATUS_CODES[int(code)]}: {when}"
        there = responses.setdefault(code, {"description": description})
        there["content"] = {**there.get("content", {}), **problem}
    return responses


def _path_parameters(rule: Rule) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer"}
            if isinstance(converter, IntegerConverter)
            else {"type": "string", "minLength": 1},
        }
        for name, converter in rule._converters.items()
    ]


def _query_parameters(described: Operation, schemas: _Schemas) -> list[Schema]:
    if described.query is None:
        return []
    schema = schemas.resolved(described.query)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]
