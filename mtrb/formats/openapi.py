"""OpenAPI 3.x and Swagger 2 documents: one tool per operation."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonref

from mtrb.formats.functions import Record, tool_from
from mtrb.formats.schema import check_schema, prune
from mtrb.identifiers import slug
from mtrb.types import Tool

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_MORE = "additionalOperations"  # since OpenAPI 3.2
_SHARED = ("summary", "description", "servers", "parameters")  # what a path says beside its methods

# What a model needs to fill a parameter; examples, XML hints and vendor extensions are left out.
_KEPT = {
    "type", "description", "enum", "const", "format", "default", "pattern", "required", "title",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "multipleOf",
    "properties", "items", "additionalProperties", "anyOf", "oneOf", "allOf", "not", "prefixItems",
}  # fmt: skip


def is_openapi(document: object) -> bool:
    """Recognise an OpenAPI or Swagger document by its version field."""
    return isinstance(document, Mapping) and ("openapi" in document or "swagger" in document)


def api_title(document: Mapping[str, Any]) -> str:
    """Return a document's title as a slug, so that ids stay the same when a file is renamed; "" without one."""
    info = document.get("info")
    title = info.get("title") if isinstance(info, Mapping) else None
    return slug(str(title or ""))


def operations(document: Any, where: str, source: str) -> Iterator[Record]:
    """Yield each operation under `paths` with its path's shared parameters, references resolved lazily.

    Webhooks are calls that the service makes, not tools, and are left alone.

    Raises:
        ValueError: the document is no supported OpenAPI, or has no paths.
    """
    version = str(document.get("openapi") or document.get("swagger"))
    if not re.match(r"(2|3)\.", version + "."):
        raise ValueError(f"OpenAPI version {version!r} is not supported; expected 2.x or 3.x")
    paths = _resolved(jsonref.replace_refs(document, loader=_refuse_remote, merge_props=True).get("paths"))
    if not isinstance(paths, Mapping):
        raise ValueError("an OpenAPI document needs an object 'paths'")
    for path in paths:
        if str(path).startswith("x-"):
            continue
        try:
            item = _resolved(paths[path])
        except ValueError as error:
            item = error
        if not isinstance(item, Mapping):
            yield f"{where}, path {path}", item, source
            continue
        for method, operation in _by_method(item):
            name = f"{method.upper()} {path}"
            record = {"name": name, "shared": item.get("parameters", []), "operation": operation}
            yield f"{where}, operation {name}", record, source
        for field in sorted(_unknown(item)):
            reason = f"{field!r} is no HTTP method that OpenAPI knows; others go under 'additionalOperations'"
            yield f"{where}, path {path}", ValueError(reason), source


