"""`POST /retrieve` on a real server: the answer's shape, and every way to ask wrongly."""

import json
import socket
import time
from typing import Any

import pytest

from tests.conftest import Reply, Server

REFUND = {"query": "refund order 8841", "k": 3}


def test_the_answer(server: Server) -> None:
    reply = server.ask("/retrieve", {**REFUND, "rewrite": "off"})
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    answer = reply.json
    assert list(answer) == ["tools", "query", "rewritten_query", "k", "request_id", "index", "timing_ms", "degraded"]
    assert (answer["query"], answer["k"], answer["rewritten_query"], answer["degraded"]) == (
        "refund order 8841",
        3,
        None,
        [],
    )
    assert [tool["rank"] for tool in answer["tools"]] == [1, 2, 3]
    assert [set(tool) for tool in answer["tools"]] == [
        {"tool_id", "name", "description", "parameters", "score", "rank"}
    ] * 3
    first = answer["tools"][0]
    assert (first["tool_id"], first["name"]) == ("shop/request_refund", "request_refund")
    assert first["parameters"]["properties"]
    assert answer["index"]["tools"] == 258
    assert answer["timing_ms"]["total"] > 0


def test_five_tools_unless_told_otherwise(server: Server) -> None:
    assert len(server.ask("/retrieve", {"query": "refund"}).json["tools"]) == 5
    assert len(server.ask("/retrieve", {"query": "refund", "k": 100}).json["tools"]) == 100


def test_several_queries_are_answered_as_one_by_one(server: Server) -> None:
    texts = ["refund order 8841", "will it rain in Kyoto", "明日の天気は？"]
    batch = server.ask("/retrieve", {"queries": texts, "k": 4}).json
    assert list(batch) == ["results"]
    single = [server.ask("/retrieve", {"query": text, "k": 4}).json for text in texts]
    for answer in [*batch["results"], *single]:
        del answer["timing_ms"], answer["request_id"]
    assert batch["results"] == single


@pytest.mark.parametrize(
    "text", ["明日の東京の天気は？", "какая завтра погода в Москве", "明天北京会下雨吗", "✈️🏨", "ａｂｃ", "x", "\u202e"]
)
def test_any_script_gets_an_answer(server: Server, text: str) -> None:
    reply = server.ask("/retrieve", {"query": text})
    assert reply.status == 200
    assert len(reply.json["tools"]) == 5


def test_a_named_tool_comes_first(server: Server) -> None:
    assert (
        server.ask("/retrieve", {"query": "please call shop/cancel_order"}).json["tools"][0]["tool_id"]
        == "shop/cancel_order"
    )


def test_a_query_longer_than_the_encoder_reads_says_so(server: Server) -> None:
    answer = server.ask("/retrieve", {"query": "refund my order " * 200}).json
    assert [entry["reason"] for entry in answer["degraded"]] == ["query_truncated"]
    assert "first 128 tokens" in answer["degraded"][0]["detail"]
    assert len(answer["tools"]) == 5


def test_asking_for_a_rewrite_where_there_is_no_rewriter_says_so(server: Server) -> None:
    assert [e["reason"] for e in server.ask("/retrieve", {**REFUND, "rewrite": "always"}).json["degraded"]] == [
        "no_rewriter"
    ]
    assert server.ask("/retrieve", {**REFUND, "rewrite": "auto"}).json["degraded"] == []


def problem(reply: Reply, status: int) -> Any:
    """Check that a reply is problem details (RFC 9457) without anything of our code in it."""
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    content = reply.json
    assert content["status"] == status
    assert content["type"] == "about:blank"
    assert content["title"]
    assert content["detail"]
    assert "Traceback" not in reply.body.decode()
    assert "pydantic" not in reply.body.decode()
    return content


