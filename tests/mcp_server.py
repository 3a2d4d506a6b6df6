"""An MCP server of the official SDK for the tests: its tools stand in a JSON file, and it announces when that changes.

python tests/mcp_server.py TOOLS.json stdio
python tests/mcp_server.py TOOLS.json PORT
python tests/mcp_server.py TOOLS.json endless      over stdio, with a list that never ends
python tests/mcp_server.py TOOLS.json half         over stdio, gone when it is asked for the second page
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from pydantic import TypeAdapter

FILE, HOW = Path(sys.argv[1]), sys.argv[2]
PAGE = 2

bus = InMemorySubscriptionBus()


async def list_tools(_context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    tools = TypeAdapter(list[types.Tool]).validate_json(FILE.read_bytes())
    start = int(params.cursor) if params and params.cursor else 0
    if HOW == "half" and start:
        os._exit(1)
    if HOW == "endless":
        return types.ListToolsResult(tools=tools[:PAGE], next_cursor="1")
    more = start + PAGE < len(tools)
    return types.ListToolsResult(tools=tools[start : start + PAGE], next_cursor=str(start + PAGE) if more else None)


async def watch() -> None:
    before = FILE.read_bytes()
    while True:
        await anyio.sleep(0.05)
        now = FILE.read_bytes()
        if now != before:
            before = now
            await bus.publish(ToolsListChanged())


@asynccontextmanager
async def lifespan(_server: Server[Any]) -> AsyncIterator[dict[str, Any]]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield {}
        tasks.cancel_scope.cancel()


server: Server[Any] = Server(
    "The Zoo", on_list_tools=list_tools, on_subscriptions_listen=ListenHandler(bus), lifespan=lifespan
)


async def over_stdio() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if HOW.isdigit():
    import uvicorn

    uvicorn.run(
        server.streamable_http_app(), host="127.0.0.1", port=int(HOW), log_level="error", timeout_graceful_shutdown=1
    )
else:
    anyio.run(over_stdio)
