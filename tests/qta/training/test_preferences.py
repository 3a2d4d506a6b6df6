"""Preference pairs: the best against the worst, within bounds, and nothing of ties."""

import json
from pathlib import Path

import pytest

from mtrb.errors import InputError
from mtrb.types import Query
from qta.ranking import log_rank
from qta.training.preferences import Candidates, build_pairs, rank_candidates, require_pairs, write_pairs

PROMPT = [{"role": "user", "content": "cancel it"}]
QUERY = Query("q1", "cancel it")


def candidates(ranks: dict[str, list[int]], samples: list[str]) -> Candidates:
    return rank_candidates(QUERY, PROMPT, samples, lambda texts: [ranks[text] for text in texts], log_rank)


RANKS = {"cancel it": [9], "good": [1], "fair": [3], "poor": [20], "bad": [90]}


def test_the_request_itself_is_a_candidate_and_repetitions_count_once() -> None:
    found = candidates(RANKS, ["good", "GOOD.", "bad", "", " ; ", "good"])
    assert [one.text for one in found.ranked] == ["cancel it", "good", "bad"]
    assert found.original == log_rank([9], "")
    assert found.best == log_rank([1], "")


def test_the_best_is_paired_with_the_worst() -> None:
    pairs = build_pairs(candidates(RANKS, ["good", "fair", "poor", "bad"]), most=8, margin=0.1)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("good", "bad"), ("fair", "poor")]
    assert [pair.margin for pair in pairs] == sorted((pair.margin for pair in pairs), reverse=True)
    assert all(pair.query_id == "q1" and pair.prompt == PROMPT for pair in pairs)


def test_pairs_have_a_margin_and_a_limit() -> None:
    found = candidates(RANKS, ["good", "fair", "poor", "bad"])
    assert len(build_pairs(found, most=1, margin=0.1)) == 1
    assert build_pairs(found, most=8, margin=50) == []
    assert all(pair.margin >= 5 for pair in build_pairs(found, most=8, margin=5))


def test_ties_give_no_pair_and_are_refused() -> None:
    found = candidates({"cancel it": [4], "a": [4], "b": [4]}, ["a", "b"])
    assert build_pairs(found, most=8, margin=0.1) == []
    with pytest.raises(InputError, match="3 rewrites of 1 requests all score within"):
        require_pairs([found], [], 0.1)


def test_the_file_holds_pairs_and_statistics(tmp_path: Path) -> None:
    found, tied = candidates(RANKS, ["good", "bad"]), candidates({"cancel it": [4], "a": [4]}, ["a"])
    pairs = build_pairs(found, most=8, margin=0.1)
    write_pairs(tmp_path / "pairs.jsonl", [([found], pairs), ([tied], [])])
    *rows, last = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [(row["round"], row["chosen"], row["rejected"]) for row in rows] == [(1, "good", "bad")]
    first, second = last["statistics"]["rounds"]
    assert (first["pairs"], first["candidates"], first["queries_without_pair"]) == (1, 3, [])
    assert second["queries_without_pair"] == ["q1"]


def test_trl_gets_the_conversational_form() -> None:
    [pair, *_] = build_pairs(candidates(RANKS, ["good", "bad"]), most=8, margin=0.1)
    assert pair.to_trl() == {
        "prompt": PROMPT,
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "bad"}],
    }


def test_candidates_survive_being_saved() -> None:
    found = candidates(RANKS, ["good", "bad"])
    assert Candidates.of(json.loads(json.dumps(found.to_json()))) == found
