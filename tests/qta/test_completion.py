"""Completion: whoever needs an id brings along who provides it."""

from pathlib import Path

import numpy as np
import pytest

from mtrb.benchmarks import load
from mtrb.errors import ArtefactError
from mtrb.types import Query, Tool, Toolset
from qta.completion import CompletionRule, Providers
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever, Stages
from qta.index import ToolIndex, build_in_memory


def needing(name: str, *parameters: str, source: str = "s", tags: tuple[str, ...] = ()) -> Tool:
    schema = {"type": "object", "properties": {parameter: {} for parameter in parameters}, "required": list(parameters)}
    return Tool(f"{source}/{name}", name, f"{name}.", schema if parameters else {}, tags, source)


def providers(*tools: Tool) -> dict[str, list[list[str]]]:
    """Return who provides what each tool needs, by name."""
    known = Providers(tools)
    found = {tool.name: known.needs(tool) for tool in tools}
    return {
        name: [[tools[one.position].name for one in group] for group in needs] for name, needs in found.items() if needs
    }


@pytest.mark.parametrize(
    ("name", "parameters", "provider"),
    [
        ("cancel_order", ["order_id"], "search_orders"),
        ("cancelOrder", ["orderId"], "listOrders"),
        ("GET /movie/{movie_id}/credits", [], "GET /search/movie"),
        ("DELETE /v2/orders/{id}", [], "GET /v2/orders"),
        ("StopInstance", ["InstanceId"], "DescribeInstances"),
        ("add_agenda", ["token"], "get_user_token"),
        ("move", ["list_ids"], "find_lists"),
        ("tag", ["category_key"], "list_categories"),
    ],
)
def test_a_need_is_met_by_the_tool_that_looks_the_thing_up(name: str, parameters: list[str], provider: str) -> None:
    found = providers(needing(name, *parameters), needing(provider), needing("send_mail", "text"))
    assert found == {name: [[provider]]}


@pytest.mark.parametrize(
    "parameter", ["page_token", "nextToken", "client_request_token", "idempotency_key", "sort_key"]
)
def test_what_nobody_provides_is_no_need(parameter: str) -> None:
    assert providers(needing("list_topics", parameter), needing("get_access_token"), needing("list_sort_orders")) == {}


@pytest.mark.parametrize("parameter", ["page_access_token", "request_token", "api_key"])
def test_what_only_sounds_like_that_is_a_need(parameter: str) -> None:
    assert providers(needing("list_topics", parameter), needing("get_access_token"), needing("list_apis"))[
        "list_topics"
    ]


def test_who_needs_the_id_itself_is_no_provider() -> None:
    assert providers(needing("get_order", "order_id"), needing("list_order_items", "order_id")) == {}


def test_a_word_alone_is_no_need() -> None:
    assert providers(needing("pay", "order", "id", "monkey"), needing("list_orders")) == {}


def test_an_optional_parameter_is_no_need_where_others_are_required() -> None:
    tool = Tool("s/a", "a", "", {"properties": {"x": {}, "order_id": {}}, "required": ["x"]}, (), "s")
    assert providers(tool, needing("list_orders")) == {}


@pytest.mark.parametrize(
    ("schema", "needed"),
    [
        ({"properties": {"order_id": {}}}, True),  # as many write it who mean nothing by it
        ({"properties": {"order_id": {}}, "required": None}, True),
        ({"properties": {"order_id": {}}, "required": []}, False),
    ],
)
def test_all_parameters_count_only_where_nothing_is_said_of_what_is_required(
    schema: dict[str, object], needed: bool
) -> None:
    tool = Tool("s/a", "a", "", schema, (), "s")
    assert bool(providers(tool, needing("list_orders"))) == needed


@pytest.mark.parametrize(
    "things",
    ["movies", "databases", "branches", "matches", "statuses", "cookies", "companies", "boxes", "addresses", "days"],
)
def test_a_plural_of_any_form_provides_the_id_of_one(things: str) -> None:
    one = {"movies": "movie", "cookies": "cookie", "databases": "database", "days": "day"}.get(
        things, things.removesuffix("ies") + "y" if things.endswith("ies") else things.removesuffix("es")
    )
    found = providers(needing(f"get_{one}_reviews", f"{one}_id"), needing(f"list_{things}"))
    assert found == {f"get_{one}_reviews": [[f"list_{things}"]]}


@pytest.mark.parametrize(
    ("parameter", "other"),
    [
        ("listing_id", "list_orders"),
        ("customer_id", "list_custom_fields"),
        ("product_id", "list_production_jobs"),
        ("operation_id", "list_operators"),
        ("plane_id", "list_plans"),
        ("author_id", "list_authorizations"),
    ],
)
def test_a_thing_is_not_provided_by_what_only_begins_like_it(parameter: str, other: str) -> None:
    assert providers(needing("open", parameter), needing(other)) == {}


@pytest.mark.parametrize("credential", ["token", "api_key", "public_key", "request_id", "client_id", "access_token"])
def test_what_lets_a_caller_in_is_not_taken_from_another_source(credential: str) -> None:
    named = credential.partition("_")[0] if not credential.endswith("token") else "token"
    elsewhere, own = needing(f"list_{named}s", source="other"), needing(f"list_{named}s", source="s")
    assert providers(needing("post", credential), elsewhere) == {}
    assert providers(needing("post", credential), elsewhere, own) == {"post": [[f"list_{named}s"]]}


def test_those_made_for_searching_come_first() -> None:
    found = providers(
        needing("cancel_order", "order_id"), needing("get_orders"), needing("list_orders"), needing("search_orders")
    )
    assert found == {"cancel_order": [["search_orders", "list_orders", "get_orders"]]}


