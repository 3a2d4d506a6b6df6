"""`POST /mcp`: the Model Context Protocol over streamable HTTP."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.exceptions import Forbidden

from service.answers import JsonRpcAnswer, JsonRpcMessage
from service.auth import scope
from service.openapi import operation
from service.respond import answer, engine, granted, require_json

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

blueprint = Blueprint("mcp", __name__)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@blueprint.post("/mcp")
@operation(
    JsonRpcAnswer,
    others={202: None, 400: JsonRpcAnswer, 404: JsonRpcAnswer, 406: JsonRpcAnswer},
    body=JsonRpcMessage,
)
@scope("retrieve")
def mcp() -> Response:
    """Answer a message of the Model Context Protocol.

    Streamable HTTP without sessions and without streams: every message is answered by itself, in JSON. The tools are
    `search_tools` and `get_tool_details`.

    :raise 403: the request comes from a web page of another host.
    :raise 415: the body is not sent as JSON.
    """
    require_json()
    _refuse_other_pages()
    return asyncio.run(_answered(_server()))


def _refuse_other_pages() -> None:
    """Refuse what a browser sends for a page of another host, as the protocol demands; programs name no origin."""
    origin = request.headers.get("Origin")
    if origin is not None and _host(origin) not in _LOOPBACK:
        raise Forbidden(f"the web page {origin} may not use this; MCP clients that are programs may")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@cache
def _server() -> "Server[Any]":
    from service.mcp import build_server

    return build_server(engine, answer, granted)


async def _answered(server: "Server[Any]") -> Response:
    """Give a request to the SDK's ASGI side and return its answer; nothing is kept between requests."""
    from httpx2 import ASGITransport, Request
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    body = request.get_data()
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=max(1, len(body))
    )
    async with manager.run():
        given = {"Accept": "*/*", **request.headers, "Host": "localhost"}  # no Accept accepts all
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
        asked = Request("POST", "http://localhost/mcp", headers=headers, content=body)
        answer = await ASGITransport(manager.handle_request).handle_async_request(asked)
        return Response(await answer.aread(), answer.status_code, headers=list(answer.headers.items()))
