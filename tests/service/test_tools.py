"""`/tools` on a real server: what is put is found and listed, what is refused changes nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mtrb.identifiers import make_tool_id
from tests.conftest import Server, serving
from tests.service.test_retrieve import problem


@pytest.fixture(scope="module")
def server(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a copy, since these tests change it."""
    folder = shutil.copytree(sample_folder, tmp_path_factory.mktemp("tools") / "index")
    with serving(folder, "--workers", "1") as running:
        yield running


def put(server: Server, *records: Any, **more: Any) -> Any:
    reply = server.ask("/tools", {"tools": records, **more}, "PUT")
    assert reply.status == 200, reply.body
    return reply.json


def get(server: Server, tool_id: str) -> Any:
    return server.ask("/tools/" + quote(tool_id, safe="")).json


def count(server: Server) -> int:
    return int(server.ask("/readyz").json["index"]["tools"])


FEED = {
    "id": "zoo/feed",
    "name": "feed_animals",
    "description": "Feed the animals of the zoo.",
    "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}},
    "tags": ["zoo"],
    "source": "zoo",
}


def test_a_tool_lives_changes_and_goes(server: Server) -> None:
    before = count(server)
    first = put(server, FEED)
    assert [first[key] for key in ("added", "changed", "unchanged", "ids")] == [1, 0, 0, ["zoo/feed"]]
    assert get(server, "zoo/feed") == FEED
    asked = {"query": "give the tigers their food", "k": 1}
    assert server.ask("/retrieve", asked).json["tools"][0]["tool_id"] == "zoo/feed"
    assert count(server) == before + 1

    changed = {**FEED, "description": "Stops the ski lift when the wind is too strong."}
    second = put(server, changed)
    assert [second[key] for key in ("added", "changed", "unchanged")] == [0, 1, 0]
    assert second["revision"] > first["revision"]
    assert server.ask("/retrieve", {"query": "halt the ski lift", "k": 1}).json["tools"][0]["tool_id"] == "zoo/feed"
    again = put(server, changed)
    assert [again[key] for key in ("added", "changed", "unchanged")] == [0, 0, 1]
    assert again["revision"] == second["revision"]

    gone = server.ask("/tools/zoo/feed", method="DELETE").json
    assert gone["removed"] == 1
    assert gone["revision"] > second["revision"]
    assert "zoo/feed" not in str(server.ask("/retrieve", {**asked, "k": 100}).json["tools"])
    problem(server.ask("/tools/zoo/feed"), 404)
    problem(server.ask("/tools/zoo/feed", method="DELETE"), 404)
    assert count(server) == before


def test_every_vendors_shape_is_taken(server: Server) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    about = {"name": "w", "description": "Weather of a city."}
    answer = put(
        server,
        {**about, "name": "w_native", "parameters": schema},
        {"type": "function", "function": {**about, "name": "w_chat", "parameters": schema}},
        {"type": "function", **about, "name": "w_responses", "parameters": schema},
        {"type": "namespace", "name": "space", "tools": [{"type": "function", **about, "name": "w", "parameters": schema}]},
        {**about, "name": "w_anthropic", "input_schema": schema},
        {**about, "name": "w_mcp", "inputSchema": schema},
        source="shapes",
    )  # fmt: skip
    ids = ["shapes/w_native", "shapes/w_chat", "shapes/w_responses", "space/w", "shapes/w_anthropic", "shapes/w_mcp"]
    assert answer["ids"] == ids
    for tool_id in ids:
        tool = get(server, tool_id)
        assert (tool["parameters"], tool["description"]) == (schema, "Weather of a city.")
    assert server.ask("/tools", {"ids": [*ids, "shapes/none"]}, "DELETE").json["missing"] == ["shapes/none"]
    assert server.ask("/tools?prefix=shapes/").json["total"] == 0