def test_a_search_may_take_the_id_as_a_filter() -> None:
    search = Tool(
        "s/DescribeInstances", "DescribeInstances", "", {"properties": {"InstanceIds": {}, "Filters": {}}}, (), "s"
    )
    get = Tool("s/getInstance", "getInstance", "", {"properties": {"InstanceId": {}}}, (), "s")
    found = providers(needing("StopInstances", "InstanceIds"), search, get)
    assert found == {name: [["DescribeInstances"]] for name in ("StopInstances", "getInstance")}


def test_the_own_source_and_its_tags_are_preferred() -> None:
    shop, other = needing("list_orders", source="shop"), needing("find_order", source="kitchen")
    assert providers(needing("cancel_order", "order_id", source="shop"), other, shop) == {
        "cancel_order": [["list_orders"]]
    }
    assert providers(needing("cancel_order", "order_id", source="shop"), other) == {"cancel_order": [["find_order"]]}
    far, near = needing("list_orders", tags=("mail",)), needing("find_orders", tags=("shop", "x"))
    assert providers(needing("cancel_order", "order_id", tags=("shop",)), far, near) == {
        "cancel_order": [["find_orders"]]
    }
    assert providers(needing("cancel_order", "order_id", tags=("shop",)), far) == {}


def test_odd_schemas_do_no_harm() -> None:
    odd = [
        Tool("a", "a", "", {"properties": [], "required": "order_id"}),
        Tool("b", "b", "", {"required": [None, 5, ""]}),
        Tool("c", "{}/{_}/{id}", ""),
        Tool("d", "", ""),
    ]
    assert providers(*odd, needing("list_orders")) == {}
    assert providers() == {}


def test_providers_are_saved_and_loaded(tmp_path: Path) -> None:
    tools = load("sample").toolset
    known = Providers(tools)
    needs = [known.needs(tool) for tool in tools]
    assert sum(map(bool, needs)) > 50
    known.save(tmp_path)
    loaded = Providers.load(tmp_path)
    assert [loaded.needs(tool) for tool in tools] == needs
    for damaged in ("[[", "[]", '{"a": [1]}'):
        (tmp_path / "completion.json").write_text(damaged)
        with pytest.raises(ArtefactError, match="cannot be read"):
            Providers.load(tmp_path)


def test_providers_grow_with_the_catalogue() -> None:
    known, cancel = Providers(), needing("cancel_order", "order_id")
    known.add(0, cancel)
    assert known.needs(cancel) == []
    known.add(1, needing("list_orders"))
    assert [one.position for group in known.needs(cancel) for one in group] == [1]


SHOP = Toolset(
    [
        needing("cancel_order", "order_id", source="shop"),
        needing("search_orders", "text", source="shop"),
        *(needing(f"cancel_{thing}", source="shop") for thing in ("booking", "flight", "meeting", "subscription")),
    ]
)


def test_the_provider_comes_along(encoder: Encoder) -> None:
    index = build_in_memory(SHOP, encoder)
    query = [Query("q", "cancel the order of Mrs Smith")]
    plain = HybridRetriever(index, encoder, Stages()).retrieve(query, 6)["q"]
    completed = HybridRetriever(index, encoder, Stages(completion=CompletionRule())).retrieve(query, 6)["q"]
    assert "shop/search_orders" not in [scored.tool_id for scored in plain][:2]
    assert [scored.tool_id for scored in completed][:2] == ["shop/cancel_order", "shop/search_orders"]
    assert {scored.tool_id for scored in completed} == {scored.tool_id for scored in plain}


def test_a_tool_that_is_named_stays_first(encoder: Encoder) -> None:
    hybrid = HybridRetriever(build_in_memory(SHOP, encoder), encoder, Stages(completion=CompletionRule()))
    first = hybrid.retrieve([Query("q", "cancel_order of Mrs Smith")], 2)["q"]
    assert [scored.tool_id for scored in first] == ["shop/cancel_order", "shop/search_orders"]


def test_only_what_is_lifted_moves(sample_index: ToolIndex, encoder: Encoder) -> None:
    queries = load("sample", "validation").queries
    plain = HybridRetriever(sample_index, encoder, Stages()).retrieve(queries, 258)
    completed = HybridRetriever(sample_index, encoder, Stages(completion=CompletionRule())).retrieve(queries, 258)
    for query in queries:
        before = dict(plain[query.query_id])
        lifted = {tool_id for tool_id, score in completed[query.query_id] if score > before[tool_id] + 1e-6}
        assert all(score >= before[tool_id] - 1e-6 for tool_id, score in completed[query.query_id])
        rest = [scored.tool_id for scored in completed[query.query_id] if scored.tool_id not in lifted]
        assert rest == [scored.tool_id for scored in plain[query.query_id] if scored.tool_id not in lifted]


def test_a_provider_that_may_not_be_seen_does_not_hide_one_that_may(encoder: Encoder) -> None:
    tools = Toolset([*SHOP, needing("find_orders", "text", source="crm")])
    hybrid = HybridRetriever(build_in_memory(tools, encoder), encoder, Stages(completion=CompletionRule()))
    reading = hybrid.reader.read("cancel the order of Mrs Smith")

    def first(hidden: str | None) -> list[str]:
        mask = np.array([tool.tool_id != hidden for tool in tools])
        return [scored.tool_id for scored in hybrid.rank(reading, 2, mask)]

    assert first(None) == ["shop/cancel_order", "shop/search_orders"], "its own source is nearer"
    assert first("shop/search_orders") == ["shop/cancel_order", "crm/find_orders"]
