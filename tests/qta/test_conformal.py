"""How many tools are enough: the guarantee on exchangeable data, and what a calibration refuses."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrb.errors import ArtefactError, InputError
from mtrb.types import Benchmark
from qta.calibration import FILE, Calibrations, observe, read_calibration, write_calibration
from qta.conformal import LEVEL, Calibration, Observed, fewest, nonconformity, quantile
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import HybridRetriever
from qta.index import ToolIndex
from qta.training.calibration import calibrate_public
from tests.conftest import Finished


def draw(rng: np.random.Generator, number: int) -> list[Observed]:
    """Draw requests of one distribution: falling scores, and a last golden tool that is anywhere, early more often."""
    scores = -np.sort(-rng.gamma(2, 0.2, (number, 30)), axis=1)
    last = np.minimum(rng.geometric(0.2, number), 31)
    nearest = rng.normal(0.6, 0.1, number)
    return [Observed(list(row), int(at), float(cos), None) for row, at, cos in zip(scores, last, nearest, strict=True)]


def calibrated(rng: np.random.Generator, number: int, coverage: float) -> Calibration:
    return Calibration.of(draw(rng, number), coverage, "e", {})


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([0.5, 0.8, 0.9]), st.integers(40, 150), st.integers(0, 2**32))
def test_exchangeable_requests_are_covered_as_often_as_is_said(coverage: float, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    covered, flagged = [], []
    for _ in range(60):
        calibration = calibrated(rng, n, coverage)
        for one in draw(rng, 20):
            covered.append(one.last <= calibration.size(one.scores))
            flagged.append(calibration.fits(one.nearest or 0.0) < LEVEL)
    # 60 calibrations of n requests, 20 new ones each: the mean of `covered` has a deviation below 0.02; four of them
    assert coverage - 0.08 < np.mean(covered) < coverage + 1 / (n + 1) + 0.08
    assert np.mean(flagged) < LEVEL + 0.04


def test_more_coverage_takes_more_tools() -> None:
    rng = np.random.default_rng(1)
    known, scores = draw(rng, 200), draw(rng, 1)[0].scores
    sizes = [Calibration.of(known, coverage, "e", {}).size(scores) for coverage in (0.3, 0.6, 0.8, 0.9)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_how_many_follows_the_scores() -> None:
    calibration = calibrated(np.random.default_rng(2), 200, 0.8)
    clear = [2.0, 0.4, 0.3, 0.2, 0.1]
    close = [0.50, 0.49, 0.48, 0.47, 0.46]
    assert calibration.size(clear) < calibration.size(close)
    assert calibration.size([0.1]) == 1
    assert calibration.size([]) == 0


def test_a_name_in_the_request_does_not_make_the_tools_behind_it_far() -> None:
    plain = nonconformity([0.7, 0.6, 0.5])
    assert nonconformity([200.7, 0.6, 0.5]) == pytest.approx(plain)
    assert nonconformity([200.7, 100.6, 0.5]) == pytest.approx(plain)


@given(st.lists(st.floats(-1, 250), min_size=1, max_size=40))
def test_going_down_a_ranking_never_gets_cheaper(scores: list[float]) -> None:
    costs = nonconformity(sorted(scores, reverse=True))
    assert (np.diff(costs) > 0).all()


def test_the_quantile_is_that_of_the_theorem() -> None:
    assert quantile(range(1, 10), 0.9) == 9
    assert quantile(range(1, 100), 0.9) == 90
    assert quantile(range(1, 9), 0.9) == math.inf
    assert [fewest(coverage) for coverage in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(InputError, match=r"8 annotated requests are too few .* at least 9"):
        calibrated(np.random.default_rng(0), 8, 0.9)


def test_requests_that_are_never_answered_are_not_promised_anything() -> None:
    lost = [one._replace(last=101) for one in draw(np.random.default_rng(0), 20)]
    with pytest.raises(InputError, match=r"for 20 of 20 requests .* lower --coverage"):
        Calibration.of(lost, 0.9, "e", {})


def test_confidence_falls_when_an_answer_is_cut() -> None:
    rng = np.random.default_rng(3)
    calibration, scores = calibrated(rng, 300, 0.9), draw(rng, 1)[0].scores
    size = calibration.size(scores)
    confidences = [calibration.confidence(scores, cut) for cut in range(size + 1)]
    assert confidences == sorted(confidences)
    assert confidences[0] == 0
    assert confidences[-1] == pytest.approx(0.9, abs=0.01)


def test_the_shipped_calibration_is_of_the_shipped_encoder(encoder: Encoder) -> None:
    shipped = read_calibration(WEIGHTS / FILE, encoder.identity)
    assert shipped.coverage == 0.9
    assert len(shipped.costs) == shipped.about["requests"] == 776
    assert shipped.about["said_to_fit_no_tool"]["annotated requests"] <= LEVEL


@pytest.mark.benchmark
def test_the_shipped_calibration_is_what_its_command_makes(encoder: Encoder) -> None:
    made = calibrate_public(0.9, ("tooltalk", "toolselect"))
    shipped = np.array([cost for cost in read_calibration(WEIGHTS / FILE, encoder.identity).costs if cost is not None])
    assert len(made.costs) == 82 + 32
    for cost in made.costs:
        assert cost is None or np.abs(shipped - cost).min() < 0.005
    assert set(made.about["said_to_fit_no_tool"]) == {
        "annotated requests",
        "requests of other sets",
        "annotated requests, golden tools removed",
    }


def test_requests_are_observed_as_they_are_answered(
    sample_index: ToolIndex, sample: Benchmark, encoder: Encoder
) -> None:
    observed = observe(HybridRetriever(sample_index, encoder), sample, np.ones(len(sample_index.ids), np.bool_))
    assert len(observed) == len(sample.queries)
    for query, one in zip(sample.queries, observed, strict=True):
        assert len(one.scores) == 100
        assert len(sample.qrels[query.query_id]) <= one.last
        assert one.nearest is None or one.others is None or one.others <= one.nearest + 1e-3


def test_ones_own_calibration_is_used_and_noticed(tmp_path: Path, encoder: Encoder) -> None:
    found = Calibrations(tmp_path, encoder.identity)
    shipped = found.now
    own = calibrated(np.random.default_rng(0), 30, 0.7).model_copy(update={"encoder": encoder.identity})
    write_calibration(tmp_path / FILE, own)
    assert found.now.coverage == 0.7
    assert Calibrations(tmp_path, encoder.identity).now == found.now
    (tmp_path / FILE).write_text("{")
    assert found.now.coverage == 0.7, "a damaged one changes nothing while it is served"
    with pytest.raises(ArtefactError, match="it is damaged; make it again with `qta calibrate`"):
        Calibrations(tmp_path, encoder.identity)
    (tmp_path / FILE).unlink()
    assert found.now == shipped
    write_calibration(tmp_path / FILE, own.model_copy(update={"encoder": "other"}))
    with pytest.raises(ArtefactError, match="made with the encoder other"):
        Calibrations(tmp_path, encoder.identity)


def test_the_command(cli: Callable[..., Finished], sample_folder: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"query": "cancel my order", "tools": ["shop/cancel_order"]}\n' * 12)
    folder = copied(sample_folder, tmp_path)
    done = cli("calibrate", "--index", folder, "--queries", requests, "--coverage", 0.8)
    assert done.status == 0
    assert done.out.startswith("12 requests: answers of `-k auto` hold every tool with a probability of 0.8;")
    assert json.loads((folder / FILE).read_text())["coverage"] == 0.8
    answer = cli("retrieve", "cancel my order", "--index", folder, "-k", "auto", "--json")
    content = json.loads(answer.out)
    assert content["confidence"] == 0.8
    assert content["k"] == len(content["tools"]) <= 2, "one tool was always enough"
    refused = cli("calibrate", "--index", folder, "--queries", requests, "--coverage", 0.99)
    assert refused.status == 2
    assert "too few" in refused.err
    requests.write_text('{"query": "cancel my order", "tools": ["shop/nothing"]}\n')
    assert "'shop/nothing' is not in the catalogue" in cli("calibrate", "--index", folder, "--queries", requests).err


def test_what_is_served_with_a_lesson_is_calibrated_with_it(
    cli: Callable[..., Finished], sample_folder: Path, tmp_path: Path
) -> None:
    folder, rows = copied(sample_folder, tmp_path), []
    for n, word in enumerate(
        ("tango", "polka", "waltz", "rumba", "samba", "mambo", "salsa", "disco", "swing", "foxtrot")
    ):
        rows.append({"id": f"q{n}", "query": f"{word} for {n + 2} of us", "tools": ["shop/cancel_order"]})
    (tmp_path / "learnt.jsonl").write_text("\n".join(map(json.dumps, rows[:5])))
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows[5:] * 3)).replace('"id"', '"note"'))
    taught = ("train", "examples", "--tools", "sample:", "--queries", tmp_path / "learnt.jsonl")
    assert cli(*taught, "--out", tmp_path / "out").status == 0
    command = ("calibrate", "--index", folder, "--queries", tmp_path / "asked.jsonl", "--coverage", 0.8)
    sizes = []
    for more in ((), ("--rewriter", tmp_path / "out")):
        done = cli(*command, *more)
        sizes.append(
            json.loads((folder / FILE).read_text())["about"]["tools_in_an_answer"]["mean"] if not done.status else 999
        )
    assert sizes[1] < sizes[0], "the lesson puts the tool of such requests first"


def copied(folder: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(folder, tmp_path / "index")
    return tmp_path / "index"
