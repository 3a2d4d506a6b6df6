"""Random requests over every route there is: whatever comes, no answer is a server error.

FUZZ_REQUESTS sets how many; 2,000 unless set.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from qta.keys import KeyStore
from service import Settings, create_app

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "2000"))

VALID: dict[str, Any] = {
    "/retrieve": {"query": "refund order 8841", "k": 3, "rewrite": "auto"},
    "/tools": {"tools": [{"id": "x/y", "name": "y", "description": "Do y.", "parameters": {"type": "object"}}]},
    "/feedback": {"request_id": "abc", "used": ["x/y"]},
    "/mcp": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "search_tools", "arguments": {"query": "refund", "filter": {"sources": ["shop"]}}},
    },
}
"""A valid body of each route that takes one, from which random ones are made; the others get any of these."""

FIELDS: dict[str, Any] = {
    "queries": ["a", {"messages": [{"role": "user", "content": "b"}]}],
    "filter": {"tags": ["x"], "sources": ["shop"], "include": ["shop/request_refund"], "namespaces": ["a"]},
    "messages": [{"role": "user", "content": "refund"}],
    "format": "openai",
    "explain": True,
    "always": ["shop/request_refund"],
    "token_budget": 500,
    "detail": "name",
    "ids": ["mail/search_messages", "x/y"],
    "namespace": "a",
}
"""Fields that some routes know beside those."""

text = st.one_of(
    st.text(max_size=40), st.sampled_from(["", "shop/request_refund", "\0", "\ud800", "@a/b", "é" * 5_000])
)
numbers = st.one_of(st.integers(-3, 120), st.integers(), st.floats(), st.sampled_from([2**63, -(2**63), 10**400]))
scalars = st.one_of(st.none(), st.booleans(), numbers, text)
anything = st.recursive(
    scalars, lambda one: st.lists(one, max_size=4) | st.dictionaries(text, one, max_size=4), max_leaves=12
)


@st.composite
def bodies(draw: st.DrawFn, rule: str) -> Any:
    """Draw a body: a valid one with some values replaced, dropped or added, or anything at all."""
    valid = VALID.get(rule) or draw(st.sampled_from(list(VALID.values())))
    body = json.loads(json.dumps(valid))
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), max_size=2)):
        body[name] = FIELDS[name]
    for _ in range(draw(st.integers(0, 3))):
        body = _mutated(draw, body)
    return body


def _mutated(draw: st.DrawFn, value: Any) -> Any:
    """Return a value with something in it replaced, at any depth."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(list(value)))
        if draw(st.integers(0, 4)) == 0:
            return {key: one for key, one in value.items() if key != name}
        return {**value, name: _mutated(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _mutated(draw, value[at]), *value[at + 1 :]]
    return draw(anything)


def written(body: Any, draw: st.DrawFn) -> bytes:
    """Return a body as bytes: JSON, or JSON with bytes changed."""
    data = json.dumps(body).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=5)) + data[at + draw(st.integers(0, 3)) :]
    return data


latin = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(["application/json", "text/plain", "application/json; charset=utf-16", "x", ""])
        | latin,
        "Accept": st.sampled_from(["*/*", "text/html", "application/json, text/event-stream"]) | latin,
        "X-Request-Id": latin,
        "X-Request-Timeout": latin,
        "Host": st.sampled_from(["localhost", "x", "[::1", "a b", "", "x:99999"]),
        "If-None-Match": latin,
        "Range": latin,
        "Cookie": latin,
        "Mcp-Session-Id": latin,
        "Origin": st.sampled_from(["http://localhost:1", "http://[x", "null"]) | latin,
        "Content-Encoding": st.sampled_from(["gzip", "br", ""]),
    },
)
keys = st.sampled_from(["none", "retrieve", "write", "admin", "wrong"])


@pytest.fixture(scope="module")
def client(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = Path(shutil.copytree(sample_folder, tmp_path_factory.mktemp("fuzz") / "index"))
    store = KeyStore(folder)
    tokens = {scope: store.create(scope, scope)[1] for scope in ("retrieve", "write", "admin")}  # type: ignore[arg-type]
    client = create_app(Settings(index=folder)).test_client()
    client.environ_base["tokens"] = {**tokens, "wrong": "qta_wrong"}
    return client


def paths(draw: st.DrawFn, rule: Rule) -> str:
    """Return the path of a rule with anything in its variables, and sometimes a query."""
    path = rule.rule
    for _ in rule.arguments:
        value = draw(text).encode("utf-8", "replace").decode().replace("?", "%3F")
        path = path[: path.index("<")] + value + path[path.index(">") + 1 :]
    query = draw(
        st.dictionaries(st.sampled_from(["limit", "after", "prefix", "search", "namespace", "q"]), text, max_size=2)
    )
    encoded = "&".join(f"{key}={value}" for key, value in query.items()).encode("utf-8", "replace").decode()
    return f"{path}?{encoded}" if query else path


@settings(
    max_examples=REQUESTS,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_request_is_a_server_error(client: FlaskClient, data: st.DataObject) -> None:
    draw: Any = data.draw
    rules = sorted(client.application.url_map.iter_rules(), key=lambda one: one.rule)
    rule = draw(st.sampled_from(rules))
    method = draw(st.sampled_from([*sorted(rule.methods or ()), *sorted(rule.methods or ()), "PUT", "DELETE", "PATCH"]))
    sent = draw(headers)
    key = draw(keys)
    if key != "none":
        sent["Authorization"] = f"Bearer {client.environ_base['tokens'][key]}"
    sent.setdefault("Content-Type", "application/json")
    body = written(draw(bodies(rule.rule)), draw)
    reply = client.open(paths(draw, rule), method=method, data=body, headers=sent)
    reply.get_data()
    reply.close()
    assert reply.status_code < 500, reply.get_data(as_text=True)
    assert reply.headers["X-Request-Id"]
    if reply.status_code >= 400 and method != "HEAD" and not is_json_rpc(reply):
        assert reply.content_type == "application/problem+json"


def is_json_rpc(reply: TestResponse) -> bool:
    """Tell whether a refusal is one of MCP, in the form that the protocol has for them."""
    return reply.request.path == "/mcp" and reply.content_type == "application/json" and "error" in reply.get_json()


def test_the_requests_reach_their_routes(client: FlaskClient) -> None:
    reached = {rule.rule for rule in client.application.url_map.iter_rules()}
    assert {"/tools/<tool_id:tool_id>", "/openapi.json", "/healthz", "/readyz", "/metrics", *VALID} <= reached
    admin = {"Authorization": f"Bearer {client.environ_base['tokens']['admin']}"}
    for path, method, status in (("/retrieve", "POST", 200), ("/tools", "PUT", 200), ("/feedback", "POST", 404)):
        assert client.open(path, method=method, json=VALID[path], headers=admin).status_code == status
    found = client.post("/mcp", json=VALID["/mcp"], headers=admin).get_json()
    assert found["result"]["structuredContent"]["tools"][0]["tool_id"].startswith("shop/")
