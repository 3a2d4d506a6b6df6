"""The MCP door with the SDK's own client: over stdio, over HTTP, in the protocol of today and in that with a handshake."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest
import requests
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

from mtrb.formats import read_tools
from qta.engine import Engine
from service.mcp import build_server
from tests.conftest import ROOT, Finished, Server, serving

DOORS = ["stdio", "stdio legacy", "http", "http legacy"]
Talk = Callable[[Client], Awaitable[Any]]


@pytest.fixture(scope="module")
def server(sample_folder: Path) -> Iterator[Server]:
    with serving(sample_folder, "--workers", "2") as running:
        yield running


@pytest.fixture
def talk(server: Server, sample_folder: Path) -> Callable[[str, Talk], Any]:
    """Connect a client through a door, and return what a conversation gives."""

    def through(door: str, conversation: Talk) -> Any:
        transport, _, legacy = door.partition(" ")
        command = ["-m", "qta", "mcp", "--index", str(sample_folder)]
        started = StdioServerParameters(command=sys.executable, args=command, env={"PYTHONPATH": str(ROOT)})

        async def run() -> Any:
            target = started if transport == "stdio" else server.url + "/mcp"
            async with Client(target, mode="legacy" if legacy else "auto", read_timeout_seconds=30) as client:
                return await conversation(client)

        return anyio.run(run)

    return through


def call(name: str, **arguments: Any) -> Talk:
    async def conversation(client: Client) -> CallToolResult:
        return await client.call_tool(name, arguments)

    return conversation


def refusal(result: CallToolResult) -> str:
    assert result.is_error
    assert result.structured_content is None
    [content] = result.content
    assert "Traceback" not in content.text
    return str(content.text)


@pytest.mark.parametrize("door", DOORS)
def test_a_client_searches_and_reads_what_it_found(talk: Callable[[str, Talk], Any], door: str) -> None:
    async def conversation(client: Client) -> tuple[Any, ...]:
        tools = (await client.list_tools()).tools
        found = await client.call_tool("search_tools", {"query": "refund order 8841", "k": 3})
        ids = [tool["tool_id"] for tool in found.structured_content["tools"]]
        return client.instructions, tools, found, await client.call_tool("get_tool_details", {"ids": ids[:2]})

    instructions, tools, found, details = talk(door, conversation)
    assert "search_tools" in instructions
    assert [tool.name for tool in tools] == ["search_tools", "get_tool_details"]
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools)
    for tool, result in zip(tools, (found, details), strict=True):
        jsonschema_rs.validate(tool.output_schema, result.structured_content)
        assert json.loads(result.content[0].text) == result.structured_content
    first = found.structured_content["tools"][0]
    assert first["tool_id"] == "shop/request_refund"
    assert len(first["description"]) <= 160
    assert len(found.structured_content["tools"]) == 3
    definitions = details.structured_content["tools"]
    assert definitions[0]["parameters"]["required"] == ["order_id", "reason"]
    assert details.structured_content["unknown"] == []


def test_input_schemas_say_what_is_taken(talk: Callable[[str, Talk], Any]) -> None:
    async def conversation(client: Client) -> Any:
        return (await client.list_tools()).tools

    search, details = talk("http", conversation)
    assert "$ref" not in json.dumps([search.input_schema, details.input_schema])
    assert jsonschema_rs.is_valid(search.input_schema, {"query": "a", "filter": {"sources": ["shop"]}})
    assert not jsonschema_rs.is_valid(search.input_schema, {"query": "a", "filter": {"source": "shop"}})
    assert not jsonschema_rs.is_valid(details.input_schema, {"ids": []})
    fields = [*search.input_schema["properties"].values(), *details.input_schema["properties"].values()]
    assert all(field["description"] for field in fields)


def test_filters_and_numbers_as_texts(talk: Callable[[str, Talk], Any]) -> None:
    found = talk("http", call("search_tools", query="refund", k="2", filter={"sources": ["payments"]}))
    ids = [tool["tool_id"] for tool in found.structured_content["tools"]]
    assert len(ids) == 2
    assert all(tool_id.startswith("payments/") for tool_id in ids)
    without = talk("http", call("search_tools", query="refund", k=2, filter={"sources": ["payments"], "exclude": ids}))
    assert not {tool["tool_id"] for tool in without.structured_content["tools"]} & set(ids)


def test_an_empty_answer_says_why(talk: Callable[[str, Talk], Any]) -> None:
    found = talk("http", call("search_tools", query="refund", filter={"sources": ["nowhere"]}))
    assert found.structured_content["tools"] == []
    assert "filter" in found.structured_content["notes"][0]


def test_an_answer_that_does_not_fit_says_so(talk: Callable[[str, Talk], Any]) -> None:
    found = talk("http", call("search_tools", query="bake a sourdough bread with a crust"))
    assert found.structured_content["tools"]
    assert "no tool seems to fit" in found.structured_content["notes"][-1]


def test_unknown_ids_are_named_beside_what_is_known(talk: Callable[[str, Talk], Any]) -> None:
    answer = talk("http", call("get_tool_details", ids=["shop/list_orders", "shop/nothing"])).structured_content
    assert [tool["tool_id"] for tool in answer["tools"]] == ["shop/list_orders"]
    assert answer["unknown"] == ["shop/nothing"]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no query": ("search_tools", {}, "query: Field required"),
    "blank query": ("search_tools", {"query": "  "}, "query: String should have at least 1 character"),
    "too many": ("search_tools", {"query": "a", "k": 51}, "k: Input should be less than or equal to 50"),
    "a huge number": ("search_tools", {"query": "a", "k": 10**30}, "k: Input should be less than or equal to 50"),
    "unknown field": ("search_tools", {"query": "a", "limit": 3}, "limit: Extra inputs are not permitted"),
    "unknown filter": ("search_tools", {"query": "a", "filter": {"tag": "x"}}, "filter.tag: Extra inputs"),
    "no ids": ("get_tool_details", {"ids": []}, "ids: List should have at least 1 item"),
    "ids as a text": ("get_tool_details", {"ids": "shop/list_orders"}, "ids: Input should be a valid array"),
    "unknown ids": ("get_tool_details", {"ids": ["request_refund"]}, "ids are the 'tool_id's of search_tools"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_argument_is_a_tool_error_that_a_model_can_mend(talk: Callable[[str, Talk], Any], case: str) -> None:
    name, arguments, message = REFUSED[case]
    assert message in refusal(talk("http", call(name, **arguments)))


def test_half_a_character_is_refused_too(server: Server) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_tools", "arguments": %s}}'
    answer = server.ask("/mcp", body % b'{"query": "\\ud800"}')
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("Parse error")


def test_another_tool_is_a_protocol_error_that_names_those_there_are(talk: Callable[[str, Talk], Any]) -> None:
    async def conversation(client: Client) -> str:
        with pytest.raises(MCPError) as error:
            await client.call_tool("request_refund", {})
        return error.value.message

    message = talk("http", conversation)
    assert message == "no tool is called 'request_refund'; there are search_tools and get_tool_details"


def test_only_granted_namespaces_are_found_and_described(tmp_path: Path, sample_folder: Path) -> None:
    from dataclasses import replace

    from mtrb.types import Toolset
    from qta.encoder import Encoder
    from qta.index import build_index

    tools = list(read_tools(["sample:"]))[:40]
    own = [replace(tool, tool_id=f"@{'red' if at % 2 else 'blue'}/{tool.tool_id}") for at, tool in enumerate(tools)]
    build_index(Toolset(own), tmp_path / "index", Encoder())
    engine = Engine.open(tmp_path / "index")
    red = build_server(lambda: engine, engine.answer, lambda: frozenset({"red"}))
    hidden, shown = own[0].tool_id, own[1].tool_id

    async def run() -> tuple[CallToolResult, ...]:
        async with Client(red) as client:
            return (
                await client.call_tool("search_tools", {"query": own[0].name, "k": 50}),
                await client.call_tool("search_tools", {"query": "a", "k": 50, "filter": {"include": [hidden]}}),
                await client.call_tool("get_tool_details", {"ids": [hidden]}),
                await client.call_tool("get_tool_details", {"ids": [hidden, shown]}),
            )

    found, included, described, both = anyio.run(run)
    assert {tool["tool_id"].partition("/")[0] for tool in found.structured_content["tools"]} == {"@red"}
    assert included.structured_content["tools"] == []
    assert "no tool has an id of" in refusal(described)
    assert [tool["tool_id"] for tool in both.structured_content["tools"]] == [shown]
    assert both.structured_content["unknown"] == [hidden]


PING = {"jsonrpc": "2.0", "id": 7, "method": "ping"}


def test_over_http_every_message_is_answered_by_itself(server: Server) -> None:
    assert server.ask("/mcp", PING).json == {"jsonrpc": "2.0", "id": 7, "result": {}}
    assert server.ask("/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    for method in ("GET", "DELETE"):  # no stream to open, no session to end
        refused = server.ask("/mcp", method=method)
        assert refused.status == 405
        assert "POST" in refused.headers["Allow"]


def test_what_is_no_message_is_refused(server: Server) -> None:
    assert server.ask("/mcp", b"{").json["error"]["message"].startswith("Parse error")
    assert server.ask("/mcp", b"{").status == 400
    assert server.ask("/mcp", [PING]).status == 400
    assert server.ask("/mcp", PING, content_type="text/plain").status == 415
    assert "Method not found" in server.ask("/mcp", {**PING, "method": "tools/steal"}).json["error"]["message"]


def test_web_pages_of_other_hosts_are_refused(server: Server) -> None:
    def ask(origin: str) -> requests.Response:
        return requests.post(server.url + "/mcp", json=PING, headers={"Origin": origin}, timeout=30)

    assert ask("http://localhost:6274").status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example"):
        refused = ask(origin)
        assert refused.status_code == 403
        assert refused.json()["detail"].startswith(f"the web page {origin} may not")


def test_the_stdio_command_refuses_in_two_lines(qta: Callable[..., Finished]) -> None:
    finished = qta("mcp", "--index", "nothing")
    assert finished.status == 2
    assert finished.out == ""
    assert finished.err.startswith("error: nothing: no index; make one with `qta index")
    finished = qta("mcp", "--indx", "nothing")
    assert finished.status == 2
    assert finished.err.splitlines()[1] == "try: qta mcp --help"
    assert "Usage: qta mcp" in qta("mcp", "--help").out


def test_the_service_loads_the_sdk_only_where_it_is_asked_for(sample_folder: Path) -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from service import Settings, create_app\n"
        f"app = create_app(Settings(index=Path({str(sample_folder)!r})))\n"
        "print('mcp' in sys.modules); client = app.test_client()\n"
        f"print(client.post('/mcp', json={PING!r}).json, 'mcp' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["False", "{'jsonrpc': '2.0', 'id': 7, 'result': {}} True"]
