"""Systems that learn from annotated examples: what each learns, and how much it makes of it, by leave-one-out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple, TypeVar

from mtrb.types import Query, Run
from qta.examples import PRIOR_WEIGHTS, Choice, Examples, leave_one_out
from qta.hybrid import SERVED, HybridRetriever, Stages
from qta.pipeline import Retriever
from qta.workbench import Workbench

Value = TypeVar("Value")

_DEPTH = 1000  # how deep golden tools are looked for where a weight is chosen
_SUFFIXES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Taught:
    """A retriever that learnt from examples, and what was chosen for it."""

    retriever: Retriever
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Retrieve."""
        return self.retriever.retrieve(queries, k)


def usage_prior(bench: Workbench, examples: Examples) -> Taught:
    """Raise the paper's zero-shot scores by w log(1 + uses in the examples)."""

    def retriever(weight: float, known: Examples) -> Retriever:
        return bench.minilm.with_prior(known.prior(weight))

    choice = leave_one_out(examples, PRIOR_WEIGHTS, _ranking(bench, retriever), default=0.1)
    return Taught(retriever(choice.value, examples), _chosen(prior=choice))


def constant_suffix(bench: Workbench, examples: Examples) -> Taught:
    """Put the descriptions of the m tools most used in the examples behind every request."""

    def retriever(tools: int, known: Examples) -> Retriever:
        used = list(known.uses())[:tools]
        return _Suffixed(bench.minilm, " ".join(bench.toolset[position].description for position in used))

    choice = leave_one_out(examples, _SUFFIXES, _ranking(bench, retriever), default=1)
    return Taught(retriever(choice.value, examples), _chosen(suffix=choice))


class Recipe(NamedTuple):
    """What is chosen for a catalogue beside its rewriter: the weight of the prior, and whether clauses get places."""

    prior: float
    clauses: bool = True

    def stages(self, known: Examples) -> Stages:
        """Return the stages of a ranking that has learnt from these examples."""
        return replace(SERVED, prior=known.prior(self.prior), clauses=SERVED.clauses if self.clauses else None)


RECIPES = tuple(Recipe(prior, clauses) for clauses, prior in product((True, False), PRIOR_WEIGHTS))


def choose_recipe(bench: Workbench, examples: Examples, rewrites: Mapping[str, str] | None = None) -> Choice[Recipe]:
    """Choose by leave-one-out, each example with its rewrite by a rewriter that has not seen it where there is one."""

    def rank(recipe: Recipe, known: Examples, query: Query) -> list[int]:
        rewrite = (rewrites or {}).get(query.query_id)
        asked = query.rewritten(rewrite) if rewrite else query
        retriever = HybridRetriever(bench.index, bench.encoder, recipe.stages(known))
        return _positions(bench, retriever.retrieve([asked], min(_DEPTH, len(bench.toolset)))[query.query_id])

    return leave_one_out(examples, RECIPES, rank, default=Recipe(0.1))


def no_rewrite(bench: Workbench, examples: Examples) -> Taught:
    """Return all that examples teach but the rewriter."""
    choice = choose_recipe(bench, examples)
    retriever = HybridRetriever(bench.index, bench.encoder, choice.value.stages(examples))
    return Taught(retriever, describe(choice))


def describe(choice: Choice[Recipe]) -> dict[str, Any]:
    """Return what was chosen, for the report."""
    return {name: _value(value, choice) for name, value in choice.value._asdict().items()}


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
        run = retriever(value, known).retrieve([query], min(_DEPTH, len(bench.toolset)))
        return _positions(bench, run[query.query_id])

    return rank


def _positions(bench: Workbench, ranking: Sequence[Any]) -> list[int]:
    return [bench.toolset.positions[scored.tool_id] for scored in ranking]


def _chosen(**choices: Choice[Any]) -> dict[str, Any]:
    return {name: _value(choice.value, choice) for name, choice in choices.items()}


def _value(value: Any, choice: Choice[Any]) -> dict[str, Any]:
    return {"value": value, "by": "leave-one-out" if choice.from_examples else "default"}
