"""OpenAPI and Swagger documents: one tool an operation."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtrb.formats import read_tools


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Pet Store!", "version": "1"},
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"$ref": "#/components/parameters/PetId"}],
            "get": {
                "operationId": "showPet",
                "summary": "One pet",
                "description": "Return a pet.",
                "tags": ["pets"],
                "parameters": [{"name": "verbose", "in": "query", "schema": {"type": "boolean", "nullable": True}}],
            },
            "put": {
                "summary": "Change a pet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
    },
    "components": {
        "parameters": {"PetId": {"name": "petId", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "example": "Rex", "description": "What it answers to."},
                    "age": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                    "parent": {"$ref": "#/components/schemas/Pet"},
                },
            }
        },
    },
}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_openapi_gives_a_tool_for_each_operation(suffix: str, tmp_path: Path) -> None:
    text = json.dumps(OPENAPI) if suffix == "json" else yaml.safe_dump(OPENAPI)
    show, change = read_tools([write(tmp_path / f"api.{suffix}", text)])
    assert (show.tool_id, show.name, show.tags) == ("pet-store/showPet", "showPet", ("pets",))
    assert show.description == "One pet\nReturn a pet."
    assert show.parameters["properties"]["verbose"] == {"type": ["boolean", "null"]}
    assert show.parameters["required"] == ["petId"]
    assert change.tool_id == "pet-store/PUT%20/pets/%7BpetId%7D"
    assert change.parameters["required"] == ["petId", "name"]
    assert change.parameters["properties"]["name"] == {"type": "string", "description": "What it answers to."}
    assert change.parameters["properties"]["age"] == {"type": "integer", "exclusiveMinimum": 0}
    # a recursive schema is cut, not followed for ever
    assert json.dumps(change.parameters).count('"parent"') < 6


def test_swagger_2_with_body_and_form(tmp_path: Path) -> None:
    document = {
        "swagger": "2.0",
        "info": {"title": "Old", "version": "1"},
        "paths": {
            "/users": {
                "post": {
                    "operationId": "addUser",
                    "description": "Add.",
                    "parameters": [
                        {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/User"}},
                        {"name": "X-Trace", "in": "header", "type": "string", "description": "For support."},
                    ],
                }
            },
            "/photo": {"post": {"parameters": [{"name": "photo", "in": "formData", "type": "file", "required": True}]}},
            "/batch": {
                "post": {
                    "parameters": [
                        {"name": "b", "in": "body", "schema": {"type": "array", "items": {"type": "string"}}}
                    ]
                }
            },
        },
        "definitions": {"User": {"properties": {"mail": {"type": "string"}}, "required": ["mail"]}},
    }
    add, photo, batch = read_tools([write(tmp_path / "old.yml", yaml.safe_dump(document, sort_keys=False))])
    assert add.parameters["properties"]["mail"] == {"type": "string"}
    assert add.parameters["properties"]["X-Trace"] == {"type": "string", "description": "For support."}
    assert add.parameters["required"] == ["mail"]
    assert photo.parameters["properties"]["photo"] == {"type": "string", "format": "binary"}
    assert batch.parameters["properties"]["body"] == {"type": "array", "items": {"type": "string"}}


def test_yaml_dates_stay_text(tmp_path: Path) -> None:
    text = yaml.safe_dump(OPENAPI).replace("Return a pet.", "2024-01-01")
    assert "2024-01-01" in next(iter(read_tools([write(tmp_path / "api.yaml", text)]))).description


def test_large_schemas_are_cut_to_fit(tmp_path: Path) -> None:
    wide = {
        f"p{i}": {"type": "object", "properties": {f"q{j}": {"type": "string", "description": "d"} for j in range(40)}}
        for i in range(40)
    }
    document = {
        **OPENAPI,
        "paths": {
            "/x": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": wide}}}}
                }
            }
        },
    }
    (tool,) = read_tools([write(tmp_path / "api.json", document)])
    assert len(tool.parameters["properties"]) == 40
    assert "q1" not in tool.parameters["properties"]["p1"].get("properties", {})


def test_a_parameter_in_two_places_is_two(tmp_path: Path) -> None:
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
        {"name": "id", "in": "query", "schema": {"type": "string"}},
    ]
    api = {"openapi": "3.0.0", "paths": {"/x/{id}": {"get": {"parameters": parameters}}}}
    [tool] = read_tools([write(tmp_path / "t.json", api)])
    assert {name: child["type"] for name, child in tool.parameters["properties"].items()} == {
        "id": "integer",
        "query_id": "string",
    }


def test_that_nothing_is_required_is_said(tmp_path: Path) -> None:
    filters = [{"name": "order_id", "in": "query", "schema": {"type": "string"}}]
    api = {"openapi": "3.0.0", "paths": {"/x": {"get": {"parameters": filters}, "post": {}}}}
    assert [tool.parameters["required"] for tool in read_tools([write(tmp_path / "t.json", api)])] == [[], []]


def test_methods_in_any_case_and_of_any_kind_are_tools(tmp_path: Path) -> None:
    item = {"POST": {"operationId": "add"}, "get": {"operationId": "look"}, "additionalOperations": {"COPY": {}}}
    api = {"openapi": "3.2.0", "paths": {"/x": {**item, "summary": "s", "x-internal": {}}}}
    assert [tool.name for tool in read_tools([write(tmp_path / "t.json", api)])] == ["look", "add", "COPY /x"]


def test_what_stands_beside_a_reference_counts(tmp_path: Path) -> None:
    address = {"type": "object", "description": "An address.", "properties": {"street": {"type": "string"}}}
    body = {"type": "object", "properties": {"ship": {"$ref": "#/components/schemas/A", "description": "Where to."}}}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    api = {"openapi": "3.1.0", "paths": {"/x": {"put": operation}}, "components": {"schemas": {"A": address}}}
    [tool] = read_tools([write(tmp_path / "t.json", api)])
    ship = tool.parameters["properties"]["ship"]
    assert (ship["description"], list(ship["properties"])) == ("Where to.", ["street"])
