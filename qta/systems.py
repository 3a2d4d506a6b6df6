"""The systems that `qta eval` can run, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtrb.errors import InputError
from mtrb.types import Tool
from qta import taught
from qta.baselines import FloatDenseRetriever, PaperBM25Retriever, RandomRetriever
from qta.completion import CompletionRule
from qta.examples import Examples
from qta.hybrid import LEXICAL_WEIGHT, HybridRetriever, Stages
from qta.index import build_in_memory
from qta.pipeline import Retriever
from qta.retrievers import DenseRetriever, LexicalRetriever
from qta.taught import Taught
from qta.workbench import Workbench


@dataclass(frozen=True)
class System:
    """Say what a system is and how it is built: from a workbench and the parameter behind the colon of its name."""

    about: str
    build: Callable[[Workbench, str], Retriever]


@dataclass(frozen=True)
class TaughtSystem:
    """Say what a system is that learns from annotated examples, and how it is built, once for each seed."""

    about: str
    build: Callable[[Workbench, Examples], Sequence[Taught]]


def _hybrid(bench: Workbench, weight: str) -> Retriever:
    return HybridRetriever(bench.index, bench.encoder, Stages(float(weight) if weight else LEXICAL_WEIGHT))


def _rewritten(bench: Workbench, folder: str) -> Retriever:
    from qta.rewriting import RewriterChoice

    opened = RewriterChoice(folder or "default").open()
    return taught.served(bench, opened.lesson, opened.rewriter)


def _expanded(bench: Workbench, requests: str) -> Retriever:
    from qta.training.expansion import expanded, load_generator

    tools = expanded(bench.toolset, load_generator(), int(requests or 1))
    return HybridRetriever(build_in_memory(tools, bench.encoder), bench.encoder)


SYSTEMS: dict[str, System | TaughtSystem] = {
    "random": System("seeded random order", lambda bench, _: RandomRetriever(bench.toolset)),
    "bm25-paper": System("the paper's BM25 row", lambda bench, _: PaperBM25Retriever(bench.toolset)),
    "minilm": System("the paper's zero-shot row: MiniLM in float32, descriptions only", lambda bench, _: bench.minilm),
    "constant-suffix": TaughtSystem(
        "minilm, the descriptions of the tools most used in the examples behind every request", taught.constant_suffix
    ),
    "usage-prior": TaughtSystem("minilm + w log(1 + uses in the examples)", taught.usage_prior),
    "minilm-ft": TaughtSystem("minilm fine-tuned on the examples, the paper's FT row", taught.minilm_ft),
    "qta-paper": TaughtSystem(
        "the paper's pipeline: the rewrite alone is minilm's query",
        lambda bench, known: taught.paper(bench, known, 0.0),
    ),
    "qta-paper+raw": TaughtSystem(
        "the mean of its scores and the request's", lambda bench, known: taught.paper(bench, known, 0.5)
    ),
    "bm25": System("our lexical index", lambda bench, _: LexicalRetriever(bench.index)),
    "dense": System(
        "our dense index: MiniLM int8, name and description",
        lambda bench, _: DenseRetriever(bench.index, bench.encoder),
    ),
    "dense-float32": System(
        "the same texts by all-MiniLM-L6-v2 as published, in float32",
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
    "rewritten": System(
        "clauses, and the steps of our rewriter's rewrite get places; rewritten:DIR is what is served of a folder",
        _rewritten,
    ),
    "expanded": System(
        "clauses over tools whose descriptions a model has extended by a request each; expanded:N by N requests",
        _expanded,
    ),
    "qta-no-rewrite": TaughtSystem(
        "clauses, and what examples teach: tools come nearer to their requests, and count for their uses",
        taught.no_rewrite,
    ),
    "qta": TaughtSystem("the same with a rewriter aligned with the examples", taught.rewriting),
}


_WITH_PARAMETER = ("hybrid", "rewritten", "expanded")


def check_system(name: str) -> None:
    """Refuse a name that stands for no system, before any work is done.

    Raises:
        InputError: there is no such system.
    """
    base, colon, parameter = name.partition(":")
    if base not in SYSTEMS or (colon and base not in _WITH_PARAMETER):
        raise InputError(f"unknown system {name!r}; known: {', '.join(SYSTEMS)}")
    if base == "hybrid" and colon and not parameter.replace(".", "", 1).isdecimal():
        raise InputError(f"system {name!r}: the weight must be a number, e.g. hybrid:0.1")
    if base == "expanded" and colon and not parameter.isdecimal():
        raise InputError(f"system {name!r}: the number of requests must be a whole number, e.g. expanded:3")


def learns(name: str) -> bool:
    """Tell whether a system needs annotated examples."""
    return isinstance(SYSTEMS[name.partition(":")[0]], TaughtSystem)


def build_system(name: str, bench: Workbench, examples: Examples | None = None) -> Sequence[Retriever]:
    """Build a system by its name, e.g. `hybrid` or `hybrid:0.1`; one that depends on a seed several times.

    Raises:
        InputError: there is no such system, or it needs examples and there are none.
        AbsentDataError: it needs a rewriter that is not trained yet.
    """
    check_system(name)
    base, _, parameter = name.partition(":")
    system = SYSTEMS[base]
    if isinstance(system, System):
        return [system.build(bench, parameter)]
    if examples is None:
        raise InputError(f"the system {name!r} learns from annotated examples, and there are none")
    return system.build(bench, examples)