def _by_method(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield a path's operations by method, in the order of the list above."""
    by_name = {str(key).lower(): value for key, value in item.items()}
    yield from ((method, by_name[method]) for method in _METHODS if method in by_name)
    more = item.get(_MORE, {})
    yield from more.items() if isinstance(more, Mapping) else [(_MORE, more)]


def _unknown(item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of a path that would be left out without a word."""
    for field in map(str, item):
        if field.lower() not in _METHODS and field not in (*_SHARED, _MORE) and not field.startswith(("x-", "$")):
            yield field


def parse_operation(record: Mapping[str, Any], source: str) -> Tool:
    """Read one operation: operationId or `METHOD /path`, its texts, parameters, body schema and tags.

    Raises:
        ValueError: the operation is malformed, or refers to something that is not in the document.
    """
    try:
        return _operation_tool(_resolved(record["operation"]), record, source)
    except jsonref.JsonRefError as error:
        raise _unresolved(error) from None


def _operation_tool(operation: Any, record: Mapping[str, Any], source: str) -> Tool:
    if not isinstance(operation, Mapping):
        raise ValueError("an operation must be an object")
    texts = [operation.get("summary"), operation.get("description")]
    said = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    operation_id = operation.get("operationId")
    if operation_id is not None and not isinstance(operation_id, str):
        raise ValueError("operationId must be a text")
    name = (operation_id or "").strip() or record["name"]
    named = {"name": name, "description": "\n".join(dict.fromkeys(said))}
    return tool_from(
        named, source, check_schema(_parameters(operation, record["shared"])), tags=operation.get("tags") or ()
    )


def _resolved(node: Any) -> Any:
    """Return what a reference stands for; anything else as it is.

    Raises:
        ValueError: it stands for nothing that is in the document.
    """
    try:
        return node.__subject__ if isinstance(node, jsonref.JsonRef) else node
    except jsonref.JsonRefError as error:
        raise _unresolved(error) from None


def _unresolved(error: jsonref.JsonRefError) -> ValueError:
    return ValueError(f"cannot resolve the reference {error.uri!r}: {error.cause or error.message}")


def _parameters(operation: Mapping[str, Any], shared: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    places: dict[str, str] = {}
    # An operation's own parameter replaces the path's of the same name.
    for parameter in [*_objects(shared, "parameters"), *_objects(operation.get("parameters"), "parameters")]:
        name = parameter.get("name")
        if not isinstance(name, str):
            raise ValueError("a parameter has no name")
        schema = parameter.get("schema") or _first_media_schema(parameter) or parameter
        if parameter.get("in") == "body":
            _add_body(schema, bool(parameter.get("required")), properties, required)
            continue
        place = str(parameter.get("in"))
        if places.setdefault(name, place) != place:
            name = f"{place}_{name}"  # e.g. an id in the path and another in the query
        properties[name] = _clean(schema, parameter.get("description"))
        if parameter.get("required") is True and name not in required:
            required.append(name)
    body = operation.get("requestBody")
    if body is not None:
        if not isinstance(body, Mapping):
            raise ValueError(f"requestBody must be an object, not {type(body).__name__}")
        _add_body(_first_media_schema(body), body.get("required") is True, properties, required)
    return {"type": "object", "properties": properties, "required": required}


def _objects(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ValueError(f"{what} must be a list of objects")
    return list(value)


def _first_media_schema(holder: Mapping[str, Any]) -> Any:
    content = holder.get("content")
    if not content:
        return None
    if not isinstance(content, Mapping):
        raise ValueError(f"content must be an object, not {type(content).__name__}")
    media = content.get("application/json") or next(iter(content.values()))
    if media is not None and not isinstance(media, Mapping):
        raise ValueError(f"a media type of content must be an object, not {type(media).__name__}")
    return media.get("schema") if media else None


def _add_body(schema: Any, needed: bool, properties: dict[str, Any], required: list[str]) -> None:
    """Put the body's fields beside the other parameters; one that is no plain object becomes `body`."""
    if schema is None:
        return
    cleaned = _clean(schema)
    fields = cleaned.get("properties")
    if cleaned.get("type", "object") == "object" and isinstance(fields, dict) and not fields.keys() & properties.keys():
        properties.update(fields)
        required.extend(name for name in cleaned.get("required", ()) if needed and str(name) in fields)
    else:
        properties["body"] = cleaned
        required.extend(["body"] * needed)


def _clean(schema: Any, description: Any = None) -> dict[str, Any]:
    cleaned: dict[str, Any] = _to_json_schema(prune(schema, _resolved))
    if isinstance(description, str) and description.strip():
        cleaned["description"] = description.strip()
    return cleaned


def _to_json_schema(schema: Any) -> Any:
    """Turn OpenAPI's dialect into JSON Schema: `nullable`, boolean bounds, `file`, a parameter's own keys."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if not isinstance(kept.get("required", []), list):
        del kept["required"]
    if kept.get("type") == "file":
        kept.update(type="string", format="binary")
    if schema.get("nullable") is True and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    for bound in ("Minimum", "Maximum"):
        _convert_bound(schema.get(f"exclusive{bound}"), bound, kept)
    _convert_children(kept)
    return kept


def _convert_bound(limit: Any, bound: str, kept: dict[str, Any]) -> None:
    """Turn `exclusiveMinimum: true` beside `minimum` (OpenAPI 3.0) into a number (JSON Schema)."""
    if limit is True and bound.lower() in kept:
        kept[f"exclusive{bound}"] = kept.pop(bound.lower())
    elif isinstance(limit, int | float) and not isinstance(limit, bool):
        kept[f"exclusive{bound}"] = limit


def _convert_children(kept: dict[str, Any]) -> None:
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: _to_json_schema(child) for name, child in kept["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if key in kept:
            kept[key] = _to_json_schema(kept[key])
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(kept.get(key), list):
            kept[key] = [_to_json_schema(child) for child in kept[key]]


def _refuse_remote(_uri: str, **_: Any) -> Any:
    raise ValueError("only references within the document are followed; bundle the files into one first")
