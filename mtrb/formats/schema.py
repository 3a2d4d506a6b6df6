"""JSON Schemas of parameters: accept the ways people write them, return one valid form."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema_rs

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}

# Type names of programming languages, as hand-written catalogues use them: "List[str]", "Date (yyyy-mm-dd)", "Enum".
_ALIASES = {
    "str": "string", "char": "string", "text": "string", "date": "string", "datetime": "string", "enum": "string",
    "int": "integer", "long": "integer", "short": "integer",
    "float": "number", "double": "number", "decimal": "number",
    "bool": "boolean",
    "list": "array", "arraylist": "array", "tuple": "array", "set": "array",
    "dict": "object", "hashmap": "object", "map": "object",
}  # fmt: skip
_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_MAX_DEPTH = 100
_ANY = ("", "any")
# The dialects that come with the validator; it would fetch any other, from the network or the disk.
_DIALECT = re.compile(r"https?://json-schema\.org/(draft-0[467]|draft/(2019-09|2020-12))/schema#?")
_COMBINED = ("$ref", "anyOf", "oneOf", "allOf")


def check_schema(parameters: object) -> dict[str, Any]:
    """Return a parameter schema unchanged if it is a valid JSON Schema object; nothing means no parameters.

    Raises:
        ValueError: it is no object, or no valid JSON Schema.
    """
    if parameters is None or parameters == {}:
        return EMPTY
    if not isinstance(parameters, dict):
        raise ValueError(f"parameters must be a JSON Schema object, not {type(parameters).__name__}")
    kinds = parameters.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        raise ValueError(f"parameters must describe an object, one property a parameter, not type {kinds!r}")
    _check_depth(parameters, _MAX_DEPTH)
    dialect = parameters.get("$schema")
    if isinstance(dialect, str) and not _DIALECT.fullmatch(dialect):
        raise ValueError(
            f"parameters are in {dialect!r}, which is not known; expected e.g. "
            "https://json-schema.org/draft/2020-12/schema as '$schema', or none"
        )
    try:
        jsonschema_rs.meta.validate(parameters)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        raise ValueError(f"parameters are no valid JSON Schema at {where or 'the top'}: {error.message}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise ValueError(f"parameters are no valid JSON Schema: {error}") from None
    return parameters


def _check_depth(node: object, left: int) -> None:
    if left == 0:
        raise ValueError(f"parameters are nested more than {_MAX_DEPTH} deep")
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        if isinstance(child, dict | list):
            _check_depth(child, left - 1)


def normalise_parameters(parameters: object) -> dict[str, Any]:
    """Return a valid JSON Schema for hand-written parameters.

    Takes a schema, a schema as JSON text, a map of name to schema (or to a description), a list of
    objects with a name, and type names of programming languages ("str", "dict", ...).

    Raises:
        ValueError: none of these.
    """
    if isinstance(parameters, str):
        try:
            parameters = json.loads(parameters or "{}")
        except ValueError:
            raise ValueError("parameters are a text that is not JSON") from None
    if isinstance(parameters, list):
        parameters = _from_list(parameters)
    elif isinstance(parameters, dict) and not _is_schema(parameters):
        parameters = _from_map(parameters)
    return check_schema(_with_json_types(parameters) if isinstance(parameters, dict) else parameters)


def _is_schema(parameters: dict[str, Any]) -> bool:
    kind = parameters.get("type")
    if kind in ("object", "dict") or (isinstance(kind, list) and "object" in kind):
        return True
    if any(key in parameters for key in _COMBINED):
        return True
    properties = parameters.get("properties")  # which may also be the name of a parameter
    return isinstance(properties, dict) and all(isinstance(child, dict) for child in properties.values())


def _from_list(parameters: list[Any]) -> dict[str, Any]:
    named = {}
    for entry in parameters:
        if entry is None:
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError("parameters are a list whose entries are not all objects with a name")
        named[entry["name"]] = {key: value for key, value in entry.items() if key != "name"}
    return _from_map(named)


def _from_map(parameters: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for name, entry in parameters.items():
        if not isinstance(entry, dict | str):
            raise ValueError(f"parameter {name!r} must be an object or a text, not {type(entry).__name__}")
        properties[name] = {"description": entry} if isinstance(entry, str) else dict(entry)
        # In a map, "required" is a flag of each parameter; in a JSON Schema it is a list on the outside.
        if isinstance(properties[name].get("required"), bool) and properties[name].pop("required"):
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    said = any(isinstance(entry, dict) and isinstance(entry.get("required"), bool) for entry in parameters.values())
    return {**schema, "required": required} if said else schema


def _with_json_types(schema: dict[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in _JSON_TYPES:
        word = (re.match(r"\w*", kind) or [""])[0].lower()
        result["type"] = _ALIASES.get(word, word if word in _JSON_TYPES else kind)
        if word in _ANY:
            del result["type"]
    if isinstance(schema.get("examples"), str):
        result["examples"] = [schema["examples"]]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        result["properties"] = {
            name: _with_json_types(child) if isinstance(child, dict) else child for name, child in properties.items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = _with_json_types(schema[key])
    return result


# Keys whose values are schemas, or maps or lists of schemas: one level of nesting each.
_NESTING = {"properties", "items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems", "not"}

# Longer lists of values (every EC2 instance type) would crowd out the rest; without them a schema allows more.
_MAX_ENUM = 100


def prune(schema: object, resolve: Callable[[object], object], depth: int = 4, budget: int = 1000) -> dict[str, Any]:
    """Return a self-contained copy of a schema: references inlined, cut where it grows too deep or large.

    Args:
        schema: a schema, possibly recursive through references.
        resolve: returns what a node stands for (itself, or the target of its reference).
        depth: levels of nested schemas that are kept; below, type and description remain.
        budget: nodes that are kept; a larger schema is cut one level earlier, until it fits.
    """
    for levels in range(depth, -1, -1):
        left = [budget]
        copy = _copy(schema, resolve, levels, left)
        if left[0] >= 0:
            break
    return copy if isinstance(copy, dict) else EMPTY


def _copy(node: object, resolve: Callable[[object], object], levels: int, left: list[int]) -> Any:
    node = resolve(node)
    left[0] -= 1
    if left[0] < 0:
        return None
    if isinstance(node, Mapping):
        kept = {}
        for key, value in node.items():
            if key == "enum" and isinstance(value, list) and len(value) > _MAX_ENUM:
                continue
            if key not in _NESTING:
                kept[str(key)] = _copy(value, resolve, levels, left)
            elif levels == 0:
                continue
            elif key == "properties" and isinstance(value, Mapping):
                kept[key] = {str(name): _copy(child, resolve, levels - 1, left) for name, child in value.items()}
            elif isinstance(value, list):
                kept[str(key)] = [_copy(child, resolve, levels - 1, left) for child in value]
            else:
                kept[str(key)] = _copy(value, resolve, levels - 1, left)
        return kept
    if isinstance(node, list | tuple):
        return [_copy(value, resolve, levels, left) for value in node]
    return node


_ALTERNATIVES = ("allOf", "anyOf", "oneOf")
_NOT_AT_TOP = (*_ALTERNATIVES, "enum", "not")


def without_alternatives(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object's schema without alternatives at its top: their properties become its own.

    A property that alternatives describe differently may be as any of them says, and what only some of them require is
    not required.
    """
    if not any(key in schema for key in _NOT_AT_TOP):
        return schema
    own, required = schema.get("properties", {}), list(schema.get("required", ()))
    found: dict[str, list[Any]] = {}
    for part, holds in _parts(schema):
        properties, needed = part.get("properties"), part.get("required")
        for name, child in properties.items() if isinstance(properties, Mapping) else ():
            described = found.setdefault(name, [])
            if len(described) <= _MAX_ENUM and child not in described:
                described.append(child)
        required += needed if holds and isinstance(needed, list) else ()
    kept = {key: value for key, value in schema.items() if key not in _NOT_AT_TOP}
    kept["properties"] = {**own, **{name: _any_of(described) for name, described in found.items() if name not in own}}
    return kept | ({"required": list(dict.fromkeys(required))} if required else {})


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield the schemas that one is combined of, each once, and whether each holds in any case."""
    seen, waiting = {id(schema)}, [(schema, True)]
    for node, holds in waiting:  # which grows meanwhile
        for kind in _ALTERNATIVES:
            entries = node.get(kind)
            for entry in entries if isinstance(entries, list) else ():
                part = _target(entry, schema)
                if isinstance(part, Mapping) and id(part) not in seen:
                    seen.add(id(part))
                    waiting.append((part, holds and kind == "allOf"))
                    yield waiting[-1]


def _target(node: Any, schema: Any) -> Any:
    """Return what a reference within a schema stands for; anything else as it is."""
    reference = node.get("$ref") if isinstance(node, Mapping) else None
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return node
    for step in reference[2:].split("/"):
        schema = schema.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return schema


def _any_of(described: list[Any]) -> Any:
    if len(described) == 1:
        return described[0]
    return {"anyOf": described} if len(described) <= _MAX_ENUM else {}
