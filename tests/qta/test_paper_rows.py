"""The figures this project answers for, through the command line, on the real data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.evaluator import evaluate
from eval.measures import parse_measure
from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from mtrb.types import Tool
from qta.baselines import FloatDenseRetriever
from qta.encoder import Encoder
from qta.index import build_in_memory
from qta.retrievers import DenseRetriever
from qta.training.layers import float_encoder

pytestmark = pytest.mark.benchmark
Rows = Callable[..., dict[tuple[str, str], dict[str, float]]]


@pytest.fixture
def rows(cli: Callable[..., Any], tmp_path: Path) -> Rows:
    """Evaluate, and return the means by dataset and system."""

    def run(*arguments: object) -> dict[tuple[str, str], dict[str, float]]:
        assert cli("eval", *arguments, "--json", tmp_path / "rows.json").status == 0
        report = json.loads((tmp_path / "rows.json").read_text())
        assert report["left_out"] == {}
        return {
            (row["dataset"], row["system"]): {name: value["mean"] for name, value in row["measures"].items()}
            for row in report["rows"]
        }

    return run


def test_the_papers_rows_come_out_to_the_digit(rows: Rows) -> None:
    found = rows("mtrb/restbench", "mtrb/metatool", "--system", "bm25-paper", "--system", "minilm")
    per_cent = {
        key: (f"{100 * row['Sufficiency@5']:.2f}", f"{100 * row['Sufficiency@10']:.2f}") for key, row in found.items()
    }
    assert per_cent == {
        ("mtrb/restbench", "bm25-paper"): ("6.67", "17.78"),
        ("mtrb/metatool", "bm25-paper"): ("37.78", "47.78"),
        ("mtrb/restbench", "minilm"): ("15.56", "34.44"),
        ("mtrb/metatool", "minilm"): ("81.11", "84.44"),
    }


def test_the_default_beats_the_zero_shot_row_on_the_public_test_halves(rows: Rows) -> None:
    found = rows(
        *(f"public/{name}" for name in NAMES), "--system", "hybrid", "--system", "clauses", "--system", "minilm"
    )
    for measure in ("Sufficiency@5", "Sufficiency@10"):
        mean = {
            system: sum(found[f"public/{name}", system][measure] for name in NAMES) / len(NAMES)
            for system in ("hybrid", "clauses", "minilm")
        }
        assert min(mean["hybrid"], mean["clauses"]) > mean["minilm"], mean


def test_the_encoder_file_costs_half_a_point_at_most(encoder: Encoder) -> None:
    model = float_encoder(encoder.manifest.max_tokens)
    measures = [parse_measure("Sufficiency@5"), parse_measure("Sufficiency@10")]
    drops = []
    for bench in (load(f"public/{name}", "validation") for name in NAMES):
        exact = FloatDenseRetriever(bench.toolset, Tool.default_text, encoder.manifest.max_tokens, model)
        served = DenseRetriever(build_in_memory(bench.toolset, encoder), encoder)
        before, after = (evaluate(bench.qrels, one.retrieve(bench.queries, 10), measures) for one in (exact, served))
        drops.append([before.mean(measure) - after.mean(measure) for measure in measures])
    for lost in zip(*drops, strict=True):
        assert sum(lost) / len(lost) <= 0.005
