"""The answer people need, over HTTP: vendors' shapes, conversations, filters, budgets, as many as are enough, and why."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import ToolParam, ToolReferenceBlockParam
from mcp.types import Tool as MCPTool
from openai.types.chat import ChatCompletionFunctionToolParam
from openai.types.responses import FunctionToolParam, ResponseToolSearchOutputItemParamParam
from pydantic import TypeAdapter

from qta.conversation import leans
from tests.conftest import Finished, Server
from tests.service.test_retrieve import problem

SHAPES: dict[str, Any] = {
    "openai": ChatCompletionFunctionToolParam,
    "openai_responses": FunctionToolParam,
    "anthropic": ToolParam,
    "tool_reference": ToolReferenceBlockParam,
    "mcp": MCPTool,
}
REFUND = {"query": "refund a captured payment and order 8841", "k": 6}


def ask(server: Server, **body: Any) -> Any:
    reply = server.ask("/retrieve", body)
    assert reply.status == 200, reply.body
    return reply.json


def ids(answer: Any) -> list[str]:
    return [tool["tool_id"] for tool in answer.get("ranking", answer["tools"])]


def reasons(answer: Any) -> list[str]:
    return [entry["reason"] for entry in answer["degraded"]]


@pytest.mark.parametrize("format", SHAPES)
def test_tools_are_in_the_vendors_shape(server: Server, format: str) -> None:
    answer, native = ask(server, **REFUND, format=format), ask(server, **REFUND)
    for one in answer["tools"]:
        TypeAdapter(SHAPES[format]).validate_python(one, strict=format != "mcp")
    assert ids(answer) == ids(native)
    assert [(at["score"], at["rank"]) for at in answer["ranking"]] == [
        (at["score"], at["rank"]) for at in native["tools"]
    ]
    assert list(answer["names"].values()) == ids(answer), "payments/... are named like addresses, which is mapped"
    shown = [one.get("function", one).get("name", one.get("tool_name")) for one in answer["tools"]]
    assert list(answer["names"]) == shown


def test_names_are_left_out_where_each_is_the_tools_own(server: Server) -> None:
    answer = ask(server, query="refund order 8841", k=5, format="openai", filter={"sources": ["shop"]})
    assert "names" not in answer
    assert "shop/" + answer["tools"][0]["function"]["name"] == ids(answer)[0]


def test_a_tool_search_of_openai_is_answered(server: Server) -> None:
    item = ask(server, **REFUND, format="tool_search_output", call_id="call_7")["tools"]
    TypeAdapter(ResponseToolSearchOutputItemParamParam).validate_python(item)
    assert (item["type"], item["call_id"], len(item["tools"])) == ("tool_search_output", "call_7", 6)


def test_as_much_detail_as_is_asked_for(server: Server) -> None:
    for detail, fields in (
        ("name", ["tool_id", "name"]),
        ("description", ["tool_id", "name", "description"]),
        ("full", ["tool_id", "name", "description", "parameters"]),
    ):
        assert list(ask(server, **REFUND, detail=detail)["tools"][0]) == [*fields, "score", "rank"]


OPENAI = [
    {"role": "system", "content": "You are a household assistant."},
    {"role": "user", "content": "what is the weather in Kyoto tomorrow?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "x"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "Rain."},
    {"role": "assistant", "content": "It will rain."},
    {"role": "user", "content": [{"type": "text", "text": "and in Osaka?"}]},
]
ANTHROPIC = [
    {"role": "user", "content": "what is the weather in Kyoto tomorrow?"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "x", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "Rain. Refund the order."}]},
    {"role": "assistant", "content": "It will rain."},
    {"role": "user", "content": [{"type": "text", "text": "and in Osaka?"}, {"type": "image", "source": {}}]},
]


@pytest.mark.parametrize("messages", [OPENAI, ANTHROPIC])
def test_a_conversation_is_answered_by_its_last_turn_and_what_that_leans_on(server: Server, messages: Any) -> None:
    answer = ask(server, messages=messages, k=3)
    assert answer["query"] == "and in Osaka?\nwhat is the weather in Kyoto tomorrow?"
    assert "weather" in ids(answer)[0]


LEANING = [
    "do it again for Bob",
    "and in Lyon?",
    "refund this on Friday",
    "ok",
    "send the same one to Ada too please",
    "Yes, go ahead and book",
    "Could you please also do that for Bob and Alice?",
    "那明天呢？",
    "再来一次吧",
    "给鲍勃也发一份",
    "もう一度やって",
    "それをボブに送って",
]
COMPLETE = [
    "what's the weather in Oslo this weekend?",
    "Please schedule a meeting with Bob tomorrow at 10",
    "奥斯陆明天天气怎么样",
    "请把这份PDF文件转换成Word文档",
    "I want that refunded to my old card instead of the new one, which has expired by now",
]


def test_a_turn_that_says_everything_does_not_lean() -> None:
    assert [turn for turn in [*LEANING, *COMPLETE] if leans(turn)] == LEANING


def test_conversations_and_texts_are_answered_in_one_batch(server: Server) -> None:
    batch = ask(server, queries=[{"messages": OPENAI}, "refund order 8841", {"messages": ANTHROPIC}], k=3)["results"]
    alone = [ask(server, messages=OPENAI, k=3), ask(server, query="refund order 8841", k=3)]
    assert [one["query"] for one in batch] == [one["query"] for one in (*alone, alone[0])]
    assert [ids(one) for one in batch] == [ids(one) for one in (*alone, alone[0])]


def test_a_new_topic_leaves_the_old_one_behind(server: Server) -> None:
    turn = {"role": "user", "content": "cancel order 8841 before the warehouse packs"}
    answer = ask(server, messages=[*OPENAI, turn])
    assert answer["query"] == turn["content"]
    assert ids(answer)[0] == "shop/cancel_order"


def test_filters(server: Server) -> None:
    shop = ask(server, query="send a mail", filter={"sources": ["shop"]})
    assert {one.partition("/")[0] for one in ids(shop)} == {"shop"}
    without = ask(server, query="cancel order 8841", filter={"exclude": ["shop/cancel_order"]})
    assert "shop/cancel_order" not in ids(without)
    only = ask(server, query="cancel order 8841", filter={"include": ["mail/search_messages", "shop/cancel_order"]})
    assert sorted(ids(only)) == ["mail/search_messages", "shop/cancel_order"]
    assert shop["degraded"] == without["degraded"] == only["degraded"] == []


def test_a_filter_that_names_nothing_says_so(server: Server) -> None:
    wanted = {"tags": ["nothing"], "sources": ["shop", "nowhere"], "exclude": ["x/y"], "namespaces": ["team-z"]}
    answer = ask(server, query="cancel order 8841", filter=wanted)
    assert answer["tools"] == []
    assert reasons(answer) == ["filter_unknown", "filter_leaves_nothing"]
    for named in ("tag 'nothing'", "source 'nowhere'", "tool 'x/y'", "namespace 'team-z'"):
        assert named in answer["degraded"][0]["detail"]
    assert "'shop'" not in answer["degraded"][0]["detail"]
    half = ask(server, query="cancel order 8841", filter={"sources": ["shop", "nowhere"]})
    assert len(half["tools"]) == 5
    assert reasons(half) == ["filter_unknown"]


def test_tools_that_are_always_wanted_come_whatever_the_request(server: Server) -> None:
    always = ["mail/search_messages", "shop/cancel_order"]
    answer = ask(server, query="will it rain in Kyoto", k=3, always=always, filter={"exclude": ["files/x"]})
    assert set(always) <= set(ids(answer))
    assert len(ids(answer)) == 3
    beside = ask(server, query="will it rain", k=3, always=["mail/search_messages"], filter={"sources": ["shop"]})
    assert ids(beside)[-1] == "mail/search_messages", "a filter does not take it away"
    wanted = {"sources": ["shop"], "exclude": ["shop/cancel_order"]}
    told = ask(server, query="will it rain", k=2, always=["mail/search_messages"], filter=wanted, explain=True)
    found, pinned = (tool["why"] for tool in told["tools"])
    assert found["filter"] == ["sources", "exclude"]
    assert (pinned["always"], "filter" in pinned) == (True, False), "it did not pass"
    excluded = {"exclude": ["mail/search_messages"]}
    lost = ask(server, query="will it rain", always=["mail/search_messages", "mail/nothing"], filter=excluded)
    assert "mail/search_messages" not in ids(lost)
    assert reasons(lost) == ["always_unknown"]


def test_why_each_tool_is_there(server: Server) -> None:
    wanted = {"sources": ["shop", "mail"]}
    query = "use shop/cancel_order, and then announce that the items of my delivered order are sent back"
    answer = ask(server, query=query, explain=True, k=8, filter=wanted, always=["mail/search_messages"])
    why = {tool["tool_id"]: tool["why"] for tool in answer["tools"]}
    assert why["shop/cancel_order"]["named"] is True
    assert why["shop/list_orders"]["provides_for"] in why
    assert why["mail/search_messages"]["always"] is True
    assert all(reasons["filter"] == ["sources"] for reasons in why.values())
    assert all({"meaning", "words"} <= set(why[one]) for one in why if one != "mail/search_messages")
    several = "rank the songs of my playlist by year. Then book the early train to Lille for two people"
    assert any("clause" in tool["why"] for tool in ask(server, query=several, explain=True, k=8)["tools"])
    vendor = ask(server, query=query, explain=True, format="anthropic")
    assert all("why" in at for at in vendor["ranking"])
    assert all("why" not in tool for tool in vendor["tools"]), "they go to the vendor"


def test_everything_together_and_in_batches(server: Server) -> None:
    together = {
        "format": "anthropic",
        "k": "auto",
        "filter": {"sources": ["shop", "mail"], "exclude": ["shop/cancel_order"]},
        "always": ["mail/search_messages"],
        "token_budget": 2000,
        "explain": True,
    }
    texts = ["cancel order 8841", "send Ann the invoice by mail"]
    batch = ask(server, queries=texts, **together)["results"]
    single = [ask(server, query=text, **together) for text in texts]
    for answer in (*batch, *single):
        del answer["timing_ms"], answer["request_id"]
    assert batch == single
    for answer in batch:
        assert "mail/search_messages" in ids(answer)
        assert "shop/cancel_order" not in ids(answer)
        assert answer["tokens"] <= 2000
        assert 0 < answer["confidence"] <= 0.9


Q = {"query": "a"}
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "k is a word": ({**Q, "k": "many"}, "k"),
    "k is a list": ({**Q, "k": ["auto"]}, "k"),
    "unknown format": ({**Q, "format": "xml"}, "format"),
    "format is null": ({**Q, "format": None}, "format"),
    "unknown detail": ({**Q, "detail": "some"}, "detail"),
    "detail of a vendor's shape": ({**Q, "detail": "name", "format": "openai"}, "detail"),
    "call_id without a call": ({**Q, "call_id": "c"}, "call_id"),
    "call_id is a number": ({**Q, "call_id": 1, "format": "tool_search_output"}, "call_id"),
    "messages are a text": ({"messages": "a"}, "messages"),
    "no messages": ({"messages": []}, "messages"),
    "a message is a text": ({"messages": ["a"]}, "messages.0"),
    "content is a number": ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    "a block is a text": ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0.content"),
    "role is null": ({"messages": [{"role": None, "content": "a"}]}, "messages.0.role"),
    "nobody asks": ({"messages": [{"role": "assistant", "content": "a"}]}, "messages"),
    "nothing is asked": ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    "messages and query": ({**Q, "messages": [{"role": "user", "content": "a"}]}, "query"),
    "nobody asks in a batch": (
        {"queries": ["a", {"messages": [{"role": "system", "content": "a"}]}]},
        "queries.1.messages",
    ),
    "no messages in a batch": ({"queries": ["a", {"messages": []}]}, "queries.1"),
    "messages of a batch are a text": ({"queries": [{"messages": "a"}]}, "queries.0"),
    "bare messages in a batch": ({"queries": [[{"role": "user", "content": "a"}]]}, "queries.0"),
    "another field in a batch": (
        {"queries": ["a", {"messages": [{"role": "user", "content": "a"}], "k": 3}]},
        "queries.1",
    ),
    "a query in a batch": ({"queries": [{"query": "a"}]}, "queries.0"),
    "conversations of too many characters": (
        {"queries": [{"messages": [{"role": "user", "content": "x" * 9_000}]}] * 12},
        "queries",
    ),
    "filter is a list": ({**Q, "filter": []}, "filter"),
    "unknown facet": ({**Q, "filter": {"tag": ["a"]}}, "filter.tag"),
    "tags are a text": ({**Q, "filter": {"tags": "a"}}, "filter.tags"),
    "a source is null": ({**Q, "filter": {"sources": [None]}}, "filter.sources.0"),
    "namespaces are an object": ({**Q, "filter": {"namespaces": {}}}, "filter.namespaces"),
    "1001 ids": ({**Q, "filter": {"include": ["a"] * 1001}}, "filter.include"),
    "a long id": ({**Q, "filter": {"exclude": ["a" * 1001]}}, "filter.exclude.0"),
    "always is a text": ({**Q, "always": "a"}, "always"),
    "101 always": ({**Q, "always": ["a"] * 101}, "always"),
    "always a number": ({**Q, "always": [1]}, "always.0"),
    "budget is 0": ({**Q, "token_budget": 0}, "token_budget"),
    "budget is huge": ({**Q, "token_budget": 10**9}, "token_budget"),
    "budget is a text": ({**Q, "token_budget": "100"}, "token_budget"),
    "explain is a number": ({**Q, "explain": 1}, "explain"),
    "a batch of too many tokens": ({"queries": ["a"] * 9, "token_budget": 50_000}, "queries"),
    "a batch of too many automatic tools": ({"queries": ["a"] * 21, "k": "auto"}, "queries"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_field_is_named(server: Server, case: str) -> None:
    body, field = INVALID[case]
    content = problem(server.ask("/retrieve", body), 422)
    assert field in [entry["field"] for entry in content["errors"]]
    assert len(os.fsencode(json.dumps(content))) < 2000, "the request is not sent back"


def test_the_command_line_gives_the_same(cli: Callable[..., Finished], sample_folder: Path) -> None:
    shown = cli("retrieve", "refund order 8841", "--index", sample_folder, "--format", "openai", "-k", 1)
    [tool] = json.loads(shown.out)
    TypeAdapter(ChatCompletionFunctionToolParam).validate_python(tool, strict=True)
    shop = cli("retrieve", "send a mail", "--index", sample_folder, "--source", "shop", "--explain", "-k", "auto")
    assert all(" shop/" in line for line in shop.out.splitlines()[::2])
    assert "meaning" in shop.out.splitlines()[1]
    assert "note: " in shop.err
    fitted = cli("retrieve", "refund order 8841", "--index", sample_folder, "--budget", 700, "--json")
    assert json.loads(fitted.out)["tokens"] <= 700
    names = cli("retrieve", "refund order 8841", "--index", sample_folder, "--detail", "name")
    assert [list(tool)[:2] for tool in json.loads(names.out)] == [["tool_id", "name"]] * 5
