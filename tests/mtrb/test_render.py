"""Tools as callers want them, checked against the vendors' own types."""

import string
from typing import Any

import pytest
from anthropic.types import ToolParam, ToolReferenceBlockParam, ToolResultBlockParam
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import Tool as MCPTool
from openai.types.chat import ChatCompletionFunctionToolParam
from openai.types.responses import FunctionToolParam, ResponseToolSearchOutputItemParamParam
from pydantic import TypeAdapter

from mtrb.formats import read_tools
from mtrb.formats.render import renamed_parameters, render, search_output, vendor_name
from mtrb.types import Tool

SHAPES: dict[Any, Any] = {
    "openai": ChatCompletionFunctionToolParam,
    "openai_responses": FunctionToolParam,
    "anthropic": ToolParam,
    "tool_reference": ToolReferenceBlockParam,
    "mcp": MCPTool,
}
CATALOGUE = [
    *list(read_tools(["sample:"]))[:40],
    Tool("api/GET%20/movie/%7Bid%7D", "GET /movie/{id}", "Details of a film."),
    Tool("x/long", "a" * 200, ""),
    Tool("x/空", "天気を調べる", "天気。", {"properties": {"city": {"type": "string"}}}),
    Tool("a/list_comments", "list_comments", "Comments on a file."),
    Tool("b/list_comments", "list_comments", "Comments on an issue."),
    Tool("x/dot", "maps.geocode", "Find a place.", {"type": "object", "properties": {"q": {}}, "required": ["q"]}),
]


@pytest.mark.parametrize("format", SHAPES)
def test_every_tool_has_the_vendors_shape(format: Any) -> None:
    written, names = render(CATALOGUE, format)
    shape = TypeAdapter(SHAPES[format])
    for one in written:
        shape.validate_python(one, strict=format != "mcp")
    assert len(names) == len(written) == len(CATALOGUE)
    assert list(names.values()) == [tool.tool_id for tool in CATALOGUE]


@pytest.mark.parametrize(
    "text", ["Finds it. " * 300, "finds it " * 300, "x" * 3000, "查询天气: " + "天" * 1440, "Short."]
)
def test_a_description_is_no_longer_than_the_chat_api_takes(text: str) -> None:
    tool = Tool("x/long", "long", text)
    [written] = render([tool], "openai")[0]
    said = written["function"]["description"]
    assert said == text if len(text) <= 1024 else 900 < len(said) <= 1024
    assert text.startswith(said.rstrip("…"))
    assert render([tool], "anthropic")[0][0]["description"] == text


def test_a_tool_search_is_answered_as_openai_wants_it() -> None:
    output = search_output(render(CATALOGUE, "tool_search_output")[0], "call_7")
    TypeAdapter(ResponseToolSearchOutputItemParamParam).validate_python(output)
    assert (output["type"], output["call_id"], output["execution"]) == ("tool_search_output", "call_7", "client")
    assert output["tools"][0]["type"] == "function"


def test_references_can_stand_in_a_tool_result() -> None:
    blocks, _ = render(CATALOGUE, "tool_reference")
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": blocks}
    TypeAdapter(ToolResultBlockParam).validate_python(result)


def test_names_are_kept_where_they_are_allowed() -> None:
    _, names = render(CATALOGUE, "openai")
    assert names["list_comments"] == "a/list_comments"
    assert {name for name, tool_id in names.items() if tool_id == "b/list_comments"} != {"list_comments"}
    assert render(CATALOGUE, "mcp")[1]["maps.geocode"] == "x/dot"
    assert "maps.geocode" not in names
    assert next(one for one in render(CATALOGUE, "mcp")[0] if one.get("title") == "GET /movie/{id}")["name"].startswith(
        "GET_movie_id_"
    )


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8, unique=True), st.sampled_from(list(SHAPES)))
def test_any_name_becomes_an_allowed_one_that_leads_back(texts: list[str], format: Any) -> None:
    tools = [Tool(f"s/{n}", text) for n, text in enumerate(texts)]
    _, names = render(tools, format)
    allowed = set(string.ascii_letters + string.digits + "_-" + "." * (format == "mcp"))
    assert all(set(name) <= allowed and 0 < len(name) <= (128 if format == "mcp" else 64) for name in names)
    assert sorted(names.values()) == sorted(tool.tool_id for tool in tools)
    assert [vendor_name(tool, format) for tool in tools] == [vendor_name(tool, format) for tool in tools]


