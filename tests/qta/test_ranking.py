"""Ranking functions: each orders rankings as it says."""

import pytest

from qta.ranking import RANKING_FUNCTIONS


@pytest.mark.parametrize("name", RANKING_FUNCTIONS)
def test_better_ranks_score_higher(name: str) -> None:
    score = RANKING_FUNCTIONS[name]
    ordered = [[1, 2], [1, 3], [1, 6], [2, 40], [300, 900]]
    scores = [score(ranks, "a b") for ranks in ordered]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_they_differ_where_they_say_they_do() -> None:
    by_index, by_log, sufficient = (
        RANKING_FUNCTIONS[name] for name in ("golden-index", "log-rank", "sufficiency-first")
    )
    deep, spread = [12, 13], [1, 30]
    assert by_index(deep, "") > by_index(spread, "")
    assert by_log([1, 11], "") > by_log([6, 6], "") or by_log([6, 6], "") > by_log([1, 11], "")
    within, first = [5, 5], [1, 6]
    assert sufficient(within, "") > sufficient(first, "")
    assert by_index(within, "") < by_index(first, "")
    assert sufficient([1], "one two") > sufficient([1], "one two three")
    assert by_index([1], "one two") == by_index([1], "one two three")
