"""A key of one namespace sees nothing of another's tools, whichever way it asks.

Each attempt is made twice: for a tool that there is, of the other team, and for one that there is not. Neither answer
may hold anything that only the other team's tools say, and both must be the same. A new route is one more line in
ATTEMPTS; ENGINE holds what is asked of the engine behind them.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient

from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.engine import Answer, Engine, Request
from qta.index import build_index
from qta.keys import KeyStore
from qta.selection import Filter
from service import Settings, create_app

SECRETS = ("vault", "hidden-words", "pin_of_the_safe", "tag-of-b", "source-of-b", "team-b")
"""What stands in the other team's tools only."""

REAL, NONE = "@team-b/vault/open_vault", "@team-b/vault/open_xxxxx"
REAL_NAME, NONE_NAME = "open_vault", "open_xxxxx"


def tool(tool_id: str, name: str, text: str, parameter: str, tag: str, source: str) -> Tool:
    parameters = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return Tool(tool_id, name, text, parameters, (tag,), source)


OURS = [
    tool(f"@team-a/desk/book_{n}", f"book_{n}", f"Book desk number {n}.", "desk", "office", "desk") for n in range(8)
]
SHARED = [tool(f"mail/send_{n}", f"send_{n}", f"Send a mail by way {n}.", "to", "mail", "mail") for n in range(4)]
THEIRS = [
    tool(REAL, REAL_NAME, "Open the vault, hidden-words.", "pin_of_the_safe", "tag-of-b", "source-of-b"),
    *(
        tool(
            f"@team-b/vault/lock_{n}",
            f"lock_vault_{n}",
            f"Lock vault {n}, hidden-words.",
            "pin_of_the_safe",
            "tag-of-b",
            "source-of-b",
        )
        for n in range(20)
    ),
]
VISIBLE = {one.tool_id for one in (*OURS, *SHARED)}


