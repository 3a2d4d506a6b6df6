"""General alignment: which public requests are aligned on, and that each is ranked in its own catalogue."""

from dataclasses import replace

import pytest

from mtrb.benchmarks import load
from mtrb.types import Benchmark, Query
from qta.rewriting.prompt import Prompt
from qta.training.frozen import RememberingEncoder
from qta.training.general import chosen_requests, frozen_catalogues


@pytest.fixture(scope="module")
def encoder() -> RememberingEncoder:
    return RememberingEncoder()


@pytest.fixture(scope="module")
def benches() -> list[Benchmark]:
    bench = load("sample", "validation")
    half = len(bench.queries) // 2
    return [
        replace(bench, dataset_id="one", queries=bench.queries[:half]),
        replace(bench, dataset_id="other", queries=bench.queries[half:]),
    ]


def test_drawn_requests_need_several_tools(benches: list[Benchmark], encoder: RememberingEncoder) -> None:
    chosen = chosen_requests(benches, 8, encoder, (), seed=1)
    assert len(chosen) == 8
    by_text = {query.text: bench.qrels[query.query_id] for bench in benches for query in bench.queries}
    assert all(len(by_text[text]) > 1 for text in chosen)
    assert chosen == chosen_requests(benches, 8, encoder, (), seed=1)
    assert chosen != chosen_requests(benches, 8, encoder, (), seed=2)


def test_the_nearest_to_given_requests_are_chosen(benches: list[Benchmark], encoder: RememberingEncoder) -> None:
    wanted = next(query for bench in benches for query in bench.queries if len(bench.qrels[query.query_id]) > 1)
    assert chosen_requests(benches, 1, encoder, [Query("q", wanted.text)], seed=0) == {wanted.text}


def test_each_request_is_ranked_in_its_catalogue(benches: list[Benchmark], encoder: RememberingEncoder) -> None:
    chosen = chosen_requests(benches, 6, encoder, (), seed=0)
    examples, frozen = frozen_catalogues(benches, chosen, encoder, seed=0)
    assert {query.text for query in examples.queries} == chosen
    for query, golden in zip(examples.queries, examples.golden, strict=True):
        own = frozen.catalogues[query.text].retriever.index
        steps = "; ".join(own.tools[at].default_text() for at in golden)
        (alone, told) = frozen.ranks(query, golden, [query.text, steps])
        assert max(told) <= max(alone)
        assert max(told) <= 10
    assert len(frozen.show([examples.queries[0].text], Prompt(tools=3))[0]) == 3
