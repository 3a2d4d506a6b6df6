"""The hybrid retriever: words and meaning fused, exact names first, and what completes the set beside it.

A ranking is made in this order, each stage on the scores of the one before:

1. cosine + weight x BM25;
2. a tool that the request names is ahead of all others;
3. each clause's and step's best tool comes to the side of the best of all;
4. a prior raises tools whatever the request;
5. a tool among the first that needs an id brings the best provider of that id to its side, and the tools that
   annotated examples need beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Query, Run, ScoredTool, Tool
from qta.completion import CompletionRule, Provider
from qta.dense import TaughtDense
from qta.pipeline import Index
from qta.reading import Part, Reader, Reading, TextEncoder
from qta.retrievers import best
from qta.steps import CLAUSES, STEPS, StepRule, split_steps
from qta.tokens import tokenize

LEXICAL_WEIGHT = 0.05
"""What a point of BM25 counts beside a cosine: chosen on the public validation halves, see results/validation.md."""

# Tools taken from each index: so many, and more for each place in the answer. Over 18,378 tools and 555 requests the
# first 1, 3, 5, 10 and 20 were then those of scoring every tool; with 40 in all, one list in 300 differed.
_CANDIDATES, _CANDIDATES_PER_PLACE = 160, 20
# A clause looks among the request's candidates and so many tools with its words, a step among its own nearest; for
# clauses that found what a search of its own finds, for all 623 validation requests.
_PART_WORDS = 20

_BEHIND = 0.001

# A tool that the request names is ahead of all others; one of several tools of that name only of the unnamed.
_NAMED, _NAMED_AMBIGUOUSLY = 200.0, 100.0

Positions = NDArray[np.int64]
Scores = NDArray[np.float32]
Allowed = NDArray[np.bool_]
"""Which tools may be in an answer, by position."""


@dataclass(frozen=True)
class Stages:
    """Say which stages a ranking goes through; the default is the first two.

    Attributes:
        weight: of a point of BM25 beside a cosine.
        clauses: when a clause's best tool gets a place.
        steps: when the best tool of a rewrite's step does.
        completion: how providers of ids are brought along.
        prior: what a tool's score is raised by, by position.
        partners: tools that examples need beside a tool, by position; they are brought along as providers are.
        requests: the mean of the vectors of the requests that examples use a tool for, by position, see `TaughtDense`.
    """

    weight: float = LEXICAL_WEIGHT
    clauses: StepRule | None = None
    steps: StepRule | None = None
    completion: CompletionRule | None = None
    prior: Mapping[int, float] = field(default_factory=dict)
    partners: Mapping[int, Sequence[int]] = field(default_factory=dict)
    requests: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass
class Trace:
    """Why tools are where they are, by position.

    Attributes:
        cosines: of the request and each tool of the answer.
        taught: what examples that use a tool have added to its cosine.
        words: what the words they share count beside it.
        named: tools that the request names.
        places: tools that a clause or a step has brought up, and which.
        brought: tools that were brought along, as what (`provides_for`, `used_with`), and the tool that brought them.
        nearest: the highest cosine of all tools; 0 where there is none.
    """

    cosines: dict[int, float] = field(default_factory=dict)
    taught: dict[int, float] = field(default_factory=dict)
    words: dict[int, float] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)
    places: dict[int, tuple[str, str]] = field(default_factory=dict)
    brought: dict[int, tuple[str, int]] = field(default_factory=dict)
    nearest: float = 0.0


SERVED = Stages(clauses=CLAUSES, steps=STEPS, completion=CompletionRule())
"""What is served: all stages; there are steps where there is a rewriter, and what examples teach where they have."""


class HybridRetriever:
    """Rank the tools of an index in stages."""

    def __init__(self, index: Index, encoder: TextEncoder, stages: Stages = SERVED) -> None:
        self.index = index
        self.stages = stages
        self.reader = Reader(encoder, clauses=stages.clauses is not None)
        self._known_needs: dict[int, list[list[Provider]]] = {}
        self._prior = _by_position(stages.prior, len(index.ids))
        self._raised = np.flatnonzero(self._prior)
        self._dense = TaughtDense(index.dense, stages.requests) if stages.requests else index.dense

    def with_prior(self, prior: Mapping[int, float]) -> Self:
        """Return what ranks by another prior, and shares all else, which a lesson makes large."""
        other = copy(self)
        other.stages = replace(self.stages, prior=prior)
        other._prior = _by_position(prior, len(self.index.ids))
        other._raised = np.flatnonzero(other._prior)
        return other

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank for each query; a rewritten one by its original text and the steps of the rewrite."""
        return {query.query_id: self.rank(one, k) for query, one in zip(queries, self.read(queries), strict=True)}

    def read(self, queries: Sequence[Query]) -> list[Reading]:
        """Read queries, a rewritten one with the steps of the rewrite."""
        readings = self.reader.read_all([query.original or query.text for query in queries])
        rewrites = [split_steps(query.text) if query.original else () for query in queries]
        return [self.reader.with_steps(*one) for one in zip(readings, rewrites, strict=True)]

    def nearest(self, text: str, count: int) -> list[Tool]:
        """Return the tools that a rewriter is shown for a request, best first."""
        return self.shown(self.reader.read(text), count)

    def shown(self, reading: Reading, count: int, allowed: Allowed | None = None) -> list[Tool]:
        """Return the tools that a rewriter is shown for a request that was read, best first."""
        return [self.index.tool(scored.tool_id) for scored in self.rank(reading, count, allowed)]

    def rank(
        self, reading: Reading, k: int, allowed: Allowed | None = None, trace: "Trace | None" = None
    ) -> list[ScoredTool]:
        """Return the k best tools for a request, of the allowed ones where not all are; `trace` is told why."""
        trace = trace or Trace()
        lexical = self._lexical(reading.tokens, allowed)
        named = self.named(reading.text, allowed)
        n = _CANDIDATES + _CANDIDATES_PER_PLACE * k
        nearest, cosines = self._dense.search(reading.vector, n, allowed)
        trace.nearest = float(cosines[0]) if len(cosines) else 0.0
        candidates = np.concatenate([nearest, _highest(lexical, n), self._raised, *named])
        bonus = self._prior + _bonus(named, len(self._prior))
        meaning = np.full(len(bonus), np.nan, np.float32)
        meaning[nearest] = cosines

        def score(new: Positions) -> Scores:
            unknown = new[np.isnan(meaning[new])]
            meaning[unknown] = self._dense.cosines(reading.vector, unknown)
            return np.asarray(meaning[new] + np.float32(self.stages.weight) * lexical[new] + bonus[new])

        ranking = _Ranking(score, len(bonus), allowed)
        ranking.add(candidates.astype(np.int64))
        self._give_places(ranking, reading, trace)
        if self.stages.completion:
            needing = ranking.first(self.stages.completion.first)
            needs = [(int(at), *one) for at in needing for one in self._brought(int(at), allowed)]
            providers = np.array([one.position for _, _, group in needs for one in group], np.int64)
            ranking.add(providers)
            ranking.scores = _completed(ranking.scores, needs, self.stages.completion, trace)
        first = ranking.first(k)
        trace.named = {position for group in named for position in group}
        if isinstance(self._dense, TaughtDense):
            trace.taught = self._dense.gains(reading.vector, first)
        trace.cosines = dict(zip(first.tolist(), meaning[first].tolist(), strict=True))
        trace.words = {at: float(self.stages.weight * lexical[at]) for at in first.tolist()}
        return [ScoredTool(self.index.ids[at], float(ranking.scores[at])) for at in first]

    def named(self, text: str, allowed: Allowed | None = None) -> list[list[int]]:
        """Return the tools of each name in a text, of the allowed ones."""
        return self.index.finder.find(text, allowed)

    def _brought(self, position: int, allowed: Allowed | None) -> list[tuple[str, list[Provider]]]:
        """Return what a tool brings along: for each of its needs one of several providers, and each of its partners."""
        partners = [[Provider(other, strength=0)] for other in self.stages.partners.get(position, ())]
        kinds = {"provides_for": self._needs(position, allowed), "used_with": partners}
        return [(kind, group) for kind, groups in kinds.items() for group in groups]

    def _needs(self, position: int, allowed: Allowed | None) -> list[list[Provider]]:
        if position not in self._known_needs:
            self._known_needs[position] = self.index.providers.needs(self.index.tools[position])
        known = self._known_needs[position]
        if allowed is None or all(allowed[one.position] for group in known for one in group):
            return known
        # One that is not allowed must not keep another from being found: it may be somebody else's.
        return self.index.providers.needs(self.index.tools[position], allowed=allowed)

    def _fused(self, vector: Scores, lexical: Scores, positions: Positions) -> Scores:
        return self._dense.cosines(vector, positions) + np.float32(self.stages.weight) * lexical[positions]

    def _give_places(self, ranking: "_Ranking", reading: Reading, trace: "Trace") -> None:
        """Bring each step's and clause's best tool to the side of the best of all, in their order, before any prior."""
        parts: list[tuple[Part, StepRule | None, Positions | None]]
        steps = self.stages.steps if self.stages.steps and len(reading.steps) >= self.stages.steps.fewest else None
        parts = [(part, steps, None) for part in reading.steps]
        parts += [(part, self.stages.clauses, ranking.known) for part in reading.clauses]
        limit = (ranking.scores - self._prior).max(initial=0.0)
        for part, rule, among in parts:
            if rule is not None and len(ranking.known):
                position, score = self._best_for(part, among, ranking.allowed)
                if score >= rule.least:
                    ranking.add(np.array([position]))
                    limit -= _BEHIND
                    raised = min(limit + self._prior[position], ranking.scores[position] + rule.lift)
                    if raised > ranking.scores[position]:
                        ranking.scores[position] = raised
                        trace.places[position] = ("step" if among is None else "clause", part.text)

    def _lexical(self, tokens: Sequence[str], allowed: Allowed | None) -> Scores:
        scores = self.index.lexical.scores(tokens)
        return scores if allowed is None else np.where(allowed, scores, np.float32(0))

    def _best_for(self, part: Part, among: Positions | None, allowed: Allowed | None) -> tuple[int, float]:
        """Return the best tool for a part of a request by itself, and its score."""
        lexical = self._lexical(tokenize(part.text), allowed)
        if among is None:
            among = self._dense.search(part.vector, _CANDIDATES, allowed)[0]
        positions = np.union1d(among, _highest(lexical, _PART_WORDS))
        scores = self._fused(part.vector, lexical, positions)
        first = best(scores, 1, positions)[0]
        return int(positions[first]), float(scores[first])


