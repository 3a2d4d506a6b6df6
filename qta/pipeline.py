"""The two protocols of retrieval and their composition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mtrb.types import Query, Run


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
