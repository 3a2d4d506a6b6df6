"""The rewriter: a request and the tools it is shown become the steps that carry it out, or stay what they were."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mtrb.types import Query, Tool
from qta.hybrid import Allowed, HybridRetriever
from qta.reading import Reading
from qta.rewriting.generator import DeadlineError, Decoding, GenerationError, Generator
from qta.rewriting.prompt import Message, Prompt, plain_text
from qta.steps import join_steps, split_steps

logger = logging.getLogger(__name__)

_CACHED = 10_000

_Asked = str
"""All that the model is told of a request: another caller may be shown other tools, and must not see these."""


@dataclass(frozen=True)
class Rewrite:
    """The steps of a request; none when the request goes through as it is, and why."""

    steps: tuple[str, ...] = ()
    failure: str | None = None
    cached: bool = False


@dataclass
class ToolRewriter:
    """Rewrite requests with a language model that is shown a few tools.

    It never fails a request and never returns an empty text: when the model is late, breaks or has nothing to say,
    the request goes through as it is, and `failures` counts it by reason. Equal requests for which the model is shown
    the same tools are answered from memory.

    Attributes:
        generator: the language model.
        prompt: what the model is asked.
        decoding: how its answer is drawn.
        timeout: seconds after which a batch goes through as it is; None waits.
    """

    generator: Generator
    prompt: Prompt = field(default_factory=Prompt)
    decoding: Decoding = field(default_factory=Decoding)
    timeout: float | None = None
    failures: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: OrderedDict[_Asked, Rewrite] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, retriever: HybridRetriever, reading: Reading, allowed: Allowed | None = None) -> list[Tool]:
        """Return the tools that the model is shown for a request: the nearest, or sampled as in its training."""
        if self.prompt.selection == "nearest":
            return retriever.shown(reading, self.prompt.tools, allowed)
        tools = retriever.index.tools
        places: Sequence[int] = range(len(tools)) if allowed is None else np.flatnonzero(allowed).tolist()
        return [tools[at] for at in self.prompt.sampled(places, reading.text)]

    def steps(self, requests: Sequence[str], shown: Sequence[Sequence[Tool]]) -> list[Rewrite]:
        """Return the steps of each request, for which the model is shown these tools, best first."""
        conversations = [self.prompt.messages(*one) for one in zip(requests, shown, strict=True)]
        asked = [plain_text(conversation) for conversation in conversations]
        found = {one: rewrite for one in asked if (rewrite := self._recall(one))}
        missing = {one: said for one, said in zip(asked, conversations, strict=True) if one not in found}
        if missing:
            found |= self._generate(missing)
        return [found[one] for one in asked]

    def _generate(self, asked: Mapping[_Asked, list[Message]]) -> dict[_Asked, Rewrite]:
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        try:
            answers = self.generator.generate(list(asked.values()), self.decoding, deadline)
        except GenerationError as error:
            reason = "rewrite_timeout" if isinstance(error, DeadlineError) else "rewrite_failed"
            logger.warning("%d requests go through as they are: %s", len(asked), error)
            return {request: self._failed(reason) for request in asked}
        except Exception:  # a device out of memory, a fault of ours: no request fails for its rewrite
            logger.exception("%d requests go through as they are", len(asked))
            return {request: self._failed("rewrite_failed") for request in asked}
        return {request: self._taken(request, texts[0]) for request, texts in zip(asked, answers, strict=True)}

    def _taken(self, request: _Asked, text: str) -> Rewrite:
        steps = tuple(split_steps(text))
        rewrite = Rewrite(steps) if steps else self._failed("rewrite_empty")
        with self._lock:
            self._known[request] = Rewrite(rewrite.steps, rewrite.failure, cached=True)
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return rewrite

    def _failed(self, reason: str) -> Rewrite:
        with self._lock:
            self.failures[reason] = self.failures.get(reason, 0) + 1
        return Rewrite(failure=reason)

    def _recall(self, request: _Asked) -> Rewrite | None:
        with self._lock:
            if request in self._known:
                self._known.move_to_end(request)
            return self._known.get(request)


@dataclass(frozen=True)
class CatalogueRewriter:
    """Rewrite requests over one catalogue, the nearest tools being those that the retriever finds (`qta.pipeline`)."""

    rewriter: ToolRewriter
    retriever: HybridRetriever
    allowed: Allowed | None = None

    def rewrite(self, queries: Sequence[Query]) -> list[Query]:
        """Return as many queries, in order and with their ids; one that gets no rewrite stays as it is."""
        requests = [query.text for query in queries]
        readings = map(self.retriever.reader.read, requests)
        shown = [self.rewriter.show(self.retriever, reading, self.allowed) for reading in readings]
        return [
            query.rewritten(join_steps(one.steps)) if one.steps else query
            for query, one in zip(queries, self.rewriter.steps(requests, shown), strict=True)
        ]
