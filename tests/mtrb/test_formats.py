"""Every format a catalogue comes in, read by one function."""

import gzip
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mtrb.errors import InputError
from mtrb.formats import Skipped, read_tools
from mtrb.types import Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Return the weather."}

FILES: dict[str, Any] = {
    "openai-chat": [{"type": "function", "function": {**WEATHER, "parameters": SCHEMA, "strict": True}}],
    "openai-responses": [{"type": "function", **WEATHER, "parameters": SCHEMA, "defer_loading": True}],
    "openai-request": {"model": "m", "tools": [{"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}]},
    "openai-legacy": [{**WEATHER, "parameters": SCHEMA}],
    "openai-legacy-request": {"model": "m", "messages": [], "functions": [{**WEATHER, "parameters": SCHEMA}]},
    "openai-namespace": [
        {"type": "namespace", "name": "tools", "tools": [{"type": "function", **WEATHER, "parameters": SCHEMA}]}
    ],
    "anthropic": [{**WEATHER, "input_schema": SCHEMA}],
    "anthropic-request": {"tools": [{"type": "custom", **WEATHER, "input_schema": SCHEMA}]},
    "mcp": {"tools": [{**WEATHER, "title": "Weather", "inputSchema": SCHEMA}], "nextCursor": None},
    "mcp-rpc": {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{**WEATHER, "inputSchema": SCHEMA}]}},
    "mcp-servers": {"tools": {"tools": [{**WEATHER, "inputSchema": SCHEMA}]}},
    "mcp-servers-lists": {"tools": [{**WEATHER, "inputSchema": SCHEMA}]},
    "native": [{**WEATHER, "parameters": SCHEMA, "source": "tools"}],
}


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


def read_one(path: str, format: str | None = None) -> Tool:
    tools = list(read_tools([path], format))
    assert len(tools) == 1
    return tools[0]


@pytest.mark.parametrize("kind", FILES)
def test_function_formats_are_sniffed(kind: str, tmp_path: Path) -> None:
    tool = read_one(write(tmp_path / "tools.json", FILES[kind]))
    assert (tool.tool_id, tool.name, tool.description) == ("tools/get_weather", "get_weather", "Return the weather.")
    assert tool.parameters == SCHEMA


@pytest.mark.parametrize("kind", ["openai-chat", "anthropic", "native"])
def test_json_lines_hold_any_record_and_may_be_compressed(kind: str, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({**record}) for record in FILES[kind])
    plain = read_one(write(tmp_path / "tools.jsonl", lines + "\n\n"))
    (tmp_path / "tools.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert read_one(str(tmp_path / "tools.jsonl.gz")) == plain


def test_the_format_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "tools.json", FILES["mcp"])
    assert read_one(path, "mcp").name == "get_weather"
    with pytest.raises(InputError, match="record 1"):
        list(read_tools([path], "anthropic"))


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(FILES["mcp"]).encode())
    assert read_one(str(tmp_path / "tools.json")).name == "get_weather"


def test_servers_keep_their_tools_apart(tmp_path: Path) -> None:
    servers = {name: {"tools": [{**WEATHER, "inputSchema": SCHEMA}]} for name in ("north", "south sea")}
    tools = list(read_tools([write(tmp_path / "mcp.json", servers)]))
    assert [tool.tool_id for tool in tools] == ["north/get_weather", "south%20sea/get_weather"]
    assert [tool.source for tool in tools] == ["north", "south sea"]