def test_our_own_records_have_as_much_detail_as_is_asked_for() -> None:
    tool = CATALOGUE[0]
    assert render([tool], "native")[0] == [
        {"tool_id": tool.tool_id, "name": tool.name, "description": tool.description, "parameters": tool.parameters}
    ]
    assert list(render([tool], "native", "description")[0][0]) == ["tool_id", "name", "description"]
    assert list(render([tool], "native", "name")[0][0]) == ["tool_id", "name"]


def test_a_tool_that_is_called_as_another_is_mapped_hides_none() -> None:
    twins = [Tool("a/x", "x"), Tool("b/x", "x")]
    mapped = next(name for name, tool_id in render(twins, "openai")[1].items() if tool_id == "b/x")
    written, names = render([Tool("c/trap", mapped), *twins], "openai")
    assert list(names.values()) == ["c/trap", "a/x", "b/x"]
    assert [one["function"]["name"] for one in written] == list(names)


def schemas(parameters: Any) -> dict[str, Any]:
    """Return a tool's schema as each vendor gets it."""
    tool = Tool("s/x", "x", "", parameters)
    return {
        "openai": render([tool], "openai")[0][0]["function"]["parameters"],
        "openai_responses": render([tool], "openai_responses")[0][0]["parameters"],
        "anthropic": render([tool], "anthropic")[0][0]["input_schema"],
        "mcp": render([tool], "mcp")[0][0]["inputSchema"],
    }


def test_parameters_are_an_object_and_nothing_else() -> None:
    for schema in schemas({"type": ["object", "null"], "properties": {"q": {}}}).values():
        assert schema == {"type": "object", "properties": {"q": {}}}


KINDS = {
    "type": "object",
    "properties": {"id": {"type": "string"}},
    "required": ["id"],
    "allOf": [{"properties": {"id": {"minLength": 1}, "note": {"type": "string"}}, "required": ["note"]}],
    "anyOf": [
        {"properties": {"kind": {"const": "mail"}, "to": {"type": "string"}}, "required": ["kind", "to"]},
        {"$ref": "#/$defs/call"},
    ],
    "not": {"required": ["id", "to"]},
    "$defs": {
        "call": {
            "properties": {"kind": {"const": "call"}, "number": {"type": "string"}},
            "anyOf": [{"$ref": "#/$defs/call"}, True],
        }
    },
}


def test_alternatives_at_the_top_which_openai_and_anthropic_refuse_become_properties() -> None:
    written = schemas(KINDS)
    assert written.pop("mcp") == KINDS, "MCP takes any JSON Schema of an object"
    for schema in written.values():
        assert schema == {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "note": {"type": "string"},
                "kind": {"anyOf": [{"const": "mail"}, {"const": "call"}]},
                "to": {"type": "string"},
                "number": {"type": "string"},
            },
            "required": ["id", "note"],
            "$defs": KINDS["$defs"],
        }


def test_endless_and_countless_alternatives_take_no_time() -> None:
    many = [{"properties": {"n": {"const": n}}} for n in range(20_000)]
    schema = schemas(
        {
            "anyOf": [*many, *[{"$ref": "#/$defs/all"}] * 1000],
            "$defs": {"all": {"anyOf": [{"$ref": "#/$defs/all"}] * 1000}},
        }
    )
    assert schema["anthropic"]["properties"] == {"n": {}}


@given(st.lists(st.text(max_size=100), max_size=8, unique=True))
def test_any_parameter_gets_a_name_that_anthropic_allows_and_that_leads_back(owns: list[str]) -> None:
    parameters = {"type": "object", "properties": {own: {"description": own} for own in owns}, "required": owns}
    tool = Tool("s/x", "x", "", parameters)
    schema = render([tool], "anthropic")[0][0]["input_schema"]
    allowed = set(string.ascii_letters + string.digits + "_.-")
    assert all(set(name) <= allowed and 0 < len(name) <= 64 for name in schema["properties"])
    renamed = renamed_parameters(tool)
    assert [renamed.get(name, name) for name in schema["properties"]] == owns
    assert [renamed.get(name, name) for name in schema["required"]] == owns
    assert render([tool], "mcp")[0][0]["inputSchema"] == parameters
