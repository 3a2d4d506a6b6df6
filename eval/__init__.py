"""Evaluation of run files: measures, intervals, tests, reports. Never loads a model."""

from eval.evaluator import Estimate, EvalResult, evaluate
from eval.measures import MRR, Measure, Recall, Sufficiency, nDCG, parse_measure

__all__ = [
    "MRR",
    "Estimate",
    "EvalResult",
    "Measure",
    "Recall",
    "Sufficiency",
    "evaluate",
    "nDCG",
    "parse_measure",
]
