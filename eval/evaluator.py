"""Evaluate a run against qrels: per query, as means with intervals, and against a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.measures import Measure
from mtrb.errors import InputError
from mtrb.types import Qrels, Run

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over queries with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class EvalResult:
    """Hold each measure's value for each query of the qrels, in the qrels' order."""

    values: Mapping[Measure, Mapping[str, float]]

    def mean(self, measure: Measure) -> float:
        """Return the mean over the qrels' queries."""
        return float(np.mean(list(self.values[measure].values())))

    def estimate(self, measure: Measure, seed: int = 0) -> Estimate:
        """Return the mean with a 95% percentile bootstrap interval over queries (Efron 1979)."""
        values = np.array(list(self.values[measure].values()))
        draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
        low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
        return Estimate(float(values.mean()), float(low), float(high))

    def p_value(self, measure: Measure, baseline: "EvalResult", seed: int = 0) -> float:
        """Return the two-sided p of a paired randomisation test on the mean difference (Smucker et al. 2007).

        Raises:
            ValueError: the baseline was evaluated on other queries.
        """
        own, other = self.values[measure], baseline.values[measure]
        if own.keys() != other.keys():
            raise ValueError("a paired test needs the same queries on both sides")
        differences = np.array([own[query_id] - other[query_id] for query_id in own])
        observed = abs(differences.mean())
        if observed == 0:
            return 1.0
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (RESAMPLES, len(differences)))
        extreme = np.abs((signs * differences).mean(axis=1)) >= observed - 1e-12
        return float((extreme.sum() + 1) / (RESAMPLES + 1))


def average(results: Sequence[EvalResult]) -> EvalResult:
    """Return each query's mean over several runs of one system, such as seeds or draws of its examples."""
    first = results[0]
    return EvalResult(
        {
            measure: {
                query_id: float(np.mean([one.values[measure][query_id] for one in results])) for query_id in values
            }
            for measure, values in first.values.items()
        }
    )


def evaluate(qrels: Qrels, run: Run, measures: Sequence[Measure]) -> EvalResult:
    """Score a run; a query of the qrels that the run lacks scores 0.

    Raises:
        InputError: the run has a query that the qrels lack, retrieves a tool twice, or the qrels are empty.
    """
    if not qrels:
        raise InputError("the qrels hold no query, so there is nothing to average over")
    unknown = sorted(run.keys() - qrels.keys())
    if unknown:
        raise InputError(f"the run answers {len(unknown)} queries that the qrels do not hold, first {unknown[0]!r}")
    rankings = {query_id: [scored.tool_id for scored in run.get(query_id, ())] for query_id in qrels}
    for query_id, ranking in rankings.items():
        if len(set(ranking)) < len(ranking):
            raise InputError(f"the run retrieves a tool twice for the query {query_id!r}")
    return EvalResult(
        {
            measure: {query_id: measure.score(golden, rankings[query_id]) for query_id, golden in qrels.items()}
            for measure in measures
        }
    )
