"""How many of the ranked tools an answer holds: a number, as many as are enough, or as many as fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mtrb.types import ScoredTool, Tool
from qta.asking import Request
from qta.conformal import DEPTH, Calibration

_FIRST = 50  # tools that are ranked before it is known how many fit


@dataclass(frozen=True)
class Chosen:
    """The tools of an answer, and what can be said of their number; see `Answer`."""

    ranking: list[ScoredTool]
    confidence: float | None = None
    tokens: int | None = None
    too_large: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Choose the tools of one answer.

    Attributes:
        asked: the request.
        rank: returns so many tools, best first.
        tool: returns a tool by its id.
        available: how many tools the request may get.
        pinned: ids of tools that are in the answer in any case.
        calibration: says how many are enough.
    """

    asked: Request
    rank: Callable[[int], list[ScoredTool]]
    tool: Callable[[str], Tool]
    available: int
    pinned: Sequence[str]
    calibration: Calibration

    def choose(self) -> Chosen:
        """Return the tools."""
        if self.asked.k is None:
            return self._as_many_as_fit()
        if self.asked.k == "auto":
            return self._enough()
        ranking = self.rank(self.asked.k)
        if not self.pinned:
            return self._fitting(Chosen(ranking))
        others = [scored.tool_id for scored in ranking if scored.tool_id not in self.pinned]
        kept = {*self.pinned, *others[: max(0, self.asked.k - len(self.pinned))]}
        first = [scored for scored in ranking if scored.tool_id in kept]
        return self._fitting(Chosen([*first, *self._missing(ranking)]))

    def _enough(self) -> Chosen:
        ranking = self.rank(DEPTH)
        scores = [scored.score for scored in ranking]
        size = self.calibration.size(scores)
        chosen = self._fitting(Chosen([*ranking[:size], *self._missing(ranking[:size])]))
        kept = {scored.tool_id for scored in chosen.ranking}
        whole = next((at for at in range(size) if ranking[at].tool_id not in kept), size)
        cut = whole < size or size == DEPTH < self.available
        confidence = self.calibration.confidence(scores, whole) if cut else self.calibration.coverage
        return replace(chosen, confidence=round(confidence if size else 0.0, 4))

    def _as_many_as_fit(self) -> Chosen:
        depth = _FIRST
        while True:
            ranking = self.rank(depth)
            everything = [*ranking, *self._missing(ranking)]
            chosen = self._fitting(Chosen(everything))
            more = chosen.ranking and len(chosen.ranking) + len(chosen.too_large) == len(everything)
            if not more or depth >= self.available:
                return chosen
            depth = min(4 * depth, self.available)

    def _missing(self, ranking: Sequence[ScoredTool]) -> list[ScoredTool]:
        """Return the pinned tools that a ranking lacks; they have no score of their own."""
        found = {scored.tool_id for scored in ranking}
        return [ScoredTool(tool_id, 0.0) for tool_id in self.pinned if tool_id not in found]

    def _fitting(self, chosen: Chosen) -> Chosen:
        """Return what of the chosen tools fits the budget, if there is one, the pinned ones before others."""
        budget = self.asked.budget
        if budget is None:
            return chosen
        tools = [self.tool(scored.tool_id) for scored in chosen.ranking]
        pinned = [at for at, tool in enumerate(tools) if tool.tool_id in self.pinned]
        fitted = budget.fit(tools, pinned, self.asked.form.write)
        return replace(
            chosen,
            ranking=[chosen.ranking[at] for at in fitted.kept],
            tokens=fitted.tokens,
            too_large=tuple(tools[at].tool_id for at in fitted.too_large),
        )
