"""Retrievers over a tool index: lexical, dense, and the hybrid of both that is served."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Query, Run, ScoredTool
from qta.encoder import Encoder
from qta.index import ToolIndex
from qta.names import NameIndex
from qta.tokens import tokenize

LEXICAL_WEIGHT = 0.08
"""What a point of BM25 counts beside a cosine: chosen on the public validation halves, see results/validation.md."""

# Tools taken from each index: so many, and more for each place in the answer. Over 18,378 tools and 555 requests the
# first 1, 3, 5, 10 and 20 were then those of scoring every tool; with 40 in all, one list in 300 differed.
_CANDIDATES, _CANDIDATES_PER_PLACE = 160, 20

# A tool that the request names is ahead of all others; one of several tools of that name only of the unnamed.
_NAMED, _NAMED_AMBIGUOUSLY = 200.0, 100.0


def best(scores: NDArray[Any], k: int, positions: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return where the k highest scores stand, highest first, ties in catalogue order: the one rule for ties.

    `positions` are the tools' places in the catalogue, where the scores are not in catalogue order.
    """
    tie_break = np.arange(len(scores)) if positions is None else positions
    return np.lexsort((tie_break, -scores))[:k]


class LexicalRetriever:
    """Rank by BM25 alone (`bm25`)."""

    def __init__(self, index: ToolIndex) -> None:
        self._index = index

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by BM25; tools without any word of the request follow in catalogue order."""
        run = {}
        for query in queries:
            scores = self._index.lexical.scores(tokenize(query.text))
            run[query.query_id] = [ScoredTool(self._index.ids[at], float(scores[at])) for at in best(scores, k)]
        return run


class DenseRetriever:
    """Rank by cosine alone (`dense`)."""

    def __init__(self, index: ToolIndex, encoder: Encoder) -> None:
        self._index = index
        self._encoder = encoder

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by the cosine of request and tool."""
        vectors = self._encoder.encode([query.text for query in queries])
        run = {}
        for query, vector in zip(queries, vectors, strict=True):
            positions, scores = self._index.dense.search(vector, k)
            order = best(scores, k, positions)
            run[query.query_id] = [ScoredTool(self._index.ids[positions[at]], float(scores[at])) for at in order]
        return run


class HybridRetriever:
    """Rank by cosine + weight x BM25, tools that the request names by id or name first (`hybrid`)."""

    def __init__(self, index: ToolIndex, encoder: Encoder, weight: float = LEXICAL_WEIGHT) -> None:
        self.index = index
        self.encoder = encoder
        self.weight = weight

    @cached_property
    def names(self) -> NameIndex:
        """Return the index of exact names, made at first use."""
        return NameIndex(self.index.ids, self.index.names)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by the fused score."""
        vectors = self.encoder.encode([query.text for query in queries])
        return {
            query.query_id: self.rank(query.text, vector, k) for query, vector in zip(queries, vectors, strict=True)
        }

    def rank(self, text: str, vector: NDArray[np.float32], k: int) -> list[ScoredTool]:
        """Rank the tools for a text and its vector."""
        lexical = self.index.lexical.scores(tokenize(text))
        named = self.names.find(text)
        positions, cosines = self._candidates(vector, lexical, named, _CANDIDATES + _CANDIDATES_PER_PLACE * k)
        scores = cosines + self.weight * lexical[positions]
        bonus = np.zeros(len(scores), np.float32)
        for group in named:
            at = np.isin(positions, group)
            bonus[at] = np.maximum(bonus[at], _NAMED if len(group) == 1 else _NAMED_AMBIGUOUSLY)
        scores += bonus
        return [ScoredTool(self.index.ids[positions[at]], float(scores[at])) for at in best(scores, k, positions)]

    def _candidates(
        self, vector: NDArray[np.float32], lexical: NDArray[np.float32], named: list[list[int]], n: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, the n with the best words, and the named ones."""
        nearest, cosines = self.index.dense.search(vector, n)
        matching = np.flatnonzero(lexical)
        if len(matching) > n:
            matching = matching[np.argpartition(-lexical[matching], n)[:n]]
        wanted = np.zeros(len(lexical), bool)
        wanted[matching] = True
        for group in named:
            wanted[group] = True
        wanted[nearest] = False
        others = np.flatnonzero(wanted)
        return np.concatenate([nearest, others]), np.concatenate([cosines, self.index.dense.cosines(vector, others)])
