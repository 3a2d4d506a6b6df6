"""Measures against an independent implementation, hand-computed cases and their laws."""

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import MRR, Recall, Sufficiency, nDCG, parse_measure

TOOLS = [f"t{n}" for n in range(12)]
GOLDEN = st.dictionaries(st.sampled_from(TOOLS), st.integers(0, 3), min_size=1, max_size=5)
RANKING = st.permutations(TOOLS).flatmap(lambda order: st.integers(0, 12).map(lambda n: list(order)[:n]))


@pytest.mark.parametrize(
    ("golden", "ranking", "k", "value"),
    [
        ("ab", "abc", 2, 1.0),
        ("ab", "bca", 2, 0.0),
        ("ab", "bca", 3, 1.0),
        ("ab", "", 5, 0.0),
        ("abcd", "abcd", 3, 0.0),  # more golden tools than places
        ("a", "xya", None, 1.0),
        ("", "abc", 2, 0.0),  # nothing golden is never sufficient
    ],
)
def test_sufficiency_by_hand(golden: str, ranking: str, k: int | None, value: float) -> None:
    measure = Sufficiency @ k if k else Sufficiency
    assert measure.score(dict.fromkeys(golden, 1), list(ranking)) == value


@given(GOLDEN, RANKING, st.integers(1, 12))
def test_agreement_with_ir_measures(golden: dict[str, int], ranking: list[str], k: int) -> None:
    qrels = [ir_measures.Qrel("q", tool, relevance) for tool, relevance in golden.items()]
    run = [ir_measures.ScoredDoc("q", tool, float(-rank)) for rank, tool in enumerate(ranking)]
    for ours, theirs in ((nDCG @ k, ir_measures.nDCG @ k), (Recall @ k, ir_measures.R @ k), (MRR, ir_measures.RR)):
        expected = next((m.value for m in ir_measures.iter_calc([theirs], qrels, run)), 0.0)
        assert ours.score(golden, ranking) == pytest.approx(expected, abs=1e-6)


@given(GOLDEN, RANKING, st.integers(1, 11))
def test_sufficiency_grows_with_k_and_never_exceeds_recall(golden: dict[str, int], ranking: list[str], k: int) -> None:
    at_k = (Sufficiency @ k).score(golden, ranking)
    assert at_k <= (Sufficiency @ (k + 1)).score(golden, ranking)
    assert at_k <= (Recall @ k).score(golden, ranking)


def test_measures_are_values() -> None:
    assert str(Sufficiency @ 5) == "Sufficiency@5"
    assert Sufficiency @ 5 == parse_measure("sufficiency@5")
    assert len({Sufficiency @ 5, parse_measure("Sufficiency@5"), Recall @ 5}) == 2
    assert parse_measure("MRR") == MRR


@pytest.mark.parametrize("text", ["Luck@5", "Recall@", "Recall@x", "", "__import__('os')", "nDCG@-1", "nDCG@5@6"])
def test_unknown_measures_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown measure"):
        parse_measure(text)


def test_a_cutoff_starts_at_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Recall @ 0