class Attempt(NamedTuple):
    """An HTTP request; `{id}` and `{name}` stand for the tool that is sought."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)
    status: int = 200


def ask(status: int = 200, **fields: Any) -> Attempt:
    return Attempt("POST", "/retrieve", {"k": 100, **fields}, status=status)


def call(name: str, **arguments: Any) -> Attempt:
    """Call a tool of the MCP door."""
    params = {"name": name, "arguments": arguments}
    return Attempt("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def put(tool_id: str, status: int, **fields: Any) -> Attempt:
    record = {"id": tool_id, "name": "x", "description": "Take it over."}
    return Attempt("PUT", "/tools", {"tools": [record], **fields}, status=status)


ATTEMPTS = {
    "what its description says": ask(query="open the vault, hidden-words"),
    "exact name": ask(query="{name}"),
    "exact name, quoted": ask(query='call "{name}" now'),
    "exact id": ask(query="please call {id}"),
    "exact id in capitals": ask(query="PLEASE CALL @TEAM-B/VAULT/OPEN_VAULT"),
    "its parameter": ask(query="which tool takes pin_of_the_safe"),
    "batch": ask(queries=["{id}", "{name}", "send a mail"], k=20),
    "batch of conversations": ask(queries=[{"messages": [{"role": "user", "content": "call {id}"}]}], k=20),
    "rewrite": ask(query="{name}", rewrite="always"),
    "filter: include": ask(query="anything", filter={"include": ["{id}"]}),
    "filter: exclude": ask(query="anything", filter={"exclude": ["{id}"]}),
    "filter: namespace": ask(query="anything", filter={"namespaces": ["team-b"]}),
    "filter: namespace, singular": ask(422, query="anything", filter={"namespace": "team-b"}),
    "filter: source": ask(query="anything", filter={"sources": ["source-of-b"]}),
    "filter: tags": ask(query="anything", filter={"tags": ["tag-of-b"]}),
    "always include": ask(query="anything", always=["{id}"]),
    "always include, in the filter": ask(422, query="anything", filter={"always": ["{id}"]}),
    "explain": ask(query="{name}", explain=True),
    "the granted namespaces in the body": ask(422, query="{name}", granted=["team-b"]),
    "the namespace in a header": Attempt("POST", "/retrieve", {"query": "{name}"}, {"X-Namespace": "team-b"}),
    "the namespace in the query string": Attempt(
        "POST", "/retrieve?namespace=team-b&granted=team-b", {"query": "{name}"}
    ),
    "format": ask(query="{name}", format="openai"),
    "messages": ask(messages=[{"role": "user", "content": "{name}"}]),
    "format with its names": ask(query="{name}", format="tool_search_output", call_id="1"),
    "conversation": ask(messages=[{"role": "user", "content": "open it"}, {"role": "user", "content": "call {id}"}]),
    "whole catalogue in a budget": Attempt("POST", "/retrieve", {"query": "{name}", "token_budget": 100_000}),
    "always, in a small budget": ask(query="anything", always=["{id}"], token_budget=10),
    "as many as are enough": ask(query="{name}", k="auto"),
    "as many as are enough, of several": ask(queries=["{name}", "{id}"], k="auto", explain=True),
    "as many as are enough, always": ask(query="anything", k="auto", always=["{id}"]),
    "an invalid field": ask(422, query="{name}", k=-1, filter={"include": "{id}"}),
    "a body that is no JSON": Attempt("POST", "/retrieve", b'{"query": "{id}', status=400),
    "liveness": Attempt("GET", "/healthz"),
    "readiness": Attempt("GET", "/readyz"),
    "metrics": Attempt("GET", "/metrics", status=403),
    "the document": Attempt("GET", "/openapi.json"),
    "list of tools": Attempt("GET", "/tools?limit=100"),
    "list of tools of the namespace": Attempt("GET", "/tools?namespace=team-b"),
    "list of tools by the beginning of the id": Attempt("GET", "/tools?prefix=@team-b/"),
    "list of tools by what is in the name": Attempt("GET", "/tools?search=vault"),
    "list of tools behind one": Attempt("GET", "/tools?after={id}"),
    "a tool": Attempt("GET", "/tools/{id}", status=404),
    "a tool, escaped": Attempt("GET", "/tools/%40team-b%2Fvault%2Fopen_vault", status=404),
    "replacing": put("{id}", 403),
    "replacing in the namespace": put("vault/open_vault", 403, namespace="team-b"),
    "replacing beside one's own": Attempt(
        "PUT", "/tools", {"tools": [{"id": "@team-a/x", "name": "x"}, {"id": "{id}", "name": "y"}]}, status=403
    ),
    "removal": Attempt("DELETE", "/tools/{id}", status=404),
    "removal of several": Attempt("DELETE", "/tools", {"ids": ["{id}", "@team-a/none"]}),
    "options of a tool": Attempt("OPTIONS", "/tools/{id}"),
    "feedback": Attempt("POST", "/feedback", {"request_id": "x", "used": ["{id}"]}, status=422),
    "feedback, beside one's own": Attempt(
        "POST", "/feedback", {"request_id": "x", "used": ["mail/send_0", "{id}"]}, status=422
    ),
    "an unknown path": Attempt("GET", "/{id}", status=404),
    "MCP: search": call("search_tools", query="{name}", k=50),
    "MCP: search with what it says": call("search_tools", query="open the vault, hidden-words", k=50),
    "MCP: search among ids": call("search_tools", query="anything", filter={"include": ["{id}"]}),
    "MCP: search in a namespace": call("search_tools", query="anything", filter={"namespaces": ["team-b"]}),
    "MCP: details": call("get_tool_details", ids=["{id}"]),
    "MCP: details, beside a shared one": call("get_tool_details", ids=["{id}", "mail/send_0"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    folder = tmp_path_factory.mktemp("isolation") / "index"
    build_index(Toolset([*OURS, *SHARED, *THEIRS]), folder, encoder)
    return folder


@pytest.fixture(scope="module")
def asking(folder: Path) -> FlaskClient:
    _, token = KeyStore(folder).create("a", "write", ["team-a"])
    client = create_app(Settings(index=folder)).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def filled(value: Any, tool_id: str, name: str) -> Any:
    """Put a tool in the place of `{id}` and `{name}`."""
    if isinstance(value, bytes):
        return filled(value.decode(), tool_id, name).encode()
    if isinstance(value, str):
        return value.replace("{id}", tool_id).replace("{name}", name)
    if isinstance(value, list):
        return [filled(one, tool_id, name) for one in value]
    return {key: filled(one, tool_id, name) for key, one in value.items()} if isinstance(value, dict) else value


def strings(value: Any) -> list[str]:
    if isinstance(value, bytes):
        return [value.decode()]
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    return [text for one in value for text in strings(one)] if isinstance(value, list) else [str(value)]


def told(client: FlaskClient, attempt: Attempt, tool_id: str, name: str) -> tuple[int, str]:
    """Return what an answer tells, beside what was sent and what differs each time."""
    body, path = filled(attempt.body, tool_id, name), filled(attempt.path, tool_id, name)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    reply = client.open(
        path, method=attempt.method, data=data, headers=attempt.headers, content_type="application/json"
    )
    text = json.dumps(dict(reply.headers)) + reply.get_data(as_text=True)
    for sent in sorted({*strings(body), path.partition("?")[0], tool_id, name}, key=len, reverse=True):
        for spelling in (sent, json.dumps(sent)[1:-1], json.dumps(sent, ensure_ascii=False)[1:-1]):
            text = text.replace(spelling, "SENT") if len(sent) > 3 else text
    text = re.sub(r'"timing_ms": ?\{[^}]*\}|"request_id": ?"[^"]*"|"X-Request-Id": "[^"]*"|"Date": "[^"]*"', "", text)
    return reply.status_code, re.sub(
        r'"Content-Length": "\d+"|"score": ?[-\d.e]+|"(meaning|words)": ?[-\d.e]+', "", text
    )


@pytest.mark.parametrize("case", ATTEMPTS)
def test_an_attempt_tells_nothing(asking: FlaskClient, case: str) -> None:
    status, real = told(asking, ATTEMPTS[case], REAL, REAL_NAME)
    assert status == ATTEMPTS[case].status, real
    assert not [secret for secret in SECRETS if secret in real]
    if asks_by_id(ATTEMPTS[case]):
        assert (status, real) == told(asking, ATTEMPTS[case], NONE, NONE_NAME), "there is no telling"


def asks_by_id(attempt: Attempt) -> bool:
    """Tell whether the same is asked of two tools by their ids, rather than by two texts, which are two requests."""
    texts = (
        [attempt.body.get(name) for name in ("query", "queries", "messages")] if isinstance(attempt.body, dict) else []
    )
    return "{id}" in str(attempt) and not any("{" in str(text) for text in texts)


def test_the_attempts_would_find_something(folder: Path) -> None:
    assert len(ATTEMPTS) + len(ENGINE) >= 20
    client = create_app(Settings(index=folder)).test_client()
    _, token = KeyStore(folder).create("b", "retrieve", ["team-b"])
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    found = [case for case in ATTEMPTS if any(s in told(client, ATTEMPTS[case], REAL, REAL_NAME)[1] for s in SECRETS)]
    assert {"what its description says", "exact name", "exact id", "its parameter", "batch", "rewrite"} <= set(found)
    assert {"list of tools", "a tool", "MCP: search", "MCP: details", "conversation", "explain"} <= set(found)
    assert {"whole catalogue in a budget", "as many as are enough", "filter: tags", "always include"} <= set(found)


def test_counts_are_of_what_is_seen(asking: FlaskClient) -> None:
    answer = asking.post("/retrieve", json={"query": "anything at all", "k": 100}).get_json()
    assert {one["tool_id"] for one in answer["tools"]} == VISIBLE
    assert answer["index"]["tools"] == len(VISIBLE)
    assert not {"fingerprint", "revision", "created"} & set(answer["index"]), "they change with what others do"
    assert "index" not in asking.get("/readyz").get_json()
    assert asking.get("/tools?limit=3").get_json()["total"] == len(VISIBLE)
    whole = asking.post("/retrieve", json={"query": "anything at all", "token_budget": 100_000}).get_json()
    assert (len(whole["tools"]), whole["tokens_saved"], whole["whole_catalogue"]) == (len(VISIBLE), 0, True)
    some = asking.post("/retrieve", json={"query": "anything at all", "token_budget": 200}).get_json()
    assert some["tokens"] + some["tokens_saved"] == whole["tokens"]


def test_a_key_without_shared_tools_sees_its_own_alone(folder: Path) -> None:
    _, token = KeyStore(folder).create("alone", "retrieve", ["team-a"], shared=False)
    client = create_app(Settings(index=folder)).test_client()
    reply = client.post("/retrieve", json={"query": "mail", "k": 100}, headers={"Authorization": f"Bearer {token}"})
    assert {one["tool_id"] for one in reply.get_json()["tools"]} == {one.tool_id for one in OURS}


GRANTED = frozenset({"team-a", ""})
ENGINE = {
    "include": Request("open the vault", 100, wanted=Filter(include=(REAL,))),
    "include, beside one's own": Request("open the vault", 100, wanted=Filter(include=(REAL, OURS[0].tool_id))),
    "exclude": Request("open the vault", 100, wanted=Filter(exclude=(OURS[0].tool_id,))),
    "namespace": Request("open the vault", 100, wanted=Filter(namespaces=("team-b",))),
    "source": Request("open the vault", 100, wanted=Filter(sources=("source-of-b",))),
    "tag": Request("open the vault", 100, wanted=Filter(tags=("tag-of-b",))),
    "always": Request("open the vault", 100, always=(REAL, "@team-b/vault/lock_3")),
    "exact name": Request(REAL_NAME, 100),
    "exact id": Request(REAL, 100),
    "explain": Request(f"call {REAL} with pin_of_the_safe, then send mail", 100, explain=True),
    "clauses": Request("open the vault and lock the vault, then book a desk", 100, explain=True),
}


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.open(folder)


@pytest.mark.parametrize("case", ENGINE)
def test_the_engine_tells_nothing(engine: Engine, case: str) -> None:
    answer = engine.answer(replace(ENGINE[case], granted=GRANTED))
    assert {one.tool_id for one in answer.tools} <= VISIBLE
    rest = {key: value for key, value in answer.to_json().items() if key != "query"}
    text = re.sub(r'"clause": "[^"]*"', "", json.dumps(rest))  # a clause is of the request
    wanted, always = ENGINE[case].wanted, ENGINE[case].always
    for sent in (*wanted.tags, *wanted.sources, *(wanted.namespaces or ()), *(wanted.include or ()), *always):
        text = text.replace(f"'{sent}'", "SENT")
    assert not [secret for secret in SECRETS if secret in text]


def test_who_needs_what_another_provides_does_not_see_the_provider(tmp_path: Path, encoder: Encoder) -> None:
    needing = Tool("@team-a/pay", "pay_order", "Pay an order.", {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]})  # fmt: skip
    providing = Tool("@team-b/list_orders", "list_orders", "List orders and their order_id.", {})
    build_index(Toolset([needing, providing, *SHARED]), tmp_path / "index", encoder)
    found: Answer = Engine.open(tmp_path / "index").answer(Request("pay my order", 5, granted=GRANTED, explain=True))
    assert "list_orders" not in json.dumps(found.to_json())


def test_another_teams_longer_name_does_not_hide_ones_own(tmp_path: Path, encoder: Encoder) -> None:
    ours = Tool("@team-a/x", "send_mail", "Turn the lights off.", {})
    longer = Tool("@team-b/y", "send_mail to-all", "Anything.", {})
    build_index(Toolset([*SHARED, ours, longer]), tmp_path / "index", encoder)
    engine = Engine.open(tmp_path / "index")
    for granted in (GRANTED, frozenset({"team-b"})):
        first = engine.answer(Request("send_mail to-all of them", 1, granted=granted)).tools[0].tool_id
        assert first == ("@team-a/x" if granted == GRANTED else "@team-b/y")
