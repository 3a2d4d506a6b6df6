"""Averages, intervals and paired tests."""

import numpy as np
import pytest

from eval import Sufficiency, evaluate, nDCG
from eval.evaluator import average
from mtrb.errors import InputError
from mtrb.types import ScoredTool

S1 = Sufficiency @ 1
QRELS = {f"q{n}": {"a": 1} for n in range(10)}


def run(*right: int) -> dict[str, list[ScoredTool]]:
    return {f"q{n}": [ScoredTool("a" if n in right else "b", 1.0)] for n in range(10)}


def test_a_forgotten_query_scores_zero_and_counts() -> None:
    partial = {query: ranking for query, ranking in run(*range(10)).items() if query != "q3"}
    assert evaluate(QRELS, partial, [S1]).mean(S1) == pytest.approx(0.9)


def test_an_invented_query_is_an_error() -> None:
    with pytest.raises(InputError, match="1 queries that the qrels do not hold, first 'q99'"):
        evaluate(QRELS, {**run(), "q99": []}, [S1])


def test_a_tool_twice_is_an_error() -> None:
    with pytest.raises(InputError, match="twice"):
        evaluate({"q": {"a": 1}}, {"q": [ScoredTool("a", 1.0), ScoredTool("a", 0.5)]}, [S1])


def test_empty_qrels_are_an_error() -> None:
    with pytest.raises(InputError, match="no query"):
        evaluate({}, {}, [S1])


def test_the_order_of_the_run_is_the_ranking() -> None:
    tied = {"q": [ScoredTool("b", 1.0), ScoredTool("a", 1.0)]}
    assert evaluate({"q": {"a": 1}}, tied, [S1]).mean(S1) == 0
    assert evaluate({"q": {"b": 1}}, tied, [S1]).mean(S1) == 1


def test_the_interval_holds_the_mean_and_is_repeatable() -> None:
    result = evaluate(QRELS, run(0, 1, 2, 3, 4, 5), [S1])
    estimate = result.estimate(S1)
    assert estimate == result.estimate(S1)
    assert (estimate.low, estimate.mean, estimate.high) == pytest.approx((0.3, 0.6, 0.9))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        right = np.flatnonzero(rng.random(40) < 0.5)
        qrels = {f"q{n}": {"a": 1} for n in range(40)}
        result = evaluate(qrels, {f"q{n}": [ScoredTool("a" if n in right else "b", 1.0)] for n in range(40)}, [S1])
        estimate = result.estimate(S1)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.89 <= covered / 200 <= 0.99


def test_the_paired_test_against_the_exact_one() -> None:
    # five of ten queries improve, none worsens: under random signs the exact two-sided p is 2 / 2**5
    better, worse = evaluate(QRELS, run(*range(8)), [S1]), evaluate(QRELS, run(0, 1, 2), [S1])
    assert better.p_value(S1, worse) == pytest.approx(2 / 2**5, abs=0.01)
    assert worse.p_value(S1, better) == better.p_value(S1, worse)
    assert better.p_value(S1, better) == 1.0


def test_a_paired_test_needs_the_same_queries() -> None:
    other = evaluate({"x": {"a": 1}}, {"x": [ScoredTool("a", 1.0)]}, [S1])
    with pytest.raises(ValueError, match="same queries"):
        evaluate(QRELS, run(), [S1]).p_value(S1, other)


def test_unasked_measures_are_not_there() -> None:
    with pytest.raises(KeyError):
        evaluate(QRELS, run(), [S1]).mean(nDCG @ 5)


def test_the_average_of_runs_is_taken_query_by_query() -> None:
    both = average([evaluate(QRELS, run(0, 1), [S1]), evaluate(QRELS, run(1, 2), [S1])])
    assert [both.values[S1][f"q{n}"] for n in range(4)] == [0.5, 1.0, 0.5, 0.0]
    assert both.mean(S1) == pytest.approx(0.2)
