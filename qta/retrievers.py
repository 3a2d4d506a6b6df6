"""Retrievers over a tool index: lexical, dense, and the hybrid of both that is served."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Query, Run, ScoredTool
from qta.completion import CompletionRule
from qta.encoder import Encoder
from qta.index import ToolIndex
from qta.names import NameIndex
from qta.steps import CLAUSES, StepRule, split_clauses, split_steps
from qta.tokens import tokenize

LEXICAL_WEIGHT = 0.08
"""What a point of BM25 counts beside a cosine: chosen on the public validation halves, see results/validation.md."""

# Tools taken from each index: so many, and more for each place in the answer. Over 18,378 tools and 555 requests the
# first 1, 3, 5, 10 and 20 were then those of scoring every tool; with 40 in all, one list in 300 differed.
_CANDIDATES, _CANDIDATES_PER_PLACE = 160, 20

_BEHIND = 0.001

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
    """Rank by cosine + weight x BM25, tools that the request names by id or name first (`hybrid`).

    With a rule for clauses, the best tool for each clause of a request is raised; so is, with a rule for steps, the
    best tool for each step of a rewrite. With completion, a tool among the first that needs an id brings the best
    provider of that id along, to its side. A prior raises tools whatever the request, by position.
    """

    def __init__(
        self,
        index: ToolIndex,
        encoder: Encoder,
        weight: float = LEXICAL_WEIGHT,
        completion: CompletionRule | None = None,
        prior: Mapping[int, float] | None = None,
        clauses: StepRule | None = None,
        steps: StepRule | None = None,
    ) -> None:
        self.index = index
        self.encoder = encoder
        self.weight = weight
        self.completion = completion
        self.clauses = clauses
        self.steps = steps
        self.prior = np.zeros(len(index.ids), np.float32)
        for position, bonus in (prior or {}).items():
            self.prior[position] = bonus

    @cached_property
    def names(self) -> NameIndex:
        """Return the index of exact names, made at first use."""
        return NameIndex(self.index.ids, self.index.names)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank by the fused score; a rewritten query is ranked by its original text and the steps of the rewrite."""
        texts = [query.text if query.original is None else query.original for query in queries]
        rewrites = ["" if query.original is None else query.text for query in queries]
        vectors = self.encoder.encode(texts)
        return {
            query.query_id: self.rank(text, vector, k, split_steps(rewrite))
            for query, text, rewrite, vector in zip(queries, texts, rewrites, vectors, strict=True)
        }

    def rank(self, text: str, vector: NDArray[np.float32], k: int, steps: Sequence[str] = ()) -> list[ScoredTool]:
        """Rank the tools for a text and its vector, with the steps of a rewrite of the text."""
        lexical = self.index.lexical.scores(tokenize(text))
        named = self.names.find(text)

        def score(positions: NDArray[np.int64]) -> NDArray[np.float32]:
            scores = self.index.dense.cosines(vector, positions) + self.weight * lexical[positions]
            return np.asarray(scores + self.prior[positions] + _name_bonus(positions, named))

        positions = self._candidates(vector, lexical, named, _CANDIDATES + _CANDIDATES_PER_PLACE * k)
        scores = score(positions)
        raised = self._raised(text, steps)
        if raised:
            missing = np.setdiff1d([position for position, _ in raised], positions)
            positions, scores = np.concatenate([positions, missing]), np.concatenate([scores, score(missing)])
            scores = _raise(raised, positions, scores)
        if self.completion:
            needing = positions[best(scores, self.completion.first, positions)]
            missing = np.setdiff1d(self._providers(needing), positions)
            positions = np.concatenate([positions, missing])
            scores = self._completed(self.completion, needing, positions, np.concatenate([scores, score(missing)]))
        return [ScoredTool(self.index.ids[positions[at]], float(scores[at])) for at in best(scores, k, positions)]

    def _raised(self, text: str, steps: Sequence[str]) -> list[tuple[int, float]]:
        """Return each step's and clause's best tool, and by how much it is raised."""
        parts = [(step, self.steps) for step in steps] if self.steps and self.steps.weight else []
        parts += [(clause, self.clauses) for clause in split_clauses(text)] if self.clauses else []
        raised = []
        for part, rule in parts:
            position, score = self._best_for(part)
            if rule and score >= rule.least:
                raised.append((position, rule.weight))
        return raised

    def _best_for(self, text: str) -> tuple[int, float]:
        vector, _ = self.encoder.encode_one(text)
        lexical = self.index.lexical.scores(tokenize(text))
        positions = self._candidates(vector, lexical, [], _CANDIDATES)
        scores = self.index.dense.cosines(vector, positions) + self.weight * lexical[positions]
        first = best(scores, 1, positions)[0]
        return int(positions[first]), float(scores[first])

    def _candidates(
        self, vector: NDArray[np.float32], lexical: NDArray[np.float32], named: list[list[int]], n: int
    ) -> NDArray[np.int64]:
        """Return the n nearest tools, the n with the best words, the named ones and those with a prior."""
        wanted = self.prior > 0
        wanted[self.index.dense.search(vector, n)[0]] = True
        matching = np.flatnonzero(lexical)
        if len(matching) > n:
            matching = matching[np.argpartition(-lexical[matching], n)[:n]]
        wanted[matching] = True
        for group in named:
            wanted[group] = True
        return np.flatnonzero(wanted)

    def _providers(self, needing: NDArray[np.int64]) -> NDArray[np.int64]:
        groups = [group for position in needing for group in self.index.needs.get(int(position), ())]
        return np.array([one.position for group in groups for one in group], np.int64)

    def _completed(
        self,
        rule: CompletionRule,
        needing: NDArray[np.int64],
        positions: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Lift for each need its best provider to the side of the tool that has the need.

        It comes right before that tool, so that at the edge of the answer the provider stays, which others need too;
        but right behind a tool that the request names, and never before the best of all.
        """
        before = np.full(len(self.index.ids), -np.inf, np.float32)
        before[positions] = scores
        after, best_score = before.copy(), scores.max()
        for position in needing:
            for group in self.index.needs.get(int(position), ()):
                provider = max(group, key=lambda one: before[one.position] + rule.strength * one.strength).position
                lead = rule.lead if before[position] < _NAMED_AMBIGUOUSLY else -rule.lead
                # The best tool stays the first: it is what was asked for.
                after[provider] = max(after[provider], min(before[position] + lead, best_score - _BEHIND))
        return after[positions]


def default_retriever(
    index: ToolIndex, encoder: Encoder, prior: Mapping[int, float] | None = None, steps: StepRule | None = None
) -> HybridRetriever:
    """Return what is served: the hybrid with completion and clauses; a prior and a rewriter's steps where there are."""
    return HybridRetriever(index, encoder, completion=CompletionRule(), prior=prior, clauses=CLAUSES, steps=steps)


def _raise(
    raised: list[tuple[int, float]], positions: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Raise tools, the first most, none past the best of all."""
    after, limit = scores.copy(), scores.max()
    for place, (position, weight) in enumerate(raised, start=1):
        at = np.flatnonzero(positions == position)[0]
        after[at] = max(after[at], min(scores[at] + weight, limit - _BEHIND * place))
    return after


def _name_bonus(positions: NDArray[np.int64], named: list[list[int]]) -> NDArray[np.float32]:
    bonus = np.zeros(len(positions), np.float32)
    for group in named:
        at = np.isin(positions, group)
        bonus[at] = np.maximum(bonus[at], _NAMED if len(group) == 1 else _NAMED_AMBIGUOUSLY)
    return bonus
