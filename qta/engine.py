"""The engine behind every front end: one request in, the ranked tools and how they came about out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtrb.types import ScoredTool
from qta.encoder import Encoder
from qta.hybrid import SERVED, HybridRetriever, Stages
from qta.index import ToolIndex, load_index
from qta.reading import Reading
from qta.rewriting import RewriterChoice
from qta.rewriting.rewriter import Rewrite, ToolRewriter
from qta.steps import join_steps

RewriteMode = Literal["auto", "off", "always"]

_FAILURES = {
    "rewrite_timeout": "the rewriter did not answer in time; the request was ranked as it is",
    "rewrite_failed": "the rewriter failed; the request was ranked as it is",
    "rewrite_empty": "the rewriter had nothing to say; the request was ranked as it is",
    "no_rewriter": "no rewriter is installed; the request was ranked as it is",
}


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

    def __init__(
        self, index: ToolIndex, encoder: Encoder, rewriter: ToolRewriter | None = None, stages: Stages = SERVED
    ) -> None:
        """Take an open index and load everything a first request would have to wait for."""
        self.index = index
        self.rewriter = rewriter
        self._max_tokens = encoder.manifest.max_tokens
        self._retriever = HybridRetriever(index, encoder, stages)
        self.about = _about(index)
        self.retrieve("warm up", 1)

    @classmethod
    def open(cls, folder: Path, rewriter: RewriterChoice | None = None) -> "Engine":
        """Open an index folder with the encoder of this package, and a rewriter where one is wanted.

        Raises:
            ArtefactError: the index, the encoder or the rewriter is absent, damaged or does not fit.
        """
        encoder = Encoder()
        return cls(load_index(folder, encoder), encoder, rewriter.open() if rewriter else None)

    def retrieve(self, query: str, k: int = 5, rewrite: RewriteMode = "auto") -> Answer:
        """Rank the tools for a request and return the first k with their definitions."""
        clock = _Clock()
        reading = self._retriever.reader.read(query)
        clock.stop("encode")
        rewritten = self._rewrite(reading, rewrite)
        if rewritten.steps:
            reading = self._retriever.reader.with_steps(reading, rewritten.steps)
        if rewritten.steps or rewritten.failure:
            clock.stop("rewrite")
        ranking = self._retriever.rank(reading, k)
        tools = [self._tool(scored, rank) for rank, scored in enumerate(ranking, start=1)]
        clock.stop("search")
        return Answer(
            query=query,
            k=k,
            ranking=ranking,
            tools=tools,
            index=self.about,
            rewritten_query=join_steps(rewritten.steps) or None,
            timing_ms=clock.timing_ms(),
            degraded=list(self._degraded(reading, rewritten)),
        )

    def _rewrite(self, reading: Reading, mode: RewriteMode) -> Rewrite:
        """Return the steps of a request; a request that names its tool is left alone unless asked for."""
        if mode == "off" or (mode == "auto" and (self.rewriter is None or self._retriever.named(reading.text))):
            return Rewrite()
        if self.rewriter is None:
            return Rewrite(failure="no_rewriter")
        shown = self._retriever.shown(reading, self.rewriter.shown)
        return self.rewriter.steps([reading.text], [shown])[0]

    def _degraded(self, reading: Reading, rewritten: Rewrite) -> list[dict[str, str]]:
        reasons = {}
        if reading.truncated:
            reasons["query_truncated"] = (
                f"the encoder read the first {self._max_tokens} tokens; words after them counted in the lexical "
                "ranking only"
            )
        if not reading.understood:
            reasons["query_not_understood"] = (
                "the encoder and the glossaries know hardly a word of the request; the ranking goes by what words, "
                "names and numbers it shares with the tools"
            )
        if rewritten.failure:
            reasons[rewritten.failure] = _FAILURES[rewritten.failure]
        return [{"reason": reason, "detail": detail} for reason, detail in reasons.items()]

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


class _Clock:
    """Note how long each stage took."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._stages: dict[str, float] = {}

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self._stages[stage] = now - self._last
        self._last = now

    def timing_ms(self) -> dict[str, float]:
        stages = {**self._stages, "total": self._last - self._start}
        return {stage: round(1000 * seconds, 3) for stage, seconds in stages.items()}


def _about(index: ToolIndex) -> dict[str, Any]:
    manifest = index.manifest
    about: dict[str, Any] = {"tools": len(index.ids), "search": index.dense.kind}
    if manifest is not None:
        about |= {"fingerprint": manifest.fingerprint[:16], "created": manifest.created, "encoder": manifest.encoder}
    return about
