"""The engine behind every front end: one request in, the ranked tools and how they came about out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtrb.types import ScoredTool, Tool
from qta.catalogue import Catalogue
from qta.encoder import Encoder
from qta.hybrid import SERVED, HybridRetriever, Stages, Trace
from qta.live import LiveCatalogue
from qta.overlay import Overlay
from qta.reading import Reading
from qta.rewriting import RewriterChoice
from qta.rewriting.rewriter import Rewrite, ToolRewriter
from qta.selection import ALL, Facets, Filter, Mask, Selector
from qta.steps import join_steps

RewriteMode = Literal["auto", "off", "always"]

_DETAILS = {
    "query_truncated": "the encoder read the first {max_tokens} tokens; words after them counted in the lexical "
    "ranking only",
    "query_not_understood": "the encoder and the glossaries know hardly a word of the request; the ranking goes by "
    "what words, names and numbers it shares with the tools",
    "rewrite_timeout": "the rewriter did not answer in time; the request was ranked as it is",
    "rewrite_failed": "the rewriter failed; the request was ranked as it is",
    "rewrite_empty": "the rewriter had nothing to say; the request was ranked as it is",
    "no_rewriter": "no rewriter is installed; the request was ranked as it is",
}


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        query: the request.
        k: how many tools.
        rewrite: `auto` leaves requests that name their tool as they are, `always` does not.
        wanted: what the request says of the tools.
        granted: the caller's namespaces; None grants all.
        always: ids of tools that are in the answer whatever the request.
        explain: whether the answer says why each tool is in it.
    """

    query: str
    k: int = 5
    rewrite: RewriteMode = "auto"
    wanted: Filter = ALL
    granted: frozenset[str] | None = None
    always: tuple[str, ...] = ()
    explain: bool = False


