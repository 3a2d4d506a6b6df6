"""The OpenAPI document against the service: every route is in it, and what it promises is kept."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from flask import Flask
from pydantic import BaseModel

from qta import __version__
from qta.keys import KeyStore
from service.answers import Health, Problem, Ready, RetrieveAnswer, RetrieveAnswers, ToolPage, ToolRecord
from service.openapi import openapi
from service.routes import register_routes
from tests.conftest import Server, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def routes() -> Flask:
    app = Flask("routes", static_folder=None)
    register_routes(app)
    return app


@pytest.fixture
def closed_server(sample_folder: Path, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """Serve an index that random requests may change, and that asks for a key."""
    folder = Path(shutil.copytree(sample_folder, tmp_path / "index"))
    _, token = KeyStore(folder).create("random", "admin")
    with serving(folder) as running:
        yield running, token


def test_every_route_is_in_the_document_with_its_answers(routes: Flask) -> None:
    document = openapi(routes)
    served = {re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule) for rule in routes.url_map.iter_rules()}
    assert set(document["paths"]) == served
    for operations in document["paths"].values():
        for described in operations.values():
            assert described["summary"]
            assert any(status.startswith("2") for status in described["responses"])


def test_a_route_that_says_nothing_of_itself_is_named(routes: Flask) -> None:
    routes.add_url_rule("/silent", view_func=lambda: "")
    with pytest.raises(LookupError, match=r"^/silent: put @operation"):
        openapi(routes)


def test_the_document_says_what_a_request_may_hold(server: Server) -> None:
    document = server.ask("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == __version__
    retrieve = document["paths"]["/retrieve"]["post"]
    assert set(retrieve["responses"]) == {"200", "400", "401", "403", "413", "415", "422", "429", "503"}
    assert retrieve["security"] == [{"key": ["retrieve"]}]
    assert document["paths"]["/tools"]["put"]["security"] == [{"key": ["write"]}]
    health = document["paths"]["/healthz"]["get"]
    assert health["security"] == []
    assert set(health["responses"]) == {"200", "400", "401", "429", "503"}
    schema = {
        **retrieve["requestBody"]["content"]["application/json"]["schema"],
        "components": document["components"],
    }
    said = {"messages": [{"role": "user", "content": "a", "name": "Ann"}], "k": "auto"}
    batch = {"queries": ["a", {"messages": said["messages"]}], "k": 100}
    for valid in ({"query": "a"}, batch, {"query": "a", "queries": None}, said):
        assert jsonschema_rs.is_valid(schema, valid), valid
    for invalid in (
        {},
        {"query": " "},
        {"query": "a", "queries": ["b"]},
        {"query": "a", "k": 101},
        {"text": "a"},
        {**said, "query": "b"},
        {"queries": [{"query": "a"}]},
        {"queries": [said]},
    ):
        assert not jsonschema_rs.is_valid(schema, invalid), invalid
    for component in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(component)


ANSWERS: dict[str, tuple[str, object, type[BaseModel]]] = {
    "health": ("/healthz", None, Health),
    "ready": ("/readyz", None, Ready),
    "one request": ("/retrieve", {"query": "refund order 8841 " * 200}, RetrieveAnswer),
    "a vendor's form, in a budget": (
        "/retrieve",
        {"query": "refund", "format": "mcp", "token_budget": 500},
        RetrieveAnswer,
    ),
    "one item of a vendor's": ("/retrieve", {"query": "refund", "format": "tool_search_output"}, RetrieveAnswer),
    "names only": ("/retrieve", {"query": "refund", "detail": "name", "filter": {"tags": ["none"]}}, RetrieveAnswer),
    "why": ("/retrieve", {"query": "refund order 8841, then call shop/cancel_order", "explain": True}, RetrieveAnswer),
    "as many as are enough": ("/retrieve", {"query": "refund", "k": "auto"}, RetrieveAnswer),
    "a conversation": ("/retrieve", {"messages": [{"role": "user", "content": "refund"}]}, RetrieveAnswer),
    "a page of tools": ("/tools?limit=2", None, ToolPage),
    "a tool": ("/tools/shop/request_refund", None, ToolRecord),
    "several requests": ("/retrieve", {"queries": ["refund", "weather"], "k": 2}, RetrieveAnswers),
    "several conversations": (
        "/retrieve",
        {"queries": [{"messages": [{"role": "user", "content": "refund"}]}] * 2},
        RetrieveAnswers,
    ),
    "a missing field": ("/retrieve", {}, Problem),
    "no such route": ("/nothing", None, Problem),
    "wrong method": ("/retrieve", None, Problem),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_real_answers_are_as_they_are_described(server: Server, case: str) -> None:
    path, body, model = ANSWERS[case]
    model.model_validate_json(server.ask(path, body).body)


def test_a_whole_number_is_one_however_it_is_written(server: Server) -> None:
    assert len(server.ask("/retrieve", {"query": "refund", "k": 2.0}).json["tools"]) == 2
    assert server.ask("/retrieve", {"query": "refund", "token_budget": 500.0}).json["tokens"] <= 500
    for field in ("k", "token_budget"):
        assert server.ask("/retrieve", {"query": "refund", field: 2.5}).json["errors"][0]["field"] == field


def test_schemathesis_finds_no_request_that_breaks_a_promise(closed_server: tuple[Server, str], tmp_path: Path) -> None:
    server, token = closed_server
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)]
    command = [*program, "run", server.url + "/openapi.json"]
    options = ["--max-examples", "40", "--seed", "1", "--no-color", "--suppress-health-check", "filter_too_much"]
    options += ["--header", f"Authorization: Bearer {token}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    generated, passed = map(int, re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[0])
    assert generated == passed > 200
