"""General alignment: which public requests are aligned on, and that each is ranked in its own catalogue."""

from dataclasses import replace
from pathlib import Path

import pytest

from mtrb.benchmarks import load
from mtrb.errors import InputError
from mtrb.types import Benchmark, Query
from qta.rewriting.local import DEFAULT_BASE
from qta.rewriting.prompt import Prompt
from qta.training.frozen import FrozenHybrid, RememberingEncoder
from qta.training.general import chosen_requests, fitting, frozen_catalogues, main, paper, served, settings


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
    examples, frozen = frozen_catalogues(benches, chosen, served(encoder), seed=0)
    assert {query.text for query in examples.queries} == chosen
    for query, golden in zip(examples.queries, examples.golden, strict=True):
        frozen_one = frozen.catalogues[query.text]
        assert isinstance(frozen_one, FrozenHybrid)
        own = frozen_one.retriever.index
        steps = "; ".join(own.tools[at].default_text() for at in golden)
        (alone, told) = frozen.ranks(query, golden, [query.text, steps])
        assert max(told) <= max(alone)
        assert max(told) <= 10
    assert len(frozen.show([examples.queries[0].text], Prompt(tools=3))[0]) == 3


def test_a_text_asked_of_two_catalogues_is_aligned_on_once(
    benches: list[Benchmark], encoder: RememberingEncoder
) -> None:
    twice = [benches[0], replace(benches[0], dataset_id="again")]
    chosen = chosen_requests(twice, 4, encoder, (), seed=0)
    examples, _ = frozen_catalogues(twice, chosen, served(encoder), seed=0)
    assert len(chosen) == len(examples) == 4


def test_with_the_papers_retriever_the_rewrite_alone_is_the_query(
    benches: list[Benchmark], encoder: RememberingEncoder
) -> None:
    chosen = chosen_requests(benches, 2, encoder, (), seed=0, fewest_golden=1)
    examples, frozen = frozen_catalogues(benches, chosen, paper(encoder), seed=0)
    query, golden = examples.queries[0], examples.golden[0]
    tools = {query.query_id: bench.toolset for bench in benches for query in bench.queries}
    wanted = tools[query.query_id.split("/", 1)[1]][golden[0]]
    (ranks,) = frozen.ranks(query, golden[:1], [wanted.description])
    assert list(ranks) == [1]


def test_requests_near_to_a_dataset_without_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no annotated examples"):
        main(["--out", str(tmp_path), "--near", "public/bfcl"], standalone_mode=False)


def test_requests_whose_prompts_fill_the_base_are_left_out(
    benches: list[Benchmark], encoder: RememberingEncoder
) -> None:
    chosen = chosen_requests(benches, 6, encoder, (), seed=0)
    examples, frozen = frozen_catalogues(benches, chosen, served(encoder), seed=0)
    given = settings(DEFAULT_BASE, rounds=1, samples=2, seed=0)
    assert fitting(examples, frozen, DEFAULT_BASE, given).queries == examples.queries
    many = given.model_copy(update={"prompt": given.prompt.model_copy(update={"tools": 40, "words": 40})})
    assert len(fitting(examples, frozen, DEFAULT_BASE, many)) < len(examples)
