"""The systems that `qta eval` can run, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from mtrb.errors import InputError
from mtrb.types import Query, Run, Tool, Toolset
from qta.baselines import FloatDenseRetriever, PaperBM25Retriever, RandomRetriever
from qta.completion import CompletionRule
from qta.encoder import Encoder
from qta.examples import PRIOR_WEIGHTS, Choice, Examples, leave_one_out
from qta.hybrid import LEXICAL_WEIGHT, SERVED, HybridRetriever, Stages
from qta.index import Advance, ToolIndex, build_in_memory
from qta.pipeline import Retriever
from qta.retrievers import DenseRetriever, LexicalRetriever

Value = TypeVar("Value")

_PAPER_TOKENS = 256  # what sentence-transformers reads of a text unless told otherwise
_DEPTH = 1000  # how deep golden tools are looked for where a weight is chosen
_SUFFIXES = (0, 1, 2, 3)


class Workbench:
    """Build systems over one catalogue; those that need an index or the original weights share them."""

    def __init__(self, toolset: Toolset, encoder: Encoder, advance: Advance = lambda _: None) -> None:
        self.toolset = toolset
        self.encoder = encoder
        self._advance = advance

    @cached_property
    def index(self) -> ToolIndex:
        """Return the catalogue's index, built at first use."""
        return build_in_memory(self.toolset, self.encoder, self._advance)

    @cached_property
    def minilm(self) -> FloatDenseRetriever:
        """Return the paper's zero-shot retriever."""
        return FloatDenseRetriever(self.toolset, _description, _PAPER_TOKENS)


@dataclass(frozen=True)
class Taught:
    """A retriever that learnt from examples, and what was chosen for it."""

    retriever: Retriever
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Retrieve."""
        return self.retriever.retrieve(queries, k)


@dataclass(frozen=True)
class System:
    """Say what a system is and how it is built: from a workbench and the parameter behind the colon of its name."""

    about: str
    build: Callable[[Workbench, str], Retriever]


@dataclass(frozen=True)
class TaughtSystem:
    """Say what a system is that learns from annotated examples, and how it is built."""

    about: str
    build: Callable[[Workbench, Examples], Taught]


def _hybrid(bench: Workbench, weight: str) -> Retriever:
    return HybridRetriever(bench.index, bench.encoder, Stages(float(weight) if weight else LEXICAL_WEIGHT))


def _usage_prior(bench: Workbench, examples: Examples) -> Taught:
    def retriever(weight: float, known: Examples) -> Retriever:
        return bench.minilm.with_prior(known.prior(weight))

    choice = leave_one_out(examples, PRIOR_WEIGHTS, _ranking(bench, retriever), default=0.1)
    return Taught(retriever(choice.value, examples), _chosen(prior=choice))


def _constant_suffix(bench: Workbench, examples: Examples) -> Taught:
    def retriever(tools: int, known: Examples) -> Retriever:
        used = list(known.uses())[:tools]
        return _Suffixed(bench.minilm, " ".join(bench.toolset[position].description for position in used))

    choice = leave_one_out(examples, _SUFFIXES, _ranking(bench, retriever), default=1)
    return Taught(retriever(choice.value, examples), _chosen(suffix=choice))


def _aligned(bench: Workbench, examples: Examples) -> Taught:
    def retriever(weight: float, known: Examples) -> Retriever:
        return HybridRetriever(bench.index, bench.encoder, replace(SERVED, prior=known.prior(weight)))

    choice = leave_one_out(examples, PRIOR_WEIGHTS, _ranking(bench, retriever), default=0.1)
    return Taught(retriever(choice.value, examples), _chosen(prior=choice))


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
        ranking = retriever(value, known).retrieve([query], min(_DEPTH, len(bench.toolset)))[query.query_id]
        return [bench.toolset.positions[scored.tool_id] for scored in ranking]

    return rank


def _chosen(**choices: Choice[Any]) -> dict[str, Any]:
    return {
        name: {"value": choice.value, "by": "leave-one-out" if choice.from_examples else "default"}
        for name, choice in choices.items()
    }


SYSTEMS: dict[str, System | TaughtSystem] = {
    "random": System("seeded random order", lambda bench, _: RandomRetriever(bench.toolset)),
    "bm25-paper": System("the paper's BM25 row", lambda bench, _: PaperBM25Retriever(bench.toolset)),
    "minilm": System("the paper's zero-shot row: MiniLM in float32, descriptions only", lambda bench, _: bench.minilm),
    "constant-suffix": TaughtSystem(
        "minilm, the descriptions of the tools most used in the examples behind every request", _constant_suffix
    ),
    "usage-prior": TaughtSystem("minilm + w log(1 + uses in the examples)", _usage_prior),
    "bm25": System("our lexical index", lambda bench, _: LexicalRetriever(bench.index)),
    "dense": System(
        "our dense index: MiniLM int8, name and description",
        lambda bench, _: DenseRetriever(bench.index, bench.encoder),
    ),
    "dense-float32": System(
        "the same texts in float32, to compare the encoder file",
        lambda bench, _: FloatDenseRetriever(bench.toolset, Tool.default_text, bench.encoder.manifest.max_tokens),
    ),
    "hybrid": System("cosine + weight x BM25, exact names first; hybrid:W sets the weight", _hybrid),
    "completed": System(
        "hybrid, and tools that need an id bring the one along that provides it",
        lambda bench, _: HybridRetriever(bench.index, bench.encoder, Stages(completion=CompletionRule())),
    ),
    "clauses": System(
        "the default: completed, and the best tool for each clause of a request gets its place",
        lambda bench, _: HybridRetriever(bench.index, bench.encoder),
    ),
    "qta-no-rewrite": TaughtSystem("clauses + w log(1 + uses in the examples)", _aligned),
}


def check_system(name: str) -> None:
    """Refuse a name that stands for no system, before any work is done.

    Raises:
        InputError: there is no such system.
    """
    base, colon, parameter = name.partition(":")
    if base not in SYSTEMS or (colon and base != "hybrid"):
        raise InputError(f"unknown system {name!r}; known: {', '.join(SYSTEMS)}")
    if colon and not parameter.replace(".", "", 1).isdecimal():
        raise InputError(f"system {name!r}: the weight must be a number, e.g. hybrid:0.1")


def learns(name: str) -> bool:
    """Tell whether a system needs annotated examples."""
    return isinstance(SYSTEMS[name.partition(":")[0]], TaughtSystem)


def build_system(name: str, bench: Workbench, examples: Examples | None = None) -> Retriever:
    """Build a system by its name, e.g. `hybrid` or `hybrid:0.1`.

    Raises:
        InputError: there is no such system, or it needs examples and there are none.
    """
    check_system(name)
    base, _, parameter = name.partition(":")
    system = SYSTEMS[base]
    if isinstance(system, System):
        return system.build(bench, parameter)
    if examples is None:
        raise InputError(f"the system {name!r} learns from annotated examples, and there are none")
    return system.build(bench, examples)


def _description(tool: Tool) -> str:
    return tool.description
