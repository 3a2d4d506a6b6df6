"""Systems that learn from annotated examples: what each learns, and how much it makes of it, by leave-one-out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mtrb.errors import AbsentDataError, ArtefactError
from mtrb.types import Query, Run, ScoredTool
from qta.examples import PRIOR_WEIGHTS, Choice, Examples, leave_one_out
from qta.hybrid import HybridRetriever
from qta.lesson import Lesson
from qta.pipeline import Pipeline, Retriever
from qta.recipe import DEPTH, choose_recipe, describe
from qta.retrievers import best
from qta.workbench import Workbench

if TYPE_CHECKING:
    from qta.rewriting.rewriter import ToolRewriter

Value = TypeVar("Value")

NOTHING_TO_LEARN = "nothing-to-learn.txt"
"""In the place of a rewriter: the examples gave no preference pair."""
_SUFFIXES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Taught:
    """A retriever that learnt from examples, and what was chosen for it."""

    retriever: Retriever
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Retrieve."""
        return self.retriever.retrieve(queries, k)


def usage_prior(bench: Workbench, examples: Examples) -> list[Taught]:
    """Raise the paper's zero-shot scores by w log(1 + uses in the examples)."""

    def retriever(weight: float, known: Examples) -> Retriever:
        return bench.minilm.with_prior(known.prior(weight))

    choice = leave_one_out(examples, PRIOR_WEIGHTS, _ranking(bench, retriever), default=0.1)
    return [Taught(retriever(choice.value, examples), _chosen(prior=choice))]


def constant_suffix(bench: Workbench, examples: Examples) -> list[Taught]:
    """Put the descriptions of the m tools most used in the examples behind every request."""

    def retriever(tools: int, known: Examples) -> Retriever:
        used = list(known.uses)[:tools]
        return _Suffixed(bench.minilm, " ".join(bench.toolset[position].description for position in used))

    choice = leave_one_out(examples, _SUFFIXES, _ranking(bench, retriever), default=1)
    return [Taught(retriever(choice.value, examples), _chosen(suffix=choice))]


def minilm_ft(bench: Workbench, examples: Examples) -> list[Taught]:
    """Fine-tune the paper's retriever on the examples, as its FT row does."""
    from qta.training.few import fine_tuned

    return [Taught(fine_tuned(bench.minilm, bench.toolset, examples))]


def no_rewrite(bench: Workbench, examples: Examples) -> list[Taught]:
    """Return all that examples teach but the rewriter."""
    choice = choose_recipe(bench, examples)
    return [Taught(served(bench, choice.value.lesson(examples, bench)), describe(choice))]


def rewriting(bench: Workbench, examples: Examples) -> list[Taught]:
    """Return all that examples teach, the rewriter too, for each seed that one was aligned with."""
    from qta.rewriting import open_rewriter
    from qta.rewriting.manifest import RewriterManifest

    found = []
    for build in trained(bench, "qta", examples):
        if build.name == NOTHING_TO_LEARN:
            found += no_rewrite(bench, examples)
            continue
        gate = RewriterManifest.read(build).gate
        accepted = gate["verdict"] != "rejected"
        choice = choose_recipe(bench, examples, gate["rewrites"])
        lesson = choice.value.lesson(examples, bench)
        retriever = served(bench, lesson, open_rewriter(build) if accepted else None)
        found.append(Taught(retriever, {**describe(choice), "rewriter": {"value": gate["verdict"], "by": "gate"}}))
    return found


def served(bench: Workbench, lesson: Lesson, rewriter: "ToolRewriter | None" = None) -> Retriever:
    """Return what ranks as a service does that has this lesson and rewriter."""
    ranks = HybridRetriever(bench.index, bench.encoder, lesson.stages(bench.toolset.positions.get))
    if rewriter is None:
        return ranks
    from qta.rewriting.rewriter import CatalogueRewriter

    # It is shown what it was aligned with: the tools as they rank without a lesson.
    return Pipeline(CatalogueRewriter(rewriter, HybridRetriever(bench.index, bench.encoder)), ranks)


def paper(bench: Workbench, examples: Examples, raw: float) -> list[Taught]:
    """Return the paper's pipeline: the rewrite alone as the query of frozen MiniLM, or beside the request."""
    return [Taught(PaperRewriting(bench, build, raw)) for build in trained(bench, "paper", examples)]


@dataclass(frozen=True)
class PaperRewriting:
    """Rank by MiniLM's cosines with the greedy rewrite, mixed with those of the request."""

    bench: Workbench
    build: Path
    raw: float

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Rank for the rewrites of the queries."""
        from qta.rewriting import open_rewriter
        from qta.training.frozen import FrozenMiniLM
        from qta.training.gate import rewritten

        frozen = FrozenMiniLM(self.bench.minilm, list(self.bench.toolset))
        texts = rewritten(open_rewriter(self.build), queries, frozen)
        asked = [Query(query.query_id, text or query.text) for query, text in zip(queries, texts, strict=True)]
        scores = self.raw * self.bench.minilm.scores(queries) + (1 - self.raw) * self.bench.minilm.scores(asked)
        ids = self.bench.toolset.ids
        return {
            query.query_id: [ScoredTool(ids[at], float(row[at])) for at in best(np.asarray(row), k)]
            for query, row in zip(queries, scores, strict=True)
        }


def trained(bench: Workbench, kind: str, examples: Examples) -> list[Path]:
    """Return the rewriters that were aligned with these examples, or why there is none, one for each seed.

    Raises:
        AbsentDataError: there is none.
    """
    from qta.rewriting.manifest import last_build

    folder = bench.rewriters / kind / examples.source
    seeds = sorted(folder.glob("seed-*"))
    try:
        builds = [path / NOTHING_TO_LEARN if (path / NOTHING_TO_LEARN).exists() else last_build(path) for path in seeds]
    except ArtefactError as error:
        raise AbsentDataError(f"{error}; or `make rewriters`, which goes on where it was interrupted") from None
    if not builds:
        raise AbsentDataError(f"{folder}: no rewriter aligned with these examples; `make rewriters` trains them")
    return builds


@dataclass(frozen=True)
class _Suffixed:
    """Put the same text behind every request."""

    retriever: Retriever
    suffix: str

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        return self.retriever.retrieve([query.rewritten(f"{query.text} {self.suffix}".strip()) for query in queries], k)


def _ranking(
    bench: Workbench, retriever: Callable[[Value, Examples], Retriever]
) -> Callable[[Value, Examples, Query], list[int]]:
    def rank(value: Value, known: Examples, query: Query) -> list[int]:
        run = retriever(value, known).retrieve([query], min(DEPTH, len(bench.toolset)))
        return [bench.toolset.positions[scored.tool_id] for scored in run[query.query_id]]

    return rank


def _chosen(**choices: Choice[Any]) -> dict[str, Any]:
    return {name: {"value": choice.value, "by": choice.by} for name, choice in choices.items()}