@pytest.mark.parametrize(
    ("parameters", "properties", "required"),
    [
        ({"x": {"type": "str", "required": True}, "y": {"type": "int"}}, {"x": {"type": "string"}, "y": {"type": "integer"}}, ["x"]),
        ({"x": "what it is"}, {"x": {"description": "what it is"}}, None),
        ([{"name": "x", "type": "float", "required": True}], {"x": {"type": "number"}}, ["x"]),
        ('{"x": {"type": "List[str]"}}', {"x": {"type": "array"}}, None),
        ({"type": "dict", "properties": {"x": {"type": "bool"}}}, {"x": {"type": "boolean"}}, None),
        ({"properties": {"type": "str", "description": "of the element"}}, {"properties": {"type": "string", "description": "of the element"}}, None),
        ({"type": ["object", "null"], "properties": {"x": True}}, {"x": True}, None),
        (None, {}, None),
        ([], {}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_hand_written_parameters_become_a_schema(
    parameters: Any, properties: dict[str, Any], required: list[str] | None, tmp_path: Path
) -> None:
    tool = read_one(write(tmp_path / "t.jsonl", json.dumps({"name": "f", "parameters": parameters})))
    assert tool.parameters["properties"] == properties
    assert tool.parameters.get("required") == required


def test_a_page_of_a_list_is_read_on_demand_and_said_to_be_one(tmp_path: Path) -> None:
    page = {"result": {"tools": [{**WEATHER, "inputSchema": SCHEMA}], "nextCursor": "2"}}
    skipped: list[Skipped] = []
    assert len(list(read_tools([write(tmp_path / "t.json", page)], skipped=skipped))) == 1
    assert [entry.location.rpartition(", ")[2] for entry in skipped] == ["end of the list"]


def test_our_own_form_survives_a_round_trip(tmp_path: Path) -> None:
    tools = list(read_tools(["sample:"]))
    path = write(tmp_path / "again.jsonl", "\n".join(json.dumps(tool.to_json()) for tool in tools))
    assert list(read_tools([path])) == tools


def test_skipping_lists_what_is_left_out(tmp_path: Path) -> None:
    records = [
        {"name": "good"},
        {"description": "no name"},
        {"name": "good"},
        5,
        {"name": "bad", "parameters": {"type": "object", "properties": {"x": {"type": "banana"}}}},
    ]
    path = write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, records)) + "\n{broken")
    skipped: list[Skipped] = []
    assert [tool.name for tool in read_tools([path], skipped=skipped)] == ["good"]
    assert [entry.location.rpartition(", ")[2] for entry in skipped] == [f"line {n}" for n in range(2, 7)]
    for reason, entry in zip(
        ("name is missing", "already taken", "must be an object", "banana", "not valid JSON"), skipped, strict=True
    ):
        assert reason in entry.reason


def test_a_hosted_tool_does_not_hide_what_the_others_are(tmp_path: Path) -> None:
    tools = [{"type": "bash_20250124", "name": "bash"}, {**WEATHER, "input_schema": SCHEMA}]
    skipped: list[Skipped] = []
    [tool] = read_tools([write(tmp_path / "t.json", {"tools": tools})], skipped=skipped)
    assert tool.parameters == SCHEMA
    assert "hosted by the vendor" in skipped[0].reason


def test_formats_may_be_mixed(tmp_path: Path) -> None:
    tools = [
        {"type": "custom", "name": "run_code", "description": "Run Python."},
        {"type": "function", "function": {"name": "b", "parameters": SCHEMA}},
        {"name": "c", "inputSchema": SCHEMA},
    ]
    custom, chat, mcp = read_tools([write(tmp_path / "t.json", tools)])
    assert list(custom.parameters["properties"]) == ["input"]
    assert chat.parameters == mcp.parameters == SCHEMA


def test_our_own_records_stay_what_they_are_beside_others(tmp_path: Path) -> None:
    own = {
        "id": "crm/refund",
        "name": "refund",
        "tags": ["billing"],
        "source": "crm",
        "parameters": {"order": "a number"},
    }
    chat = {"type": "function", "function": {"name": "b", "parameters": SCHEMA}}
    [alone] = read_tools([write(tmp_path / "alone.json", [own])])
    for records in ([own, chat], [chat, own]):
        assert alone in list(read_tools([write(tmp_path / "t.json", records)]))


@pytest.mark.parametrize("key", ["parametersJsonSchema", "parameters_json_schema", "args_schema"])
def test_the_schema_is_found_by_the_names_of_other_libraries(key: str, tmp_path: Path) -> None:
    for record in ({"name": "a", key: SCHEMA}, {"type": "function", "function": {"name": "a", key: SCHEMA}}):
        [tool] = read_tools([write(tmp_path / "t.json", [record])])
        assert tool.parameters == SCHEMA
    for own in ({"name": "a", "args": SCHEMA["properties"]}, {"function": {"name": "a", "args": SCHEMA["properties"]}}):
        [tool] = read_tools([write(tmp_path / "t.json", [own])])
        assert tool.parameters["properties"] == SCHEMA["properties"]


