"""The engine behind every front end: one request in, the ranked tools and how they came about out."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from mtrb.errors import ArtefactError
from mtrb.types import Tool
from qta.asking import Answer, Request, RewriteMode
from qta.calibration import Calibrations
from qta.catalogue import Catalogue, open_catalogue
from qta.choosing import Choice, Chosen
from qta.conformal import LEVEL
from qta.encoder import Encoder
from qta.examples import usage_prior
from qta.feedback import MOST, WEIGHT, FeedbackStore, tenant_of
from qta.hybrid import HybridRetriever, Trace
from qta.lesson import UNTAUGHT, Lesson
from qta.overlay import Overlay
from qta.reading import Reading
from qta.remarks import remark, why
from qta.rewriting import RewriterChoice
from qta.rewriting.rewriter import Rewrite, ToolRewriter
from qta.selection import ALL, Facets, Mask, Selector
from qta.steps import join_steps

__all__ = ["Answer", "Engine", "Request", "RewriteMode"]

logger = logging.getLogger(__name__)

_REMEMBERED = 200  # sizes of catalogues as filters leave them, and tenants


@dataclass(frozen=True)
class _View:
    """The catalogue at one moment, and what answers requests over it."""

    now: Overlay
    encoder: Encoder
    taught: HybridRetriever
    selector: Selector
    about: dict[str, Any]
    uses: Mapping[str, Mapping[str, int]]
    sizes: dict[tuple[Any, ...], int] = field(default_factory=dict)
    retrievers: dict[str | None, HybridRetriever] = field(default_factory=dict)

    @cached_property
    def untaught(self) -> HybridRetriever:
        """Return what ranks without a lesson and feedback: a rewriter is shown the tools that it was aligned with."""
        return HybridRetriever(self.now, self.encoder)

    def retriever(self, granted: frozenset[str] | None) -> HybridRetriever:
        """Return what ranks for a caller, with the prior of the lesson and of what its own tenant has fed back."""
        tenant = tenant_of(granted)
        known = tenant if tenant in self.uses else None  # all who gave none share one
        found = self.retrievers.get(known)
        if found is None:
            if len(self.retrievers) > _REMEMBERED:
                self.retrievers.clear()
            prior = dict(self.taught.stages.prior)
            for tool_id, bonus in usage_prior(self.uses.get(tenant, {}), WEIGHT).items():
                if (at := self.now.position(tool_id)) is not None:
                    prior[at] = prior.get(at, 0.0) + min(bonus, MOST)
            found = self.retrievers[known] = self.taught.with_prior(prior)
        return found

    def why(self, tool_id: str, trace: Trace, asked: Request) -> dict[str, Any]:
        """Return what put a tool into the answer."""
        position = self.now.position(tool_id)
        if position is None:
            return {}
        prior = self.retriever(asked.granted).stages.prior.get(position, 0.0)
        passed = bool(self.selector.allowed(asked.wanted, asked.granted)[position])
        return why(self.now, position, trace, asked, prior, passed)

    def is_whole(self, tools: Sequence[Tool], allowed: Mask) -> bool:
        """Tell whether the tools are all that are allowed."""
        places = [self.now.position(tool.tool_id) for tool in tools]
        return bool(tools) and sum(at is not None and bool(allowed[at]) for at in places) == int(allowed.sum())

    def tokens(self, asked: Request, allowed: Mask) -> int:
        """Return the tokens of all tools that a request may get, counted once for each filter and form."""
        if asked.budget is None:
            return 0
        key = asked.wanted, asked.granted, asked.form.format, asked.form.detail, asked.budget.counter
        if key not in self.sizes:
            if len(self.sizes) > _REMEMBERED:
                self.sizes.clear()
            places = np.flatnonzero(allowed).tolist()
            self.sizes[key] = asked.budget.counter.all_of(self.now.tools, places, asked.form.write)
        return self.sizes[key]


class Engine:
    """Answer requests over a living catalogue; safe to share between threads."""

    def __init__(
        self,
        catalogue: Catalogue,
        encoder: Encoder,
        rewriter: ToolRewriter | None = None,
        lesson: Lesson = UNTAUGHT,
    ) -> None:
        """Take an open catalogue and load everything a first request would have to wait for.

        Raises:
            ArtefactError: the catalogue's calibration or feedback is damaged.
        """
        self.catalogue = catalogue
        self.rewriter = rewriter
        self.feedback = FeedbackStore(catalogue.folder)
        self._calibrations = Calibrations(catalogue.folder, encoder.identity)
        self._encoder = encoder
        self._lesson = lesson
        self._view: _View | None = None
        self.retrieve("warm up", 1)

    @classmethod
    def open(cls, folder: Path, rewriter: RewriterChoice | None = None) -> "Engine":
        """Open an index folder with the encoder of this package, and a rewriter and its lesson where one is wanted.

        Raises:
            ArtefactError: the index, the encoder or the rewriter is absent, damaged or does not fit.
            MissingDependencyError: its tools are in Milvus, and pymilvus is not installed.
        """
        encoder = Encoder()
        return cls(open_catalogue(folder, encoder), encoder, *(rewriter.open() if rewriter else ()))

    @property
    def about(self) -> dict[str, Any]:
        """Return what identifies the catalogue as it is now."""
        return self._look().about

    def retrieve(self, query: str, k: int = 5, rewrite: RewriteMode = "auto") -> Answer:
        """Rank all tools for a request and return the first k."""
        return self.answer(Request(query, k, rewrite))

    def permitted(self, tool_ids: Sequence[str], granted: frozenset[str] | None = None) -> list[str]:
        """Return those of the ids that there are, in a granted namespace."""
        return self._look().selector.permitted(tool_ids, ALL, granted)

    def answer(self, asked: Request) -> Answer:
        """Rank the tools for a request and return the first of those that may be in the answer."""
        clock, view = _Clock(), self._look()
        if asked.form.format != "native":
            asked = replace(asked, form=replace(asked.form, shared=view.selector.shared_names(asked.granted)))
        mask = view.selector.allowed(asked.wanted, asked.granted)
        available = int(mask.sum())
        allowed = mask if available < len(mask) else None
        retriever = view.retriever(asked.granted)
        reader = retriever.reader
        reading = reader.read(asked.query)
        clock.stop("encode")
        rewritten = self._rewrite(view, reading, asked, allowed)
        if rewritten.steps:
            reading = reader.with_steps(reading, rewritten.steps)
        if rewritten.steps or rewritten.failure:
            clock.stop("rewrite")
        trace, calibration = Trace(), self._calibrations.now
        choice = Choice(
            asked=asked,
            rank=lambda k: retriever.rank(reading, k, allowed, trace),
            tool=view.now.tool,
            available=available,
            pinned=view.selector.permitted(asked.always, asked.wanted, asked.granted),
            calibration=calibration,
        )
        chosen = choice.choose()
        tools = [view.now.tool(scored.tool_id) for scored in chosen.ranking]
        clock.stop("search")
        saved = None if chosen.tokens is None else max(0, view.tokens(asked, mask) - chosen.tokens)
        if chosen.tokens is not None:
            clock.stop("tokens")
        fits = calibration.fits(trace.nearest) if reading.understood and not trace.named else 1.0
        if not (reading.understood or trace.named or any(trace.words.values())):
            fits = 0.0  # no word of it is in any tool either
        answer = Answer(
            query=asked.query,
            k=asked.k if isinstance(asked.k, int) and asked.budget is None else len(tools),
            ranking=chosen.ranking,
            tools=tools,
            index=self._about(view, asked.granted),
            rewritten_query=join_steps(rewritten.steps) or None,
            timing_ms=clock.timing_ms(),
            degraded=[*self._remarks(reading, rewritten), *_remarks(view, asked, choice, chosen)],
            why=[view.why(scored.tool_id, trace, asked) for scored in chosen.ranking] if asked.explain else None,
            form=asked.form,
            confidence=chosen.confidence if fits >= LEVEL or chosen.confidence is None else round(fits, 4),
            no_tool_fits=fits < LEVEL,
            whole_catalogue=asked.k is None and view.is_whole(tools, mask),
            tokens=chosen.tokens,
            tokens_saved=saved,
        )
        return self._kept(answer, tenant_of(asked.granted)) if asked.keep else answer

    def _kept(self, answer: Answer, tenant: str) -> Answer:
        """Give an answer its id; where the request cannot be kept, the answer says so."""
        try:
            return replace(answer, request_id=self.feedback.record(answer.query, tenant))
        except ArtefactError as error:
            logger.warning("%s", error)
            return replace(answer, degraded=[*answer.degraded, remark("feedback_unavailable")])

    def _look(self) -> _View:
        now, uses, view = self.catalogue.now, self.feedback.uses, self._view
        if view is not None and view.now is now and view.uses is not uses:
            view = self._view = replace(view, uses=uses, retrievers={})
        if view is None or view.now is not now:
            same = view is not None and view.now.base is now.base
            facets = view.selector.base if same and view else Facets.of(now.base.columns)
            selector = Selector(now, facets)
            taught = HybridRetriever(now, self._encoder, self._lesson.stages(now.position))
            view = self._view = _View(now, self._encoder, taught, selector, _about(now), uses)
        return view

    def _about(self, view: _View, granted: frozenset[str] | None) -> dict[str, Any]:
        """Return what identifies the catalogue; to whom not all is granted, nothing that tells of the rest."""
        if granted is None:
            return view.about
        told = {name: value for name, value in view.about.items() if name in ("search", "encoder")}
        return {"tools": int(view.selector.allowed(ALL, granted).sum()), **told}

    def _rewrite(self, view: _View, reading: Reading, asked: Request, allowed: Mask | None) -> Rewrite:
        """Return the steps of a request; one that names its tool is left alone unless asked for."""
        nothing = allowed is not None and not allowed.any()
        if nothing or asked.rewrite == "off" or (asked.rewrite == "auto" and self.rewriter is None):
            return Rewrite()
        if self.rewriter is None:
            return Rewrite(failure="no_rewriter")
        if asked.rewrite == "auto" and view.untaught.named(reading.text, allowed):
            return Rewrite()
        shown = self.rewriter.show(view.untaught, reading, allowed)
        return self.rewriter.steps([reading.text], [shown])[0]

    def _remarks(self, reading: Reading, rewritten: Rewrite) -> list[dict[str, str]]:
        return [
            *([remark("query_truncated", max_tokens=self._encoder.manifest.max_tokens)] if reading.truncated else []),
            *([] if reading.understood else [remark("query_not_understood")]),
            *([remark(rewritten.failure)] if rewritten.failure else []),
            *([remark("index_outdated")] if self.catalogue.trouble else []),
        ]


def _remarks(view: _View, asked: Request, choice: Choice, chosen: Chosen) -> list[dict[str, str]]:
    """Return what of the filter, of `always` and of the budget did not go as asked."""
    unknown = view.selector.unknown(asked.wanted, asked.granted)
    lost = [repr(unquote(tool_id)) for tool_id in dict.fromkeys(asked.always) if tool_id not in choice.pinned]
    there = {*(scored.tool_id for scored in chosen.ranking), *chosen.too_large}
    crowded = [repr(tool_id) for tool_id in choice.pinned if tool_id not in there] if chosen.ranking else []
    return [
        *([remark("filter_unknown", unknown)] if unknown else []),
        *([remark("filter_leaves_nothing")] if asked.wanted != ALL and not choice.available else []),
        *([remark("always_unknown", lost)] if lost else []),
        *([remark("always_over_budget", crowded)] if crowded else []),
        *(
            [remark("larger_than_budget", [repr(one) for one in chosen.too_large])]
            if chosen.too_large and chosen.ranking
            else []
        ),
        *([remark("budget_too_small")] if asked.budget and choice.available and not chosen.ranking else []),
    ]


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
