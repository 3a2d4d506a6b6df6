"""What is learnt from examples, and that nothing is learnt from the example that is held out."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtrb.benchmarks import DATASETS, load, load_examples
from mtrb.errors import DataError, InputError
from mtrb.types import Query, Tool, Toolset
from qta.encoder import Encoder
from qta.examples import Choice, Examples, leave_one_out
from qta.hybrid import SERVED, HybridRetriever
from qta.systems import build_system
from qta.taught import Taught
from qta.workbench import Workbench
from tests.conftest import Finished

FOUR = Examples(tuple(Query(f"q{n}", f"text {n}") for n in range(4)), ((0, 1), (0,), (2, 0), (3,)))


@pytest.fixture(scope="module")
def bench(encoder: Encoder) -> Workbench:
    return Workbench(load("sample", "train").toolset, encoder, rewriters=Path("/nonexistent"))


def test_uses_and_prior() -> None:
    assert list(FOUR.uses.items()) == [(0, 3), (1, 1), (2, 1), (3, 1)]
    assert FOUR.prior(0.5) == pytest.approx({0: 0.5 * math.log(4), **dict.fromkeys((1, 2, 3), 0.5 * math.log(2))})
    assert FOUR.prior(0.0) == {}


def test_partners_are_needed_together_more_often_than_not_and_twice_at_least() -> None:
    golden = ((0, 1), (0, 1), (0, 2), (2,), (3, 4))
    five = Examples(tuple(Query(f"q{n}", f"text {n}") for n in range(5)), golden)
    assert five.partners == {0: [1], 1: [0]}


def test_a_partner_comes_along_with_its_tool(bench: Workbench) -> None:
    query = Query("q", "send an email to Ann")
    alone = HybridRetriever(bench.index, bench.encoder).retrieve([query], 200)["q"]
    first, last = (bench.toolset.positions[alone[at].tool_id] for at in (0, -1))
    stages = replace(SERVED, partners={first: [last]})
    together = HybridRetriever(bench.index, bench.encoder, stages).retrieve([query], 5)["q"]
    assert [scored.tool_id for scored in together[:2]] == [alone[0].tool_id, alone[-1].tool_id]


def test_what_is_held_out_is_gone() -> None:
    rest = FOUR.without(2)
    assert [query.query_id for query in rest.queries] == ["q0", "q1", "q3"]
    assert rest.uses == {0: 2, 1: 1, 3: 1}


def test_leave_one_out_never_shows_the_held_out_example() -> None:
    seen: list[tuple[str, list[str]]] = []

    def rank(value: int, known: Examples, query: Query) -> list[int]:
        seen.append((query.query_id, [other.query_id for other in known.queries]))
        return list(range(10))

    leave_one_out(FOUR, (1, 2), rank, default=9)
    assert len(seen) == 8
    assert all(query_id not in known and len(known) == 3 for query_id, known in seen)


def test_of_many_examples_a_hundred_are_held_out_evenly_and_all_others_teach() -> None:
    many = Examples(tuple(Query(f"q{n}", f"text {n}") for n in range(1000)), ((0,),) * 1000)
    held_out, taught, told = [], set(), []

    def rank(value: int, known: Examples, query: Query) -> list[int]:
        held_out.append(query.query_id)
        taught.add(known.uses[0])
        return [0]

    assert leave_one_out(many, (1,), rank, default=9, advance=told.append).from_examples
    assert held_out == [f"q{n}" for n in range(0, 1000, 10)]
    assert taught == {999}
    assert told == [1] * 100


def rank_by(places: dict[int, int]) -> Callable[[int, Examples, Query], list[int]]:
    """Put every golden tool right behind as many others as the value says."""

    def rank(value: int, known: Examples, query: Query) -> list[int]:
        golden = dict(zip(FOUR.queries, FOUR.golden, strict=True))[query]
        return [*range(100, 100 + places[value]), *golden, *range(4, 50)]

    return rank


def test_sufficiency_chooses_then_the_rank_then_the_first() -> None:
    assert leave_one_out(FOUR, (1, 2, 3), rank_by({1: 30, 2: 2, 3: 20}), default=9).value == 2
    assert leave_one_out(FOUR, (1, 2, 3), rank_by({1: 30, 2: 25, 3: 28}), default=9).value == 2
    equal = leave_one_out(FOUR, (1, 2, 3), rank_by({1: 4, 2: 4, 3: 4}), default=9)
    assert (equal.value, equal.from_examples) == (1, True)


def test_a_golden_tool_that_is_not_found_counts_as_last() -> None:
    rankings = {1: list(range(100, 112)), 2: [*range(100, 108), 0, 1, 2, 3]}
    choice = leave_one_out(FOUR, (1, 2), lambda value, *_: rankings[value], default=9)
    assert choice.value == 2
    assert choice.scores[1] == (0.0, pytest.approx(-math.log(13)))


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        ([15, 15, 15, 20], 2),  # three sooner, one as before
        ([2, 2, 20, 20], 1),  # two are too few
        ([2, 2, 15, 21], 1),  # one later is too much
        ([2, 2, 2, 21], 2),  # unless so many more are served
    ],
)
def test_only_what_is_surely_better_replaces_the_default(places: list[int], chosen: int) -> None:
    order = [query.query_id for query in FOUR.queries]

    def rank(value: int, known: Examples, query: Query) -> list[int]:
        golden = dict(zip(FOUR.queries, FOUR.golden, strict=True))[query]
        before = 20 if value == 1 else places[order.index(query.query_id)]
        return [*range(100, 100 + before), *golden, *range(4, 50)]

    assert leave_one_out(FOUR, (1, 2), rank, default=1, surely=3).value == chosen


def test_few_examples_leave_the_default() -> None:
    three = FOUR.without(0)
    assert leave_one_out(three, (1, 2), rank_by({1: 0, 2: 0}), default=9) == Choice(9, {}, from_examples=False)


def test_examples_must_fit_the_catalogue() -> None:
    bench = load("sample", "train")
    with pytest.raises(InputError, match=r"golden tool '.*' is not in the catalogue of 1 tools"):
        Examples.of(bench, Toolset([Tool("a", "a")]))
    with pytest.raises(InputError, match="no examples"):
        Examples.of(replace(bench, queries=()), bench.toolset)


@pytest.mark.parametrize("name", ["usage-prior", "constant-suffix", "qta-no-rewrite"])
def test_a_taught_system_says_what_it_chose(name: str, bench: Workbench) -> None:
    examples = Examples.of(load("sample", "train"), bench.toolset)
    (taught,) = build_system(name, bench, examples)
    assert isinstance(taught, Taught)
    assert {choice["by"] for choice in taught.chosen.values()} == {"leave-one-out"}
    (few,) = build_system(name, bench, Examples(examples.queries[:2], examples.golden[:2]))
    assert isinstance(few, Taught)
    assert {choice["by"] for choice in few.chosen.values()} == {"default"}
    with pytest.raises(InputError, match="learns from annotated examples"):
        build_system(name, bench)


def test_the_usage_prior_adds_up(bench: Workbench) -> None:
    query = [Query("q", "refund order 8841")]
    plain = bench.minilm.scores(query)[0]
    raised = bench.minilm.with_prior({7: 0.5, 3: 0.25}).scores(query)[0]
    expected = plain.copy()
    expected[[7, 3]] += [0.5, 0.25]
    np.testing.assert_allclose(raised, expected, atol=1e-6)
    np.testing.assert_array_equal(bench.minilm.scores(query)[0], plain)


def test_examples_of_datasets() -> None:
    assert [(one.split, len(one.queries)) for one in load_examples("sample")] == [("train", 10)]
    with pytest.raises(DataError, match="unknown dataset"):
        load_examples("nothing")
    assert all(not split.startswith("train") for split in DATASETS["public/bfcl"].splits)


@pytest.mark.benchmark
def test_draws_of_the_benchmarks() -> None:
    assert [one.split for one in load_examples("mtrb/metatool")] == [f"train-{n}" for n in range(1, 6)]
    assert [len(one.queries) for one in load_examples("mtrb/restbench")] == [10]
    assert load_examples("public/bfcl") == []


def test_evaluating_with_examples_of_ones_own(cli: Callable[..., Finished], tmp_path: Path) -> None:
    asked = [
        "feed the cat",
        "mow the lawn",
        "play a song",
        "book a taxi",
        "crop a photo",
        "send a letter",
        "bake bread",
    ]
    named = {f"tool_{n}": f"{text}." for n, text in enumerate(asked)} | {"tool_7": "Keep the books."}
    rows = [{"name": name, "description": description} for name, description in named.items()]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records: list[dict[str, Any]] = [
        {"query": f"{text} now", "tools": [f"own/tool_{n}", "own/tool_7"], "split": "train" if n < 5 else "test"}
        for n, text in enumerate(asked)
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    own = ("eval", "--tools", tmp_path / "own.jsonl", "--queries", tmp_path / "q.jsonl", "--json", tmp_path / "r.json")
    systems = ("--system", "clauses", "--system", "qta-no-rewrite", "--k", 2)
    assert cli(*own, *systems).status == 0
    plain, taught = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert taught["chosen"][0]["prior"]["value"] > 0
    assert taught["measures"]["Sufficiency@2"]["mean"] == 1 > plain["measures"]["Sufficiency@2"]["mean"]
    refused = cli(*own, *systems, "--split", "all")
    assert refused.status == 2
    assert "is also among the queries; choose a --split" in refused.err


def test_without_examples_a_taught_system_is_left_out(cli: Callable[..., Finished], tmp_path: Path) -> None:
    finished = cli("eval", "sample", "--split", "train", "--system", "usage-prior")
    assert finished.status == 2
    assert "is also among the queries" in finished.err
