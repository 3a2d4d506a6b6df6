"""`python -m eval`: run files in, means out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtrb.benchmarks import load
from mtrb.runs import write_qrels, write_run
from mtrb.types import ScoredTool


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "eval", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    write_qrels(tmp_path / "a.qrels", {"q1": {"a": 1, "b": 1}, "q2": {"c": 1}})
    write_run(tmp_path / "a.run", {"q1": [ScoredTool("b", 2.0), ScoredTool("a", 1.0)]})
    return tmp_path / "a.qrels", tmp_path / "a.run"


def test_scoring_files(files: tuple[Path, Path]) -> None:
    done = command(*files, "Sufficiency@2", "Recall@1", "MRR")
    assert done.stdout.splitlines() == ["Sufficiency@2\tall\t0.5000", "Recall@1\tall\t0.2500", "MRR\tall\t0.5000"]


def test_json_and_single_queries(files: tuple[Path, Path]) -> None:
    content = json.loads(command(*files, "Sufficiency@2", "--json", "--per-query").stdout)
    assert content == {"means": {"Sufficiency@2": 0.5}, "per_query": {"Sufficiency@2": {"q1": 1.0, "q2": 0.0}}}
    assert "Sufficiency@2\tq1\t1.0000" in command(*files, "Sufficiency@2", "--per-query").stdout


def test_qrels_of_a_known_dataset(tmp_path: Path) -> None:
    bench = load("sample", "train")
    write_run(tmp_path / "perfect.run", {q: [ScoredTool(t, 1.0) for t in golden] for q, golden in bench.qrels.items()})
    assert command("sample/train", tmp_path / "perfect.run", "Sufficiency@4").stdout == "Sufficiency@4\tall\t1.0000\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.qrels", "none.run"], "neither a file nor DATASET/SPLIT"),
        (["sample/dev", "none.run"], "has no split 'dev'"),
        (["sample/test", "none.run"], "cannot be read"),
        (["sample/test", "none.run", "Luck@5"], "unknown measure"),
    ],
)
def test_refusals(arguments: list[str], expected: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
