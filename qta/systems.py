"""The systems that `qta eval` can run, by name."""

from collections.abc import Callable
from functools import cached_property

from mtrb.errors import InputError
from mtrb.types import Tool, Toolset
from qta.baselines import FloatDenseRetriever, PaperBM25Retriever, RandomRetriever
from qta.encoder import Encoder
from qta.index import Advance, ToolIndex, build_in_memory
from qta.pipeline import Retriever
from qta.retrievers import LEXICAL_WEIGHT, DenseRetriever, HybridRetriever, LexicalRetriever

_PAPER_TOKENS = 256  # what sentence-transformers reads of a text unless told otherwise


class Workbench:
    """Build systems over one catalogue; those that need an index share it."""

    def __init__(self, toolset: Toolset, encoder: Encoder, advance: Advance = lambda _: None) -> None:
        self.toolset = toolset
        self.encoder = encoder
        self._advance = advance

    @cached_property
    def index(self) -> ToolIndex:
        """Return the catalogue's index, built at first use."""
        return build_in_memory(self.toolset, self.encoder, self._advance)


def _hybrid(bench: Workbench, weight: str) -> Retriever:
    return HybridRetriever(bench.index, bench.encoder, float(weight) if weight else LEXICAL_WEIGHT)


SYSTEMS: dict[str, tuple[str, Callable[[Workbench, str], Retriever]]] = {
    "random": ("seeded random order", lambda bench, _: RandomRetriever(bench.toolset)),
    "bm25-paper": ("the paper's BM25 row", lambda bench, _: PaperBM25Retriever(bench.toolset)),
    "minilm": (
        "the paper's zero-shot row: MiniLM in float32, descriptions only",
        lambda bench, _: FloatDenseRetriever(bench.toolset, _description, _PAPER_TOKENS),
    ),
    "bm25": ("our lexical index", lambda bench, _: LexicalRetriever(bench.index)),
    "dense": (
        "our dense index: MiniLM int8, name and description",
        lambda bench, _: DenseRetriever(bench.index, bench.encoder),
    ),
    "dense-float32": (
        "the same texts in float32, to compare the encoder file",
        lambda bench, _: FloatDenseRetriever(bench.toolset, Tool.default_text, bench.encoder.manifest.max_tokens),
    ),
    "hybrid": ("the default: cosine + weight x BM25, exact names first; hybrid:W sets the weight", _hybrid),
}


def build_system(name: str, bench: Workbench) -> Retriever:
    """Build a system by its name, e.g. `hybrid` or `hybrid:0.1`.

    Raises:
        InputError: there is no such system.
    """
    check_system(name)
    base, _, parameter = name.partition(":")
    return SYSTEMS[base][1](bench, parameter)


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


def _description(tool: Tool) -> str:
    return tool.description
