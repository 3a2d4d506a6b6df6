"""Rewriters aligned several at once: each in a process, and one that fails keeps no other from being made."""

from pathlib import Path

from benchmarks.rewriters import Job, align_all
from tests.aligning import annotated, settings


def test_one_that_fails_is_named_and_the_other_is_there(base: str, tmp_path: Path) -> None:
    absent = str(tmp_path / "no-model")
    good = Job("good", annotated(), settings(base, rounds=1))
    bad = Job("bad", annotated(), settings(absent, rounds=1))

    wrong = align_all([bad, good], tmp_path, at_once=2)

    assert list(wrong) == ["bad"]
    assert "no-model" in wrong["bad"]
    assert good.is_done(tmp_path)
    assert not bad.is_done(tmp_path)