def test_a_namespace_is_part_of_the_id(server: Server) -> None:
    own = {"id": "@team-a/mail/fetch", "name": "fetch", "source": "mail"}
    answer = put(server, {"name": "send"}, own, source="mail", namespace="team-a")
    assert answer["ids"] == ["@team-a/mail/send", "@team-a/mail/fetch"]
    assert get(server, "@team-a/mail/send")["source"] == "mail"
    listed = server.ask("/tools?namespace=team-a").json
    assert [tool["id"] for tool in listed["tools"]] == ["@team-a/mail/fetch", "@team-a/mail/send"]
    assert "@team-a" not in str(server.ask("/tools?namespace=&limit=1000").json)
    other = server.ask("/tools", {"tools": [{**own, "id": "@team-b/x"}], "namespace": "team-a"}, "PUT")
    assert "another namespace" in problem(other, 422)["errors"][0]["message"]
    assert server.ask("/tools", {"ids": answer["ids"]}, "DELETE").json["removed"] == 2


STRANGE = [
    ("api", "GET /movie/{movie_id}"),
    ("api", "100%"),
    ("api", "%2F"),
    ("api", "/leading//and/double/"),
    ("", "/rooted"),
    ("näme", "größe 大小"),
    ("api", "a?b#c&d=e+f"),
    ("api", "..//./x"),
    ("@team", "x"),
]


@pytest.mark.parametrize(("source", "name"), STRANGE)
def test_any_id_can_be_addressed(server: Server, source: str, name: str) -> None:
    tool_id = make_tool_id(source, name)
    assert put(server, {"name": name, "description": "Strange."}, source=source)["ids"] == [tool_id]
    assert get(server, tool_id)["name"] == name
    assert server.ask("/tools/" + quote(tool_id, safe=""), method="DELETE").json["removed"] == 1
    problem(server.ask("/tools/" + quote(tool_id, safe="")), 404)


def test_an_id_can_be_pasted_into_an_address(server: Server) -> None:
    [tool_id] = put(server, {"name": "GET /movie/{id}"}, source="films")["ids"]
    assert tool_id == "films/GET%20/movie/%7Bid%7D"
    assert server.ask("/tools/" + tool_id).json["id"] == tool_id
    assert server.ask("/tools/" + tool_id, method="DELETE").json["removed"] == 1


def test_an_id_that_is_gone_does_not_stand_for_a_similar_one(server: Server) -> None:
    put(server, {"name": "a%20b"})
    assert get(server, "a%2520b")["name"] == "a%20b"
    problem(server.ask("/tools/" + quote("a%20b", safe=""), method="DELETE"), 404)
    assert server.ask("/tools/a%252520b", method="DELETE").json["removed"] == 1


def test_pages_hold_every_tool_once_whatever_happens_between_them(server: Server) -> None:
    everything = server.ask("/tools?limit=1000").json
    assert everything["next"] is None
    ids = [tool["id"] for tool in everything["tools"]]
    assert ids == sorted(ids)
    assert len(ids) == everything["total"] == count(server)
    seen: list[str] = []
    after = ""
    while after is not None:
        page = server.ask(f"/tools?limit=60&after={quote(after, safe='')}").json
        assert page["total"] == everything["total"]
        seen += [tool["id"] for tool in page["tools"]]
        after = page["next"]
        if after:  # that the last tool of a page goes does not lose the ones behind it
            record = page["tools"][-1]
            server.ask("/tools", {"ids": [after]}, "DELETE")
            follower = server.ask(f"/tools?limit=1&after={quote(after, safe='')}").json["tools"][0]["id"]
            put(server, record)
            assert follower == ids[len(seen)]
    assert seen == ids


def test_a_list_is_narrowed(server: Server) -> None:
    def ids(query: str) -> list[str]:
        return [tool["id"] for tool in server.ask("/tools?" + query).json["tools"]]

    shop = ids("prefix=shop/")
    assert "shop/request_refund" in shop
    assert all(tool_id.startswith("shop/") for tool_id in shop)
    assert ids("search=REFUND&prefix=shop/") == [tool_id for tool_id in shop if "refund" in tool_id]
    assert ids("search=no-such-tool") == []
    assert ids("prefix=shop/&limit=2") == shop[:2]