INVALID: dict[str, tuple[Any, str]] = {
    "no field": ({}, "query"),
    "empty query": ({"query": ""}, "query"),
    "blank query": ({"query": " \n\t"}, "query"),
    "100,000 characters": ({"query": "x" * 100_000}, "query"),
    "query is null": ({"query": None}, "query"),
    "query is a number": ({"query": 5}, "query"),
    "query is a list": ({"query": ["a"]}, "query"),
    "query is an object": ({"query": {"text": "a"}}, "query"),
    "query is true": ({"query": True}, "query"),
    "k is 0": ({"query": "a", "k": 0}, "k"),
    "k is negative": ({"query": "a", "k": -1}, "k"),
    "k is 101": ({"query": "a", "k": 101}, "k"),
    "k is huge": ({"query": "a", "k": 10**30}, "k"),
    "k is a text": ({"query": "a", "k": "5"}, "k"),
    "k is a fraction": ({"query": "a", "k": 2.5}, "k"),
    "k is true": ({"query": "a", "k": True}, "k"),
    "k is null": ({"query": "a", "k": None}, "k"),
    "unknown field": ({"query": "a", "top_k": 5}, "top_k"),
    "misspelled field": ({"qeury": "a"}, "qeury"),
    "unknown rewrite": ({"query": "a", "rewrite": "maybe"}, "rewrite"),
    "rewrite is a truth value": ({"query": "a", "rewrite": False}, "rewrite"),
    "both": ({"query": "a", "queries": ["b"]}, "query"),
    "no queries": ({"queries": []}, "queries"),
    "queries are a text": ({"queries": "abc"}, "queries"),
    "one query is empty": ({"queries": ["a", ""]}, "queries.1"),
    "one query is a number": ({"queries": ["a", 1]}, "queries.1"),
    "101 queries": ({"queries": ["a"] * 101}, "queries"),
    "a batch of too many characters": ({"queries": ["x" * 9_000] * 12}, "queries"),
    "a batch of too many tools": ({"queries": ["a"] * 30, "k": 100}, "queries"),
    "a list": ([REFUND], "body"),
    "a text": ("refund", "body"),
    "a number": (1, "body"),
    "null": (b"null", "body"),
    "not a number as k": (b'{"query": "a", "k": NaN}', "k"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_field_is_named(server: Server, case: str) -> None:
    body, field = INVALID[case]
    content = problem(server.ask("/retrieve", body if isinstance(body, bytes) else json.dumps(body).encode()), 422)
    assert field in [entry["field"] for entry in content["errors"]]
    assert all(entry["message"] for entry in content["errors"])
    assert len(json.dumps(content)) < 2000, "the request is not sent back"


BROKEN = {
    "empty body": b"",
    "cut off": b'{"query": "a"',
    "words": b"refund order 8841",
    "single quotes": b"{'query': 'a'}",
    "two documents": b'{"query": "a"}{"query": "b"}',
    "not UTF-8": b'{"query": "caf\xe9"}',
    "UTF-16": '{"query": "a"}'.encode("utf-16"),
    "half a surrogate": b'{"query": "\\ud800"}',
    "nested too deeply": b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "zero byte": b'{"query": "a"}\0',
    "form": b"query=a&k=5",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_body_that_is_no_json_is_refused(server: Server, case: str) -> None:
    assert "no valid JSON" in problem(server.ask("/retrieve", BROKEN[case]), 400)["detail"]


def test_a_query_with_a_zero_character_is_a_query(server: Server) -> None:
    assert server.ask("/retrieve", b'{"query": "refund\\u0000order"}').status == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""]
)
def test_another_content_type_is_refused(server: Server, content_type: str) -> None:
    detail = problem(server.ask("/retrieve", REFUND, content_type=content_type), 415)["detail"]
    assert "Content-Type: application/json" in detail


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"]
)
def test_json_by_any_name_is_read(server: Server, content_type: str) -> None:
    assert server.ask("/retrieve", REFUND, content_type=content_type).status == 200


@pytest.mark.parametrize(
    "path", ["/page", "/retrieve/", "/tool", "/%2e%2e/etc/passwd", "/retrieve%00", "/r%C3%A9ponse", "/%ff"]
)
def test_an_unknown_path_is_refused(server: Server, path: str) -> None:
    assert problem(server.ask(path), 404)["instance"]


def test_wrong_methods_name_the_right_ones(server: Server) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        reply = server.ask("/retrieve", REFUND if method != "GET" else None, method=method)
        problem(reply, 405)
        assert "POST" in reply.headers["Allow"]
    assert "GET" in server.ask("/healthz", REFUND).headers["Allow"]


def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    problem(server.ask("/retrieve", json.dumps({"query": "x" * 3_000_000}).encode()), 413)
    assert server.ask("/retrieve", REFUND).status == 200


def test_a_client_that_goes_on_sending_reads_why_its_body_was_refused(server: Server) -> None:
    head = b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
    with socket.create_connection(server.address, timeout=30) as client:
        client.sendall(head)
        time.sleep(0.3)  # the refusal is on its way
        for _ in range(30):
            client.sendall(b"x" * 100_000)
        assert client.recv(12) == b"HTTP/1.1 413"


def test_health_and_readiness(server: Server) -> None:
    assert server.ask("/healthz").json == {"status": "ok"}
    ready = server.ask("/readyz").json
    assert ready["status"] == "ready"
    assert ready["index"]["tools"] == 258