@pytest.mark.parametrize("args", [["repo", "branch"], "--fast", 5, {"x": 1}])
def test_what_is_called_like_a_schema_and_is_none_is_passed_over(args: Any, tmp_path: Path) -> None:
    [tool] = read_tools([write(tmp_path / "t.json", [{"name": "clone", "description": "Clone.", "args": args}])])
    assert tool.parameters == {"type": "object", "properties": {}}


def test_that_no_parameter_is_required_is_said(tmp_path: Path) -> None:
    one = {"type": "string", "required": False}
    for parameters in ({"order_id": one}, [{"name": "order_id", **one}]):
        [tool] = read_tools([write(tmp_path / "t.json", [{"name": "a", "parameters": parameters}])])
        assert tool.parameters["required"] == []


def test_tools_and_functions_of_one_request_are_both_read(tmp_path: Path) -> None:
    request = {"tools": [{"type": "function", "function": {"name": "a"}}], "functions": [{"name": "b"}]}
    assert [tool.name for tool in read_tools([write(tmp_path / "t.json", request)])] == ["a", "b"]


@pytest.mark.parametrize("version", ["draft-07/schema#", "draft/2020-12/schema"])
def test_known_dialects_are_kept(version: str, tmp_path: Path) -> None:
    schema = {**SCHEMA, "$schema": f"http://json-schema.org/{version}"}
    [tool] = read_tools([write(tmp_path / "t.json", [{"name": "a", "inputSchema": schema}])])
    assert tool.parameters == schema


def test_nothing_is_fetched_to_check_a_schema(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        for elsewhere in (address, tmp_path.as_uri()):
            tool = {"name": "a", "inputSchema": {"$schema": elsewhere, "type": "object"}}
            with pytest.raises(InputError, match="not known"):
                list(read_tools([write(tmp_path / "t.json", [tool])]))
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_numbers_beyond_64_bits_are_kept_as_floats(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"value": {"type": "integer", "maximum": 2**256 - 1}}}
    [tool] = read_tools([write(tmp_path / "t.jsonl", {"name": "pay", "parameters": schema})])
    assert tool.parameters["properties"]["value"]["maximum"] == float(2**256 - 1)


def test_plain_words_in_yaml_are_read_as_json_would(tmp_path: Path) -> None:
    text = """
openapi: 3.1.0
info: {title: on}
paths:
  /x:
    get:
      parameters:
        - {name: on, in: query, schema: {type: string, enum: [no, yes, 2020-01-01, 010, 12:30]}}
        - {name: n, in: query, schema: {type: integer, default: 5, maximum: 1.5e3}}
        - $ref: "#/components/responses/200/x-parameter"
components: {responses: {200: {x-parameter: {name: y, in: query, schema: {type: boolean, default: true}}}}}
"""
    [tool] = read_tools([write(tmp_path / "t.yaml", text)])
    properties = tool.parameters["properties"]
    assert properties["on"]["enum"] == ["no", "yes", "2020-01-01", "010", "12:30"]
    assert (properties["n"]["default"], properties["n"]["maximum"]) == (5, 1500.0)
    assert properties["y"]["default"] is True


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("gh", "jira"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "tools.json", [WEATHER])
    paths = [str(tmp_path / folder / "tools.json") for folder in ("gh", "jira")]
    with pytest.raises(InputError, match="told apart as NAME=PATH"):
        list(read_tools(paths))
    named = [f"{name}={path}" for name, path in zip(("github", "jira"), paths, strict=True)]
    assert [tool.tool_id for tool in read_tools(named)] == ["github/get_weather", "jira/get_weather"]
    api = write(tmp_path / "api.json", {"openapi": "3.0.0", "info": {"title": "API"}, "paths": {"/x": {"get": {}}}})
    assert [tool.source for tool in read_tools([api, f"mine={api}"])] == ["api", "mine"]
