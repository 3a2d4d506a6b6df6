"""How many tools are enough, and whether any fits: split conformal prediction over rankings.

The nonconformity of a place in a ranking is what it costs to go down to it: how far its score is below the best, and
half the logarithm of its rank. Of an annotated request it is that of its last golden tool. With n calibration requests
the threshold is the ceil((n + 1) x coverage)-th smallest of theirs, and the first tools of a ranking that stay within
it hold every golden tool with a probability of at least `coverage` (Vovk, Gammerman and Shafer 2005; Angelopoulos and
Bates 2021, arXiv 2107.07511, theorem 1; the rank's share keeps sets from growing long where scores lie close, as in
section 4.2 there).

The guarantee assumes one thing: the request that comes is exchangeable with those of the calibration, drawn from the
same mixture, over the same catalogue, ranked in the same way, by a ranking that was not fitted to them. It is an
average over requests and calibrations, not a promise about each request. The shipped calibration holds it for no one:
your catalogues are others, and this project made its choices on the same requests; results/coverage.md says what that
costs. `qta calibrate` makes one from your own requests.

By the same argument a request is said to fit no tool when the cosine of its nearest tool has a conformal p-value below
5 %: at most so many requests that do fit are called that.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mtrb.errors import InputError
from qta.hybrid import without_names

COVERAGE = 0.9
LEVEL = 0.05
DEPTH = 100
"""Golden tools are looked for among so many; an answer has no more tools than that."""

_RANK = 0.5  # of the logarithm of a rank; compared by `python -m benchmarks.coverage --compare`

Costs = NDArray[np.float64]
Nonconformity = Callable[[Sequence[float]], Costs]


class Observed(NamedTuple):
    """What an annotated request showed.

    Attributes:
        scores: of its ranking.
        last: the rank of its last golden tool, from 1; beyond the ranking where that is not in it.
        nearest: the cosine of its nearest tool, None where the encoder does not know its words.
        others: that of the nearest tool which is not golden.
    """

    scores: list[float]
    last: int
    nearest: float | None
    others: float | None


def nonconformity(scores: Sequence[float]) -> Costs:
    """Return what it costs to go down to each place of a ranking; never less than to the place before."""
    ranks = np.arange(1, len(scores) + 1)
    return np.asarray(gap(scores) + _RANK * np.log(ranks))


def gap(scores: Sequence[float]) -> Costs:
    """Return how far each place is below the best, what a name in the request counts left aside."""
    plain = without_names(np.asarray(scores, np.float64))
    return np.asarray(np.maximum.accumulate(plain.max(initial=-np.inf) - plain))


def quantile(values: Iterable[float], coverage: float) -> float:
    """Return the ceil((n + 1) x coverage)-th smallest value, infinity where n is too small for there to be one."""
    ordered = sorted(values)
    place = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    return ordered[place - 1] if place <= len(ordered) else math.inf


def fewest(coverage: float) -> int:
    """Return how many calibration requests a coverage needs at least."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


class Calibration(BaseModel):
    """What the annotated requests of a calibration showed.

    Attributes:
        coverage: the probability that is stated.
        costs: the nonconformity of each request's last golden tool, ascending; None where it was not found.
        nearest: the cosine of each request's nearest tool, ascending.
        encoder: whose cosines they are.
        about: what it was made of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    coverage: float
    costs: list[float | None]
    nearest: list[float]
    encoder: str
    about: dict[str, Any]

    @classmethod
    def of(cls, observed: Sequence[Observed], coverage: float, encoder: str, about: Mapping[str, Any]) -> "Calibration":
        """Calibrate on annotated requests.

        Raises:
            InputError: they are too few for the coverage, or too many of them are not answered in any length.
        """
        if len(observed) < fewest(coverage):
            raise InputError(
                f"{len(observed)} annotated requests are too few for a coverage of {coverage}: it takes at least "
                f"{fewest(coverage)}; give more, or a lower --coverage"
            )
        costs = sorted(map(last_cost, observed))
        if math.isinf(quantile(costs, coverage)):
            missed = sum(map(math.isinf, costs))
            raise InputError(
                f"for {missed} of {len(costs)} requests the first {DEPTH} tools lack a golden one, too many for a "
                f"coverage of {coverage}; give a lower --coverage, or look at them with `qta eval`"
            )
        nearest = sorted(round(one.nearest, 4) for one in observed if one.nearest is not None)
        return cls(
            coverage=coverage,
            costs=[None if math.isinf(cost) else round(cost, 4) for cost in costs],
            nearest=nearest,
            encoder=encoder,
            about=dict(about),
        )

    @cached_property
    def threshold(self) -> float:
        """Return the nonconformity up to which tools are in an answer."""
        return quantile(self._known, self.coverage)

    @cached_property
    def _known(self) -> list[float]:
        return [math.inf if cost is None else cost for cost in self.costs]

    def size(self, scores: Sequence[float]) -> int:
        """Return how many of the first tools are sufficient with the stated probability; at least one of any."""
        return max(1, int((nonconformity(scores) <= self.threshold + 1e-4).sum())) if len(scores) else 0

    def confidence(self, scores: Sequence[float], size: int) -> float:
        """Return the share of calibration requests that so short a prefix would have been sufficient for."""
        if not size:
            return 0.0
        costs = nonconformity(scores)
        limit = costs[size] if size < len(costs) else np.nextafter(costs[-1], np.inf)
        within = sum(cost < limit for cost in self._known)
        return float(min(within / (len(self.costs) + 1), self.coverage))

    def fits(self, nearest: float) -> float:
        """Return the conformal p-value of a request's nearest tool: the share of fitting requests as far from theirs.

        Below `LEVEL` the request is said to fit no tool.
        """
        return (1 + bisect_right(self.nearest, nearest)) / (len(self.nearest) + 1)


def last_cost(observed: Observed, measure: Nonconformity = nonconformity) -> float:
    """Return the nonconformity of the last golden tool, infinity where it was not found."""
    return float(measure(observed.scores)[observed.last - 1]) if observed.last <= len(observed.scores) else math.inf


def flagged(calibration: Calibration, nearest: Iterable[float | None]) -> float:
    """Return the share of requests that are said to fit no tool."""
    verdicts = [one is not None and calibration.fits(one) < LEVEL for one in nearest]
    return round(sum(verdicts) / max(1, len(verdicts)), 4)
