"""Reports: what a reader and a program get to see."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval import Sufficiency, evaluate, nDCG
from eval.report import Report, Row, plotted_measures
from mtrb.types import Benchmark, Query, ScoredTool, Tool, Toolset

MEASURES = [Sufficiency @ 5, nDCG @ 5]


def row(dataset: str, system: str, right: bool, note: str = "") -> Row:
    toolset = Toolset([Tool("a", "a"), Tool("b", "b")])
    bench = Benchmark(
        dataset,
        "test",
        toolset,
        (Query("q1", "x"), Query("q2", "y")),
        {"q1": {"a": 1}, "q2": {"a": 1}},
        {"q1": "en", "q2": "ja"},
        note,
    )
    run = {"q1": [ScoredTool("a", 1.0)], "q2": [ScoredTool("a" if right else "b", 1.0)]}
    return Row(bench, system, 0.25, evaluate(bench.qrels, run, [*MEASURES, *plotted_measures()]), MEASURES)


@pytest.fixture
def report() -> Report:
    rows = [
        row("mtrb/restbench", "minilm", False),
        row("mtrb/restbench", "hybrid", True),
        row("own", "hybrid", True, "a stand-in"),
    ]
    return Report(rows, {"mtrb/toolbench": "the corpus is absent"}, "qta eval x", {"qta": "0.1.0"})


def test_the_json_has_the_documented_form(report: Report, tmp_path: Path) -> None:
    report.write_json(tmp_path / "sub" / "e.json", per_query=True)
    content = json.loads((tmp_path / "sub" / "e.json").read_text())
    first = content["rows"][0]
    assert {"dataset", "split", "system", "queries", "seconds", "measures", "paper"} <= first.keys()
    assert first["measures"]["Sufficiency@5"] == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert first["paper"] == {"Sufficiency@5": 0.1556, "Sufficiency@10": 0.3444}
    assert content["rows"][1]["paper"] is None
    assert first["per_query"]["q2"]["Sufficiency@5"] == 0.0
    assert first["groups"] == {
        "en": {"queries": 1, "Sufficiency@5": 1.0, "nDCG@5": 1.0},
        "ja": {"queries": 1, "Sufficiency@5": 0.0, "nDCG@5": 0.0},
    }
    assert content["left_out"] == {"mtrb/toolbench": "the corpus is absent"}
    assert content["versions"] == {"qta": "0.1.0"}
    assert content["command"] == "qta eval x"


def test_the_tables_show_the_paper_beside_ours_and_what_is_left_out(report: Report) -> None:
    text = report.markdown()
    assert "| minilm | 50.00 [0.0, 100.0] | 50.00 [0.0, 100.0] | 15.56/34.44 |" in text
    assert "2 queries, 2 tools; a stand-in\n" in text
    assert "- mtrb/toolbench: the corpus is absent" in text
    assert "Sufficiency@5 by language" in text
    assert "`qta eval x`" in text


def test_the_mean_counts_each_dataset_the_same(report: Report, tmp_path: Path) -> None:
    assert "## mean" not in report.markdown()
    report = replace(report, with_mean=True)
    assert "| hybrid | 100.00 | 100.00 |" in report.markdown().split("## mean")[1]
    assert "minilm" not in report.markdown().split("## mean")[1], "it did not run on both"
    report.write_json(tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text())["mean"] == {"hybrid": {"Sufficiency@5": 1.0, "nDCG@5": 1.0}}


def test_the_terminal_shows_the_same(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.print()
    out, err = capsys.readouterr()
    assert "15.56/34.44" in out
    assert "a stand-in" in out
    assert "left out mtrb/toolbench: the corpus is absent" in err


def test_the_plot_is_a_picture(report: Report, tmp_path: Path) -> None:
    from matplotlib.image import imread

    report.plot(tmp_path / "p.png")
    picture = imread(tmp_path / "p.png")
    assert picture.shape[0] > 300
    assert picture.min() < 0.5 < picture.max()
    for name, beginning in {"p.svg": b"<?xml", "p.pdf": b"%PDF"}.items():
        report.plot(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(beginning)
