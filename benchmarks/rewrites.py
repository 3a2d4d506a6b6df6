"""Rewrites that help and rewrites that harm: what `benchmarks.evidence` shows of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtrb.types import Benchmark, Query
from qta.pipeline import Retriever

_DEPTH = 1000


@dataclass(frozen=True)
class Shift:
    """A rewrite, and the ranks of the golden tools without it and with it."""

    request: str
    rewrite: str
    before: list[int]
    after: list[int]

    @property
    def gain(self) -> float:
        """Return by how much the logarithm of the ranks falls; the last tool's counts as much as all others'."""
        return _depth(self.before) - _depth(self.after)


def _depth(ranks: Sequence[int]) -> float:
    return math.log(max(ranks)) + sum(map(math.log, ranks)) / len(ranks)


def shifts(benchmark: Benchmark, rewritten: Sequence[Query], retriever: Retriever) -> list[Shift]:
    """Return what each rewrite does, the best first; requests that have none are left out."""
    before = _ranks(benchmark, retriever, benchmark.queries)
    after = _ranks(benchmark, retriever, rewritten)
    found = [
        Shift(query.original, query.text, before[query.query_id], after[query.query_id])
        for query in rewritten
        if query.original
    ]
    return sorted(found, key=lambda one: -one.gain)


def _ranks(benchmark: Benchmark, retriever: Retriever, queries: Sequence[Query]) -> Mapping[str, list[int]]:
    run = retriever.retrieve(queries, min(_DEPTH, len(benchmark.toolset)))
    found = {}
    for query_id, ranking in run.items():
        places = {scored.tool_id: place for place, scored in enumerate(ranking, start=1)}
        found[query_id] = [places.get(tool_id, _DEPTH + 1) for tool_id in benchmark.qrels[query_id]]
    return found


def best_and_worst(found: Sequence[Shift], count: int = 5) -> list[Shift]:
    """Return the rewrites that help most and those that harm most, or help least."""
    return [*found[:count], *found[max(count, len(found) - count) :]]
