"""Preference pairs: several rewrites of each annotated request, ranked by what the frozen retriever makes of them.

Steps (2) and (3) of query-tool alignment (arXiv 2410.03212, section 4): the retriever gives each rewrite the ranks of
the golden tools, a ranking function orders the rewrites by them, and good rewrites are paired with bad ones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mtrb.errors import InputError
from mtrb.types import Query
from qta.ranking import RankingFunction
from qta.rewriting.prompt import Message
from qta.steps import join_steps, split_steps

RankGolden = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Return, for each rewrite of a request, the ranks (from 1) of the request's golden tools."""


@dataclass(frozen=True)
class PreferencePair:
    """Two rewrites of a request, of which one serves the golden tools better by `margin`."""

    query_id: str
    prompt: list[Message]
    chosen: str
    rejected: str
    margin: float

    def to_trl(self) -> dict[str, list[Message]]:
        """Return the pair in TRL's conversational form with an explicit prompt."""
        return {
            "prompt": self.prompt,
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
        }


@dataclass(frozen=True)
class Candidate:
    """A rewrite and its score."""

    text: str
    score: float


@dataclass(frozen=True)
class Candidates:
    """All rewrites of one request, the request itself first."""

    query: Query
    prompt: list[Message]
    ranked: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `of` reads."""
        return {
            "query": [self.query.query_id, self.query.text],
            "prompt": self.prompt,
            "ranked": [[one.text, one.score] for one in self.ranked],
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Candidates":
        """Read what `to_json` gave."""
        return cls(Query(*content["query"]), content["prompt"], tuple(Candidate(*one) for one in content["ranked"]))

    @property
    def original(self) -> float:
        """Return what the request scores as it is."""
        return self.ranked[0].score

    @property
    def best(self) -> float:
        """Return the highest score."""
        return max(one.score for one in self.ranked)


def rank_candidates(
    query: Query,
    prompt: list[Message],
    samples: Sequence[str],
    rank: RankGolden,
    function: RankingFunction,
) -> Candidates:
    """Score a request's rewrites and the request itself; equal rewrites count once, empty ones not at all."""
    texts = [query.text, *(join_steps(split_steps(sample)) for sample in samples)]
    distinct: dict[str, str] = {}
    for text in filter(None, texts):
        distinct.setdefault(text.casefold(), text)
    ranks = rank(list(distinct.values()))
    ranked = [Candidate(text, function(places, text)) for text, places in zip(distinct.values(), ranks, strict=True)]
    return Candidates(query, prompt, tuple(ranked))


def build_pairs(candidates: Candidates, most: int, margin: float) -> list[PreferencePair]:
    """Pair the best rewrite with the worst, the second best with the second worst, while they differ by the margin."""
    ordered = sorted(candidates.ranked, key=lambda one: -one.score)
    pairs: list[PreferencePair] = []
    for good, bad in zip(ordered[: len(ordered) // 2], reversed(ordered), strict=False):
        gap = good.score - bad.score
        if gap < margin or len(pairs) == most:
            break
        pairs.append(PreferencePair(candidates.query.query_id, candidates.prompt, good.text, bad.text, gap))
    return pairs


def write_pairs(path: Path, rounds: Sequence[tuple[Sequence[Candidates], Sequence[PreferencePair]]]) -> dict[str, Any]:
    """Write the pairs of all rounds as JSON Lines, and return their statistics, which are the last line too."""
    statistics = {"rounds": [summarise(*one) for one in rounds]}
    with path.open("w", encoding="utf-8") as file:
        for number, (_, pairs) in enumerate(rounds, start=1):
            for pair in pairs:
                file.write(json.dumps({"round": number, **asdict(pair)}, ensure_ascii=False) + "\n")
        file.write(json.dumps({"statistics": statistics}, ensure_ascii=False) + "\n")
    return statistics


def summarise(candidates: Sequence[Candidates], pairs: Sequence[PreferencePair]) -> Mapping[str, Any]:
    """Count what a round's sampling gave, and name the queries that gave no pair."""
    paired = {pair.query_id for pair in pairs}
    return {
        "queries": len(candidates),
        "candidates": sum(len(one.ranked) for one in candidates),
        "pairs": len(pairs),
        "mean_score_of_requests": mean(one.original for one in candidates),
        "mean_score_of_rewrites": mean(mean(each.score for each in one.ranked) for one in candidates),
        "mean_best_score": mean(one.best for one in candidates),
        "queries_without_pair": [one.query.query_id for one in candidates if one.query.query_id not in paired],
    }


class NoPairsError(InputError):
    """All rewrites of all requests serve them alike, so that there is nothing to learn."""


def require_pairs(candidates: Sequence[Candidates], pairs: Sequence[PreferencePair], margin: float) -> None:
    """Refuse to train on nothing.

    Raises:
        NoPairsError: no request has two rewrites that differ by the margin.
    """
    if not pairs:
        distinct = sum(len(one.ranked) for one in candidates)
        raise NoPairsError(
            f"no preference pair: the {distinct} rewrites of {len(candidates)} requests all score within {margin} of "
            "each other; sample more or at a higher temperature, lower the margin, or check the golden tools; the rest "
            "of what they teach is learnt by `qta train examples`"
        )
