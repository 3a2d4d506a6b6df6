"""The gate: what is served by how well unseen requests rank as they are, with the base's rewrites, and aligned ones."""

from collections.abc import Sequence

import pytest

from mtrb.types import Query, Tool
from qta.examples import Examples
from qta.rewriting.prompt import Prompt
from qta.training.gate import judge

ASKED = Examples(tuple(Query(f"q{n}", f"request {n}") for n in range(4)), ((0,),) * 4)


class Deep:
    """A retriever that puts the golden tool where the last word of a text says."""

    identity = "deep"
    steps = None

    def show(self, requests: Sequence[str], prompt: Prompt) -> list[list[Tool]]:
        return [[] for _ in requests]

    def ranks(self, query: Query, golden: Sequence[int], rewrites: Sequence[str]) -> list[list[int]]:
        return [[8 if rewrite == query.text else int(rewrite.split()[-1])] for rewrite in rewrites]


def rewrites(place: int) -> dict[str, str]:
    return {query.query_id: f"do it {place}" for query in ASKED.queries}


@pytest.mark.parametrize(
    ("unaligned", "aligned", "decision"),
    [
        (9, 2, "accepted"),
        (3, 2, "accepted"),
        (2, 2, "accepted"),
        (2, 4, "unaligned"),  # better aligned than not at all, but its base is better still
        (2, 9, "unaligned"),
        (9, 9, "rejected"),
        (9, 20, "rejected"),
    ],
)
def test_the_better_one_is_served_if_it_is_no_worse_than_none(unaligned: int, aligned: int, decision: str) -> None:
    verdict = judge(ASKED, rewrites(aligned), Deep(), rewrites(unaligned))
    assert verdict.decision == decision
    assert verdict.accepted == (decision != "rejected")
    served = {"accepted": rewrites(aligned), "unaligned": rewrites(unaligned), "rejected": {}}
    assert verdict.rewrites == served[decision]


def test_a_request_without_a_rewrite_is_ranked_as_it_is() -> None:
    some = {**rewrites(1), "q0": ""}
    verdict = judge(ASKED, some, Deep(), rewrites(20))
    assert verdict.decision == "accepted"
    assert verdict.after is not None
    assert verdict.after.sufficiency == (3 * 1 + 0.5) / 4  # the request itself is within ten, not within five


def test_too_few_to_tell() -> None:
    assert judge(ASKED, {}, Deep()).decision == "ungated"
