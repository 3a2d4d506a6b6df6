"""The protocols of retrieval: an index, a retriever, a rewriter, and their composition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Query, Run, Tool
from qta.completion import Provider


class Lexical(Protocol):
    """Score all tools by words."""

    def scores(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """Return each tool's score, by position."""
        ...


class Dense(Protocol):
    """Search tools by vectors."""

    def search(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        ...

    def cosines(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of given tools."""
        ...

    def vector(self, position: int) -> NDArray[np.float32]:
        """Return a tool's vector."""
        ...


class Finder(Protocol):
    """Find the tools that a text names."""

    def find(self, text: str, allowed: NDArray[np.bool_] | None = None) -> list[list[int]]:
        """Return the positions of the tools of each name, in the order of the text."""
        ...


class Needing(Protocol):
    """Find who provides what a tool needs."""

    def needs(self, tool: Tool, *, allowed: NDArray[np.bool_] | None = None) -> list[list[Provider]]:
        """Return for each thing whose id the tool needs who may provide it."""
        ...


class Index(Protocol):
    """A catalogue made searchable, as retrievers see it: every part goes by position."""

    @property
    def ids(self) -> Sequence[str]:
        """Return the tools' ids."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """Return the tools."""
        ...

    @property
    def lexical(self) -> Lexical:
        """Return the index of words."""
        ...

    @property
    def dense(self) -> Dense:
        """Return the index of vectors."""
        ...

    @property
    def providers(self) -> Needing:
        """Return who provides ids."""
        ...

    @property
    def finder(self) -> Finder:
        """Return the index of names."""
        ...

    def tool(self, tool_id: str) -> Tool:
        """Return a tool by its id."""
        ...


class Retriever(Protocol):
    """Rank a catalogue's tools for requests."""

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Return for each query its min(k, tools) best tools, by score descending, none twice."""
        ...


class Rewriter(Protocol):
    """Rewrite requests so that a retriever finds every tool they need."""

    def rewrite(self, queries: Sequence[Query]) -> list[Query]:
        """Return as many queries, in order and with their ids; a text is never empty."""
        ...


class IdentityRewriter:
    """Leave every request as it is."""

    def rewrite(self, queries: Sequence[Query]) -> list[Query]:
        """Return the queries."""
        return list(queries)


@dataclass(frozen=True)
class Pipeline:
    """Rewrite, then retrieve: itself a retriever, so pipelines nest."""

    rewriter: Rewriter
    retriever: Retriever

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """Retrieve for the rewritten queries."""
        return self.retriever.retrieve(self.rewriter.rewrite(queries), k)
