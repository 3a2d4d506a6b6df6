"""What may be trained on: nothing that is held out, nothing near it, and every tool where it should be."""

import pytest

from mtrb.benchmarks import held_out, load
from mtrb.benchmarks.public import TENTH, is_held_out
from mtrb.benchmarks.training import LATER, NAMES, WRITTEN, allowed, load_training
from mtrb.types import Benchmark, Query, Tool, Toolset

COUNTS = {
    "invented": (94, 3350, 4376),
    "plugins": (14, 1194, 1376),
    "registries": (69, 10215, 5879),
    "assistants": (78, 3892, 7784),
    "domains": (140, 5133, 9608),
    "bundles": (62, 2888, 4197),
    "invented-again": (94, 3350, 4327),
    "registries-again": (69, 9874, 5164),
}


def bench(name: str, *pairs: tuple[str, str]) -> Benchmark:
    tools = Toolset(Tool(f"t/{tool}", tool) for tool in dict.fromkeys(tool for _, tool in pairs))
    queries = tuple(Query(f"q{n}", text) for n, (text, _) in enumerate(pairs))
    qrels = {f"q{n}": {f"t/{tool}": 1} for n, (_, tool) in enumerate(pairs)}
    return Benchmark(name, "train", tools, queries, qrels)


def test_what_is_near_a_held_out_request_is_left_out() -> None:
    held = bench("mtrb/x", ("please find the credits of the film Alien", "movie_credits"))
    training = bench(
        "open/y",
        ("Please, find the credits of the film 'Alien'!", "a"),
        ("find the credits of the film Brazil please", "a"),
        ("refund the order", "b"),
        ("Refund the ORDER", "b"),
        ("show me who played in it", "Movie-Credits"),
        ("请退款我的订单", "c"),
        ("请退款我的订单。", "c"),
    )
    [kept] = allowed([training], [held])
    assert [query.text for query in kept.queries] == ["refund the order", "请退款我的订单"]
    assert list(kept.qrels) == [query.query_id for query in kept.queries]


@pytest.mark.parametrize("name", [name for name in COUNTS if not name.startswith("registries")])
def test_the_written_requests_are_complete(name: str) -> None:
    catalogues = list(load_training(name))
    tools, queries = (sum(len(getattr(one, part)) for one in catalogues) for part in ("toolset", "queries"))
    assert (len(catalogues), tools, queries) == COUNTS[name]


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["registries", "registries-again"])
def test_the_registries_requests_find_their_functions(name: str) -> None:
    catalogues = list(load_training(name))
    tools, queries = (sum(len(getattr(one, part)) for one in catalogues) for part in ("toolset", "queries"))
    assert (len(catalogues), tools, queries) == COUNTS[name]
    servers = {
        tool.source.removeprefix("mcpm/") for one in catalogues for tool in one.toolset if "mcpm/" in tool.source
    }
    assert servers
    assert not [server for server in servers if is_held_out("mcpm-registry", [server])]


@pytest.mark.benchmark
@pytest.mark.parametrize("name", TENTH)
def test_no_held_out_tool_is_trained_on(name: str) -> None:
    [training] = load_training(name)
    golden = {tool_id for tools in training.qrels.values() for tool_id in tools}
    for split in ("validation", "test"):
        held = load(f"public/{name}", split)
        assert not {query.query_id for query in held.queries} & {query.query_id for query in training.queries}
    assert not [tool_id for tool_id in golden if is_held_out(name, [tool_id])]


@pytest.mark.benchmark
def test_every_held_out_request_is_kept_from_training() -> None:
    texts = {" ".join(query.text.lower().split()) for one in held_out() for query in one.queries}
    assert len(texts) > 1500
    for name in (*NAMES, *LATER):
        if name == "clouds":
            continue  # takes minutes to list; written as the others were
        for kept in allowed(load_training(name), held_out()):
            assert not texts & {" ".join(query.text.lower().split()) for query in kept.queries}
    assert set(WRITTEN) < set(NAMES)
