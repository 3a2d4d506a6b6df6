"""Catalogues inside installed packages: every AWS operation and every Google API method, streamed."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module, resources
from types import ModuleType
from typing import Any

from mtrb.errors import MissingDependencyError
from mtrb.formats.schema import prune
from mtrb.identifiers import make_tool_id
from mtrb.types import Tool

# The tags that occur; anything else in angle brackets is a placeholder, such as <account-id>.
_TAG = re.compile(
    r"</?(?:p|code|a|li|i|b|ul|note|important|dd|dt|dl|ol|zonbook|xhtml|u|pre|em|link|accessibility|strong|br|iframe"
    r"|replaceable|fullname|h[1-6]|table|tr|td|th|div|span)(?: [^<>]*)?/?>",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<(?:/p|/li|br ?/?|/note|/important)>", re.IGNORECASE)
_MARKDOWN_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_MARKDOWN_BOLD = re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*")
_AWS_TYPES = {
    "structure": "object", "map": "object", "list": "array", "string": "string", "character": "string",
    "blob": "string", "timestamp": "string", "boolean": "boolean", "integer": "integer", "long": "integer",
    "float": "number", "double": "number", "bigdecimal": "number", "biginteger": "integer",
}  # fmt: skip
PINNED = {"botocore": "1.43.11", "google-api-python-client": "2.202.0"}
"""The versions whose catalogues the figures are about; a test holds them to pyproject.toml."""

_GOOGLE_KEYS = {"type", "description", "enum", "format", "pattern", "properties", "items", "additionalProperties"}


def strip_markup(text: str) -> str:
    """Return documentation as plain text: tags and link targets out, entities decoded, blanks folded."""
    text = _TAG.sub(" ", html.unescape(html.unescape(_TAG.sub(" ", _BREAK.sub("\n", text)))))  # some are escaped twice
    text = _MARKDOWN_BOLD.sub(r"\1", _MARKDOWN_LINK.sub(r"\1", text))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r" ([.,;:)])", r"\1", "\n".join(line for line in lines if line))


def _described(title: str, documentation: str) -> str:
    return ": ".join(part for part in (title, strip_markup(documentation)) if part)


def aws_tools() -> Iterator[Tool]:
    """Yield all operations of the installed botocore, service by service.

    Raises:
        MissingDependencyError: botocore is not installed.
    """
    loader = _require("botocore.loaders", "botocore").Loader()
    for service in loader.list_available_services("service-2"):
        model = loader.load_service_model(service, "service-2")
        title = model["metadata"].get("serviceAbbreviation") or model["metadata"]["serviceFullName"]
        for name, operation in model["operations"].items():
            yield Tool(
                tool_id=make_tool_id(f"aws.{service}", name),
                name=name,
                description=_described(title, operation.get("documentation", "")),
                parameters=_aws_parameters(operation, model["shapes"]),
                tags=("aws", service),
                source=f"aws.{service}",
            )


def _aws_parameters(operation: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    def resolve(node: Any) -> object:
        if not isinstance(node, Mapping) or not isinstance(node.get("shape"), str):
            return node
        shape = shapes[node["shape"]]
        kind = _AWS_TYPES.get(shape["type"], "string")
        schema: dict[str, Any] = {"type": kind}
        if documentation := node.get("documentation") or shape.get("documentation"):
            schema["description"] = strip_markup(documentation)
        if "members" in shape:
            schema["properties"] = shape["members"]
            schema |= {"required": shape["required"]} if shape.get("required") else {}
        if shape["type"] == "list":
            schema["items"] = shape["member"]
        if shape["type"] == "map":
            schema["additionalProperties"] = shape["value"]
        if "enum" in shape:
            schema["enum"] = shape["enum"]
        return schema

    parameters = prune(operation.get("input", {}), resolve)
    parameters.pop("description", None)
    return {"type": "object", "properties": {}, "required": [], **parameters}


def google_tools() -> Iterator[Tool]:
    """Yield all methods of the discovery documents inside the installed google-api-python-client.

    Raises:
        MissingDependencyError: google-api-python-client is not installed.
    """
    package = _require("googleapiclient.discovery_cache", "google-api-python-client")
    folder = resources.files(package) / "documents"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json") and file.name != "index.json":
            document = json.loads(file.read_text("utf-8"))
            source = f"google.{file.name.removesuffix('.json')}"
            title = document.get("title", document["name"])
            for method in _google_methods(document):
                yield Tool(
                    tool_id=make_tool_id(source, method["id"]),
                    name=method["id"],
                    description=_described(title, method.get("description", "")),
                    parameters=_google_parameters(method, document.get("schemas", {})),
                    tags=("google", document["name"]),
                    source=source,
                )


def _google_methods(resource: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from resource.get("methods", {}).values()
    for child in resource.get("resources", {}).values():
        yield from _google_methods(child)


def _google_parameters(method: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    def resolve(node: object) -> object:
        if not isinstance(node, Mapping):
            return node
        target = schemas.get(node.get("$ref", ""), {})
        schema = {key: value for key, value in {**target, **node}.items() if key in _GOOGLE_KEYS}
        schema["description"] = strip_markup(schema.get("description", ""))
        if schema.get("type") == "any":
            del schema["type"]
        if node.get("repeated"):
            description = schema.pop("description")
            schema = {"type": "array", "items": schema, "description": description}
        return schema

    own = method.get("parameters", {})
    body = schemas.get(method.get("request", {}).get("$ref", ""), {}).get("properties", {})
    pruned = prune({"type": "object", "properties": {**body, **own}}, resolve)
    pruned.pop("description", None)
    required = [name for name, parameter in own.items() if parameter.get("required")]
    return {**pruned, "required": required}


def _require(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError:
        raise MissingDependencyError(
            f"this catalogue is read from the package {package}, which is not installed; "
            f"`make install`, or pip install {package}=={PINNED[package]}"
        ) from None
