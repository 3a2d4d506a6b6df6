"""The frozen retriever as training sees it: which tools it shows, and what ranks it gives to golden tools."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mtrb.types import Query, Tool
from qta.baselines import FloatDenseRetriever
from qta.encoder import WEIGHTS, Encoded, Encoder
from qta.hybrid import HybridRetriever
from qta.reading import Reading
from qta.rewriting.prompt import Prompt
from qta.steps import StepRule, split_steps

Ranks = Sequence[int]

_DEPTH = 1000  # golden tools further down all count as one place behind


class Frozen(Protocol):
    """Show tools and rank golden ones."""

    @property
    def identity(self) -> str:
        """Return what tells this retriever from others."""
        ...

    @property
    def steps(self) -> StepRule | None:
        """Return how a rewrite's steps take part in the ranking; None where the rewrite is the query."""
        ...

    def show(self, requests: Sequence[str], prompt: Prompt) -> list[list[Tool]]:
        """Return the tools that each request's prompt holds."""
        ...

    def ranks(self, query: Query, golden: Sequence[int], rewrites: Sequence[str]) -> list[Ranks]:
        """Return the ranks (from 1) of the golden tools for each rewrite of a request."""
        ...


@dataclass
class FrozenHybrid:
    """The served retriever: a rewrite gives each of its steps a place beside the request's own ranking."""

    retriever: HybridRetriever
    encoder: str
    _readings: dict[str, Reading] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Return the encoder's identity; everything else of the retriever comes with the version."""
        return self.encoder

    @property
    def steps(self) -> StepRule | None:
        """Return the retriever's rule."""
        return self.retriever.stages.steps

    def show(self, requests: Sequence[str], prompt: Prompt) -> list[list[Tool]]:
        """Return the nearest tools by the retriever, or sampled ones."""
        if prompt.selection == "sampled":
            return [prompt.sampled(self.retriever.index.tools, request) for request in requests]
        return [self.retriever.shown(self._reading(request), prompt.tools) for request in requests]

    def ranks(self, query: Query, golden: Sequence[int], rewrites: Sequence[str]) -> list[Ranks]:
        """Return the ranks of the golden tools; the request itself counts as a rewrite without steps."""
        index, reading = self.retriever.index, self._reading(query.text)
        wanted = [index.ids[position] for position in golden]
        found: list[Ranks] = []
        for rewrite in rewrites:
            steps = [] if rewrite == query.text else split_steps(rewrite)
            ranking = self.retriever.rank(self.retriever.reader.with_steps(reading, steps), _DEPTH)
            places = {scored.tool_id: place for place, scored in enumerate(ranking, start=1)}
            found.append([places.get(tool_id, _DEPTH + 1) for tool_id in wanted])
        return found

    def _reading(self, request: str) -> Reading:
        if request not in self._readings:
            self._readings[request] = self.retriever.reader.read(request)
        return self._readings[request]


@dataclass
class FrozenMiniLM:
    """The paper's retriever: the rewrite is the query, alone or beside the request (the mean of both scores)."""

    retriever: FloatDenseRetriever
    tools: Sequence[Tool]
    raw: float = 0.0

    @property
    def identity(self) -> str:
        """Return the name of the paper's retriever, and whether the request counts in it."""
        return "minilm+raw" if self.raw else "minilm"

    @property
    def steps(self) -> None:
        """Return no rule: the rewrite is the query."""

    def show(self, requests: Sequence[str], prompt: Prompt) -> list[list[Tool]]:
        """Return sampled tools, or the nearest."""
        if prompt.selection == "sampled":
            return [prompt.sampled(self.tools, request) for request in requests]
        scores = self.retriever.scores([Query(request, request) for request in requests])
        return [[self.tools[at] for at in np.argsort(-row, kind="stable")[: prompt.tools]] for row in scores]

    def ranks(self, query: Query, golden: Sequence[int], rewrites: Sequence[str]) -> list[Ranks]:
        """Return the ranks of the golden tools by the mixed cosines, ties in catalogue order."""
        scores = self.retriever.scores([query, *(Query(rewrite, rewrite) for rewrite in rewrites)])
        mixed = self.raw * scores[0] + (1 - self.raw) * scores[1:]
        order = np.argsort(-mixed, axis=1, kind="stable")
        places = np.argsort(order, axis=1, kind="stable") + 1
        return [[int(row[position]) for position in golden] for row in places]


class RememberingEncoder(Encoder):
    """An encoder that encodes no text twice: rewrites repeat each other's steps, and mixtures each other's tools."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        super().__init__(folder)
        self._known: dict[str, Encoded] = {}

    def encode_one(self, text: str) -> Encoded:
        """Return the vector of a text, and how it was read."""
        if text not in self._known:
            self._known[text] = super().encode_one(text)
        return self._known[text]