class _Ranking:
    """The scores of the tools that were looked at for a request; all others have none."""

    def __init__(self, score: Callable[[Positions], Scores], tools: int, allowed: Allowed | None) -> None:
        self.scores = np.full(tools, -np.inf, np.float32)
        self.known: Positions = np.empty(0, np.int64)  # in catalogue order
        self.allowed = allowed
        self._score = score

    def add(self, positions: Positions) -> None:
        """Look at tools, the allowed ones; what is known of a tool already stays."""
        new = np.unique(positions)
        new = new if self.allowed is None else new[self.allowed[new]]
        new = new[np.isneginf(self.scores[new])]
        if len(new):
            self.scores[new] = self._score(new)
            self.known = np.sort(np.concatenate([self.known, new]))

    def first(self, k: int) -> Positions:
        """Return the k best, best first."""
        return self.known[best(self.scores[self.known], k)]


def _completed(
    scores: Scores, needs: Sequence[tuple[int, str, Sequence[Provider]]], rule: CompletionRule, trace: "Trace"
) -> Scores:
    """Lift for each need its best provider to the side of the tool that has the need.

    It comes right before that tool, so that at the edge of the answer the provider stays, which others need too; but
    right behind a tool that the request names, and never before the best of all.
    """
    # The best tool stays the first: it is what was asked for.
    after, limit = scores.copy(), scores.max(initial=0.0) - _BEHIND
    for position, kind, group in needs:
        provider = max(group, key=lambda one: scores[one.position] + rule.strength * one.strength).position
        if np.isneginf(scores[provider]):
            continue  # none of them is allowed
        lead = rule.lead if scores[position] < _NAMED_AMBIGUOUSLY else -rule.lead
        lifted = min(scores[position] + lead, limit)
        if lifted > after[provider]:
            after[provider] = lifted
            trace.brought[provider] = kind, position
    return after


def _highest(scores: Scores, n: int) -> Positions:
    """Return where the n highest positive scores stand, in any order."""
    matching = np.flatnonzero(scores > 0)
    return matching[np.argpartition(-scores[matching], n)[:n]] if len(matching) > n else matching


def without_names(scores: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of a ranking without what it counts that the request names a tool."""
    counted = [_NAMED, _NAMED_AMBIGUOUSLY]
    return np.asarray(scores - np.select([scores > one - _NAMED_AMBIGUOUSLY / 2 for one in counted], counted, 0.0))


def _by_position(prior: Mapping[int, float], tools: int) -> Scores:
    bonus = np.zeros(tools, np.float32)
    for position, raised in prior.items():
        bonus[position] = raised
    return bonus


def _bonus(named: Sequence[Sequence[int]], tools: int) -> Scores:
    bonus = np.zeros(tools, np.float32)
    for group in named:
        bonus[group] = np.maximum(bonus[group], _NAMED if len(group) == 1 else _NAMED_AMBIGUOUSLY)
    return bonus
