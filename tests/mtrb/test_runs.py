"""Run and qrels files."""

from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtrb.errors import InputError
from mtrb.runs import read_qrels, read_run, write_qrels, write_run
from mtrb.types import ScoredTool

IDS = st.text(alphabet="abcdefgh/%-", min_size=1, max_size=6)
RUNS = st.dictionaries(
    IDS, st.lists(st.tuples(IDS, st.integers(-3, 3)), unique_by=lambda pair: pair[0], min_size=1), min_size=1
)


@given(RUNS)
def test_rankings_survive_the_file_also_among_ties(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, list[tuple[str, int]]]
) -> None:
    run = {
        query: [ScoredTool(tool, float(score)) for tool, score in sorted(ranking, key=lambda pair: -pair[1])]
        for query, ranking in drawn.items()
    }
    path = tmp_path_factory.mktemp("run") / "a.run"
    write_run(path, run)
    found = read_run(path)
    assert list(found) == list(run)
    for query, ranking in run.items():
        assert [one.tool_id for one in found[query]] == [one.tool_id for one in ranking]
        assert [one.score for one in found[query]] == pytest.approx([one.score for one in ranking], abs=1e-4)


def test_ties_are_scored_alike_by_other_evaluators(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {"q1": [ScoredTool("a", 1.0), ScoredTool("c", 0.5), ScoredTool("b", 0.5)]})
    write_qrels(tmp_path / "a.qrels", {"q1": {"b": 1}})
    measured = ir_measures.calc_aggregate(
        [ir_measures.RR],
        ir_measures.read_trec_qrels(str(tmp_path / "a.qrels")),
        ir_measures.read_trec_run(str(tmp_path / "a.run")),
    )
    assert measured[ir_measures.RR] == pytest.approx(1 / 3)


def test_other_evaluators_read_our_files(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {"q1": [ScoredTool("x/a", 2.0), ScoredTool("x/b", 1.0)]})
    write_qrels(tmp_path / "a.qrels", {"q1": {"x/b": 1}})
    measured = ir_measures.calc_aggregate(
        [ir_measures.RR],
        ir_measures.read_trec_qrels(str(tmp_path / "a.qrels")),
        ir_measures.read_trec_run(str(tmp_path / "a.run")),
    )
    assert measured[ir_measures.RR] == 0.5
    assert read_qrels(tmp_path / "a.qrels") == {"q1": {"x/b": 1}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("q1 Q0 t 1 0.5", "line 1: expected 6 columns, found 5"),
        ("q1 Q0 t one 0.5 tag", "is no number"),
        ("q1 Q0 t 1 high tag", "is no number"),
        ("q1 Q0 t 1 nan tag", "is no number"),
        ("q1 Q0 t 1 0.5 tag\nq1 Q0 t 2 0.4 tag", "retrieved twice"),
    ],
)
def test_a_broken_run_is_refused(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text(content)
    with pytest.raises(InputError, match=expected):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize("content", ["q1 0 t", "q1 0 t yes", "q1 0 t 1.5", f"q1 0 t {10**400}"])
def test_broken_qrels_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text(content)
    with pytest.raises(InputError, match="line 1"):
        read_qrels(tmp_path / "a.qrels")


def test_a_tool_judged_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text("q1 0 t 1\nq1 0 t 0")
    with pytest.raises(InputError, match="line 2: 't' is judged twice for the query 'q1'"):
        read_qrels(tmp_path / "a.qrels")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "absent")
