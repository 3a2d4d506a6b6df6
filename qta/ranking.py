"""Ranking functions: how well a ranking serves a request, from the ranks of its golden tools.

This is the training signal (arXiv 2410.03212, section 4.3): of several rewrites of a request the one whose ranking
scores highest is preferred. A higher score is better.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol


class RankingFunction(Protocol):
    """Score a ranking by the ranks (from 1) that it gives the golden tools, and the rewrite that led to it."""

    def __call__(self, ranks: Sequence[int], rewrite: str) -> float:
        """Return a score; the higher, the better."""
        ...


def golden_index(ranks: Sequence[int], rewrite: str) -> float:  # noqa: ARG001 (a rewrite's length does not count)
    """Order by the mean index of the golden tools, as the paper does."""
    return -sum(ranks) / len(ranks)


def log_rank(ranks: Sequence[int], rewrite: str) -> float:  # noqa: ARG001
    """Weigh a step at the top of the list more than one far down, and the worst golden tool as much as all others."""
    return -(sum(map(math.log1p, ranks)) / len(ranks) + math.log1p(max(ranks)))


def sufficiency_first(ranks: Sequence[int], rewrite: str) -> float:
    """Order by Sufficiency@5 and @10, then by the mean reciprocal rank, then by brevity."""
    sufficient = sum(max(ranks) <= k for k in (5, 10))
    return sufficient + 0.5 * sum(1 / rank for rank in ranks) / len(ranks) - 1e-4 * len(rewrite.split())


RANKING_FUNCTIONS: Mapping[str, RankingFunction] = {
    "golden-index": golden_index,
    "log-rank": log_rank,
    "sufficiency-first": sufficiency_first,
}
