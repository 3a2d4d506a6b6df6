"""What a command writes replaces none of what it reads."""

from pathlib import Path

import pytest

from qta.systems import SYSTEMS, System
from tests.qta.test_cli import Command, refusal


def test_a_report_replaces_neither_a_catalogue_nor_an_index(cli: Command, tools: Path, tmp_path: Path) -> None:
    before = tools.read_bytes()
    assert "is one of the catalogues" in refusal(
        cli("index", f"mine={tools}", "--out", tmp_path / "i", "--report", tools)
    )
    assert tools.read_bytes() == before
    inside = tmp_path / "i" / "manifest.json"
    assert "in the folder of the index" in refusal(cli("index", tools, "--out", tmp_path / "i", "--report", inside))


def test_results_do_not_replace_what_is_measured(cli: Command, tools: Path, queries: Path) -> None:
    for option, file in (("--json", queries), ("--markdown", tools)):
        before = file.read_bytes()
        finished = cli("eval", "--tools", f"own={tools}", "--queries", queries, "--system", "bm25", option, file)
        assert "is what is to be measured" in refusal(finished)
        assert file.read_bytes() == before


def test_a_path_in_a_systems_name_is_none_in_its_run_file(
    cli: Command, tools: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bm25 = SYSTEMS["bm25"]
    assert isinstance(bm25, System)
    monkeypatch.setitem(SYSTEMS, "rewritten", System("", lambda bench, _: bm25.build(bench, "")))
    options = ("--system", f"rewritten:{tmp_path} x", "--runs", tmp_path / "runs")
    assert cli("eval", "--tools", tools, "--queries", queries, *options).status == 0
    [run] = (tmp_path / "runs").glob("*.run")
    assert len(run.read_text("utf-8").splitlines()[0].split()) == 6
