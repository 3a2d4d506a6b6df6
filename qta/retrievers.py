"""Retrievers over a tool index by words alone and by meaning alone, and the one rule for ties."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Query, Run, ScoredTool
from qta.encoder import Encoder
from qta.index import ToolIndex
from qta.tokens import tokenize


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