WRONG: dict[str, tuple[Any, str, str]] = {
    "no name": ({"tools": [FEED, {"description": "x"}]}, "tools.1", "name is missing"),
    "name is a number": ({"tools": [FEED, {"name": 5}]}, "tools.1", "name must be a text"),
    "no object": ({"tools": [FEED, "send_mail"]}, "tools.1", "must be an object"),
    "bad schema": (
        {"tools": [FEED, {"name": "x", "parameters": {"type": "object", "properties": {"a": {"type": "stirng"}}}}]},
        "tools.1",
        "parameters are no valid JSON Schema",
    ),
    "hosted": ({"tools": [{"type": "web_search"}, FEED]}, "tools.0", "name is missing"),
    "tags are a text": ({"tools": [{"name": "x", "tags": "a"}]}, "tools.0", "tags must be a list"),
    "one id twice": ({"tools": [FEED, FEED]}, "tools.1", "id 'zoo/feed' of tools.0"),
    "an empty namespace of tools": ({"tools": [FEED, {"type": "namespace", "name": "n", "tools": []}]}, "tools.1", "holds no tools"),
    "nothing": ({"tools": []}, "tools", "at least 1"),
    "too many": ({"tools": [{"name": f"t{n}"} for n in range(1001)]}, "tools", "at most 1000"),
    "too many in a namespace": (
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"name": f"t{n}"} for n in range(1001)]}]},
        "tools",
        "1,001 tools; at most 1,000",
    ),
    "no list": ({"tools": FEED}, "tools", "array"),
    "unknown field": ({"tools": [FEED], "sauce": "x"}, "sauce", "Extra inputs"),
    "namespace with a slash": ({"tools": [FEED], "namespace": "a/b"}, "namespace", "pattern"),
    "no body": ({}, "tools", "required"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_one_invalid_record_and_nothing_is_written(server: Server, case: str) -> None:
    body, field, message = WRONG[case]
    before = server.ask("/readyz").json["index"]["revision"]
    errors = problem(server.ask("/tools", body, "PUT"), 422)["errors"]
    assert [entry["field"] for entry in errors] == [field]
    assert message in errors[0]["message"]
    assert server.ask("/readyz").json["index"]["revision"] == before
    assert server.ask("/tools/zoo/feed").status == 404


def test_all_invalid_records_are_named(server: Server) -> None:
    errors = problem(server.ask("/tools", {"tools": [{}, FEED, 5, {"name": ""}]}, "PUT"), 422)["errors"]
    assert [entry["field"] for entry in errors] == ["tools.0", "tools.2", "tools.3"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("page=2", "page"),
        ("namespace=a/b", "namespace"),
    ],
)
def test_an_invalid_list_is_refused(server: Server, query: str, field: str) -> None:
    assert problem(server.ask("/tools?" + query), 422)["errors"][0]["field"] == field


def test_other_wrong_ways_to_ask(server: Server) -> None:
    problem(server.ask("/tools", b"{", "PUT"), 400)
    problem(server.ask("/tools", {"tools": [FEED]}, "PUT", content_type="text/plain"), 415)
    problem(server.ask("/tools", {"tools": [{**FEED, "description": "x" * 3_000_000}]}, "PUT"), 413)
    problem(server.ask("/tools", {"ids": []}, "DELETE"), 422)
    problem(server.ask("/tools", {"ids": [5]}, "DELETE"), 422)
    assert "PUT" in server.ask("/tools", FEED).headers["Allow"]
    problem(server.ask("/tools/"), 404)


def test_a_thousand_tools_at_once(server: Server) -> None:
    records = [{"name": f"pump_{n}", "description": f"Start pump {n} of the plant."} for n in range(1000)]
    assert put(server, *records, source="plant")["added"] == 1000
    found = server.ask("/retrieve", {"query": "start pump_777", "k": 1}).json["tools"][0]["tool_id"]
    assert found == "plant/pump_777"
    ids = [f"plant/pump_{n}" for n in range(1000)]
    assert server.ask("/tools", {"ids": ids}, "DELETE").json["removed"] == 1000
