"""Measures as values: `Sufficiency @ 5` prints as it is written, compares, hashes and scores one ranking."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self


@dataclass(frozen=True)
class Measure:
    """Score one query's ranking (tool ids, best first) against its golden tools; 0 is worst, 1 best."""

    cutoff: int | None = None
    name: ClassVar[str]

    def __matmul__(self, cutoff: int) -> Self:
        """Return the measure at a rank cutoff.

        Raises:
            ValueError: the cutoff is below 1.
        """
        if cutoff < 1:
            raise ValueError(f"a cutoff must be at least 1, got {cutoff}")
        return replace(self, cutoff=cutoff)

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"

    def score(self, golden: Mapping[str, int], ranking: Sequence[str]) -> float:
        """Return the value for one query; relevance above 0 makes a tool golden."""
        relevant = {tool: relevance for tool, relevance in golden.items() if relevance > 0}
        return self._score(relevant, ranking[: self.cutoff]) if relevant else 0.0

    def _score(self, golden: Mapping[str, int], top: Sequence[str]) -> float:
        raise NotImplementedError


class SufficiencyMeasure(Measure):
    """1 if every golden tool is among the first k, else 0 (arXiv 2410.03212, section 3.1)."""

    name = "Sufficiency"

    def _score(self, golden: Mapping[str, int], top: Sequence[str]) -> float:
        return float(golden.keys() <= set(top))


class RecallMeasure(Measure):
    """Share of the golden tools among the first k."""

    name = "Recall"

    def _score(self, golden: Mapping[str, int], top: Sequence[str]) -> float:
        return len(golden.keys() & set(top)) / len(golden)


class NDCGMeasure(Measure):
    """Normalised discounted cumulative gain with gain = relevance (Järvelin and Kekäläinen 2002).

    The ideal ranking holds all golden tools. The figures of arXiv 2410.03212 come from another definition and
    are not comparable.
    """

    name = "nDCG"

    def _score(self, golden: Mapping[str, int], top: Sequence[str]) -> float:
        gains = [golden.get(tool, 0) for tool in top]
        return _dcg(gains) / _dcg(sorted(golden.values(), reverse=True)[: self.cutoff])


class ReciprocalRankMeasure(Measure):
    """One over the rank of the first golden tool; the mean over queries is MRR."""

    name = "MRR"

    def _score(self, golden: Mapping[str, int], top: Sequence[str]) -> float:
        return next((1 / rank for rank, tool in enumerate(top, start=1) if tool in golden), 0.0)


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


Sufficiency = SufficiencyMeasure()
Recall = RecallMeasure()
nDCG = NDCGMeasure()  # noqa: N816 (the field's spelling)
MRR = ReciprocalRankMeasure()

_BY_NAME = {measure.name.lower(): measure for measure in (Sufficiency, Recall, nDCG, MRR)}


def parse_measure(text: str) -> Measure:
    """Return the measure a text names, e.g. `Sufficiency@5`.

    Raises:
        ValueError: the name is unknown or the cutoff is no positive whole number.
    """
    match = re.fullmatch(r"(\w+?)(?:@(\d+))?", text.strip())
    measure = _BY_NAME.get(match[1].lower()) if match else None
    if match is None or measure is None:
        known = ", ".join(measure.name for measure in _BY_NAME.values())
        raise ValueError(f"unknown measure {text!r}; expected one of {known}, with a cutoff such as Sufficiency@5")
    return measure @ int(match[2]) if match[2] else measure