@dataclass(frozen=True)
class Answer:
    """What a request gets: ranked tools, timings, and what did not go as asked."""

    query: str
    k: int
    ranking: Sequence[ScoredTool]
    tools: Sequence[Tool]
    index: dict[str, Any]
    rewritten_query: str | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)
    degraded: Sequence[dict[str, str]] = ()
    why: Sequence[dict[str, Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer as `POST /retrieve` and `qta retrieve --json` give it unless asked for another form."""
        return {"tools": [self.record(rank) for rank in range(1, len(self.tools) + 1)], **self.around()}

    def record(self, rank: int) -> dict[str, Any]:
        """Return the tool at a rank with its definition, its score, and why it is there where that was asked."""
        tool, scored = self.tools[rank - 1], self.ranking[rank - 1]
        return {
            "tool_id": tool.tool_id,
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "score": round(scored.score, 4),
            "rank": rank,
            **({"why": self.why[rank - 1]} if self.why is not None else {}),
        }

    def around(self) -> dict[str, Any]:
        """Return everything but the tools."""
        return {
            "query": self.query,
            "rewritten_query": self.rewritten_query,
            "k": self.k,
            "index": self.index,
            "timing_ms": self.timing_ms,
            "degraded": list(self.degraded),
        }


@dataclass(frozen=True)
class _View:
    """The catalogue at one moment, and what answers requests over it."""

    now: Overlay
    retriever: HybridRetriever
    selector: Selector
    about: dict[str, Any]


class Engine:
    """Answer requests over a living catalogue; safe to share between threads."""

    def __init__(
        self,
        catalogue: Catalogue,
        encoder: Encoder,
        rewriter: ToolRewriter | None = None,
        stages: Stages = SERVED,
    ) -> None:
        """Take an open catalogue and load everything a first request would have to wait for."""
        self.catalogue = catalogue
        self.rewriter = rewriter
        self._encoder = encoder
        self._stages = stages
        self._view: _View | None = None
        self.retrieve("warm up", 1)

    @classmethod
    def open(cls, folder: Path, rewriter: RewriterChoice | None = None) -> "Engine":
        """Open an index folder with the encoder of this package, and a rewriter where one is wanted.

        Raises:
            ArtefactError: the index, the encoder or the rewriter is absent, damaged or does not fit.
        """
        encoder = Encoder()
        return cls(LiveCatalogue(folder, encoder), encoder, rewriter.open() if rewriter else None)

    @property
    def about(self) -> dict[str, Any]:
        """Return what identifies the catalogue as it is now."""
        return self._look().about

    def retrieve(self, query: str, k: int = 5, rewrite: RewriteMode = "auto") -> Answer:
        """Rank all tools for a request and return the first k."""
        return self.answer(Request(query, k, rewrite))

    def answer(self, asked: Request) -> Answer:
        """Rank the tools for a request and return the first k of those that may be in the answer."""
        clock, view = _Clock(), self._look()
        allowed = view.selector.allowed(asked.wanted, asked.granted)
        reader = view.retriever.reader
        reading = reader.read(asked.query)
        clock.stop("encode")
        rewritten = self._rewrite(view, reading, asked, allowed)
        if rewritten.steps:
            reading = reader.with_steps(reading, rewritten.steps)
        if rewritten.steps or rewritten.failure:
            clock.stop("rewrite")
        trace = Trace()
        ranking = view.retriever.rank(reading, asked.k, allowed, trace)
        ranking = _with_always(view.now, ranking, asked, allowed)
        tools = [view.now.tool(scored.tool_id) for scored in ranking]
        clock.stop("search")
        return Answer(
            query=asked.query,
            k=asked.k,
            ranking=ranking,
            tools=tools,
            index=view.about,
            rewritten_query=join_steps(rewritten.steps) or None,
            timing_ms=clock.timing_ms(),
            degraded=self._degraded(reading, rewritten),
            why=[_why(view.now, scored.tool_id, trace, asked) for scored in ranking] if asked.explain else None,
        )

    def _look(self) -> _View:
        now = self.catalogue.now
        view = self._view
        if view is None or view.now is not now:
            same = view is not None and view.now.base is now.base
            facets = view.selector.base if same and view else Facets.of(now.base.columns)
            retriever = HybridRetriever(now, self._encoder, self._stages)
            view = self._view = _View(now, retriever, Selector(now, facets), _about(now))
        return view

    def _rewrite(self, view: _View, reading: Reading, asked: Request, allowed: Mask) -> Rewrite:
        """Return the steps of a request; one that names its tool is left alone unless asked for."""
        named = asked.rewrite == "auto" and view.retriever.named(reading.text, allowed)
        if asked.rewrite == "off" or named or (asked.rewrite == "auto" and self.rewriter is None):
            return Rewrite()
        if self.rewriter is None:
            return Rewrite(failure="no_rewriter")
        shown = view.retriever.shown(reading, self.rewriter.shown, allowed)
        return self.rewriter.steps([reading.text], [shown])[0]

    def _degraded(self, reading: Reading, rewritten: Rewrite) -> list[dict[str, str]]:
        reasons = [
            *(["query_truncated"] if reading.truncated else []),
            *([] if reading.understood else ["query_not_understood"]),
            *([rewritten.failure] if rewritten.failure else []),
        ]
        limit = self._encoder.manifest.max_tokens
        return [{"reason": reason, "detail": _DETAILS[reason].format(max_tokens=limit)} for reason in reasons]


def _with_always(now: Overlay, ranking: list[ScoredTool], asked: Request, allowed: Mask) -> list[ScoredTool]:
    """Give tools that are always wanted the last places, unless they are in the answer anyway."""
    places = {tool_id: now.position(tool_id) for tool_id in asked.always}
    found = {scored.tool_id for scored in ranking}
    missing = [
        ScoredTool(tool_id, 0.0)
        for tool_id, at in places.items()
        if at is not None and allowed[at] and tool_id not in found
    ]
    return [*ranking[: max(0, asked.k - len(missing))], *missing] if missing else ranking


def _why(now: Overlay, tool_id: str, trace: Trace, asked: Request) -> dict[str, Any]:
    """Return what put a tool into the answer, each with what it counted."""
    position = now.position(tool_id)
    if position is None:
        return {}
    why: dict[str, Any] = {
        "meaning": round(trace.cosines.get(position, 0.0), 4),
        "words": round(trace.words.get(position, 0.0), 4),
    }
    if position in trace.named:
        why["named"] = True
    if position in trace.places:
        kind, text = trace.places[position]
        why[kind] = text
    if position in trace.provides:
        why["provides_for"] = now.ids[trace.provides[position]]
    if tool_id in asked.always:
        why["always"] = True
    return why


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


def _about(now: Overlay) -> dict[str, Any]:
    manifest = now.base.manifest
    about: dict[str, Any] = {"tools": int(now.alive.sum()), "search": now.dense.kind, "revision": now.revision}
    if manifest is not None:
        about |= {"fingerprint": manifest.fingerprint[:16], "created": manifest.created, "encoder": manifest.encoder}
    return about
