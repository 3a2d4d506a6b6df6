"""The engine behind every front end: one request in, the ranked tools and how they came about out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtrb.types import ScoredTool
from qta.encoder import Encoder
from qta.index import ToolIndex, load_index
from qta.retrievers import default_retriever

RewriteMode = Literal["auto", "off", "always"]


@dataclass(frozen=True)
class Answer:
    """What a request gets: ranked tools with their definitions, timings, and what did not go as asked."""

    query: str
    k: int
    ranking: Sequence[ScoredTool]
    tools: Sequence[dict[str, Any]]
    index: dict[str, Any]
    rewritten_query: str | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)
    degraded: Sequence[dict[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the answer as `POST /retrieve` and `qta retrieve --json` give it."""
        return {
            "tools": list(self.tools),
            "query": self.query,
            "rewritten_query": self.rewritten_query,
            "k": self.k,
            "index": self.index,
            "timing_ms": self.timing_ms,
            "degraded": list(self.degraded),
        }


class Engine:
    """Answer requests over one index; safe to share between threads."""

    def __init__(self, index: ToolIndex, encoder: Encoder) -> None:
        """Take an open index and load everything a first request would have to wait for."""
        self.index = index
        self._encoder = encoder
        self._retriever = default_retriever(index, encoder)
        self.about = _about(index)
        self.retrieve("warm up", 1)

    @classmethod
    def open(cls, folder: Path) -> "Engine":
        """Open an index folder with the encoder of this package.

        Raises:
            ArtefactError: the index or the encoder is absent, damaged or does not fit.
        """
        encoder = Encoder()
        return cls(load_index(folder, encoder), encoder)

    def retrieve(self, query: str, k: int = 5, rewrite: RewriteMode = "auto") -> Answer:
        """Rank the tools for a request and return the first k with their definitions."""
        degraded = []
        if rewrite == "always":
            degraded.append(
                {"reason": "no_rewriter", "detail": "no rewriter is installed; the request was ranked as it is"}
            )
        start = time.perf_counter()
        vector, truncated = self._encoder.encode_one(query)
        encoded = time.perf_counter()
        if truncated:
            limit = self._encoder.manifest.max_tokens
            detail = f"the encoder read the first {limit} tokens; words after them counted in the lexical ranking only"
            degraded.append({"reason": "query_truncated", "detail": detail})
        ranking = self._retriever.rank(query, vector, k)
        tools = [self._tool(scored, rank) for rank, scored in enumerate(ranking, start=1)]
        end = time.perf_counter()
        timing = {"encode": encoded - start, "search": end - encoded, "total": end - start}
        return Answer(
            query=query,
            k=k,
            ranking=ranking,
            tools=tools,
            index=self.about,
            timing_ms={stage: round(1000 * seconds, 3) for stage, seconds in timing.items()},
            degraded=degraded,
        )

    def _tool(self, scored: ScoredTool, rank: int) -> dict[str, Any]:
        tool = self.index.tool(scored.tool_id)
        return {
            "tool_id": tool.tool_id,
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "score": round(scored.score, 4),
            "rank": rank,
        }


def _about(index: ToolIndex) -> dict[str, Any]:
    manifest = index.manifest
    about: dict[str, Any] = {"tools": len(index.ids), "search": index.dense.kind}
    if manifest is not None:
        about |= {"fingerprint": manifest.fingerprint[:16], "created": manifest.created, "encoder": manifest.encoder}
    return about
