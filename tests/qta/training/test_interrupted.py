"""A training that stops in the middle: what is gone on from, and what is not; a full disk leaves nothing half."""

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtrb.errors import ArtefactError, StorageError
from mtrb.types import Toolset
from qta.encoder import Encoder
from qta.rewriting.manifest import RewriterManifest, current_build, install
from qta.training.run import train_dpo
from tests.aligning import TOOLS, annotated, settings, trained


def test_an_interrupted_training_goes_on(base: str, tmp_path: Path, encoder: Encoder) -> None:
    whole = trained(base, tmp_path / "whole", encoder)

    def stop(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(annotated(), settings(base), tmp_path / "parts", encoder, stop)
    assert not (tmp_path / "parts" / "current.json").exists()
    lines: list[str] = []
    resumed = train_dpo(annotated(), settings(base), tmp_path / "parts", encoder, lines.append)
    assert not any(line.startswith("round 1") for line in lines[:2])
    assert (resumed.build / "pairs.jsonl").read_text() == (whole.build / "pairs.jsonl").read_text()


def interrupted(base: str, out: Path, encoder: Encoder, **more: Any) -> None:
    """Stop in the last round of the alignment with all examples, which comes behind those with a half each."""
    given = settings(base, **more)
    seen: list[str] = []

    def stop(line: str) -> None:
        seen.append(line)
        if sum(one.startswith(f"round {given.rounds}") for one in seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(annotated(), given, out, encoder, stop)


def test_a_training_of_fewer_rounds_is_not_told_of_more(base: str, tmp_path: Path, encoder: Encoder) -> None:
    interrupted(base, tmp_path / "r", encoder, rounds=3)
    outcome = trained(base, tmp_path / "r", encoder, rounds=1)
    *pairs, last = [json.loads(line) for line in (outcome.build / "pairs.jsonl").read_text().splitlines()]
    assert {pair["round"] for pair in pairs} == {1}
    assert len(last["statistics"]["rounds"]) == 1
    assert RewriterManifest.read(outcome.build).settings["rounds"] == 1


def test_what_was_done_with_other_tools_is_done_again(base: str, tmp_path: Path, encoder: Encoder) -> None:
    interrupted(base, tmp_path / "r", encoder)
    tools = Toolset(replace(tool, description=f"{tool.description} Or not.") for tool in TOOLS)
    lines: list[str] = []
    train_dpo(replace(annotated(), toolset=tools), settings(base), tmp_path / "r", encoder, lines.append)
    assert sum(line.startswith("round 1") for line in lines) == 3, "of both halves, and of all examples"
    assert not (tmp_path / "r" / ".training").exists()


def test_a_disk_that_is_full_in_a_round_says_so_and_the_training_goes_on(
    base: str, tmp_path: Path, encoder: Encoder
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(line: str) -> None:
        if line.startswith("round 2"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # less than the weights take

    try:
        with pytest.raises(StorageError, match=r"round-2: cannot be written: .*; make room and start again"):
            train_dpo(annotated(), settings(base), tmp_path / "r", encoder, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines: list[str] = []
    assert train_dpo(annotated(), settings(base), tmp_path / "r", encoder, lines.append).build.exists()
    assert lines[1].startswith("round 2")


def test_a_full_disk_leaves_what_was_there(
    base: str, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    first = trained(base, out, encoder, rounds=1)
    install(first.build)  # whatever the gate has said
    builds = sorted(path.name for path in out.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RewriterManifest, "write", full)
    with pytest.raises(ArtefactError, match="No space left on device; a rewriter that was installed is as it was"):
        trained(base, out, encoder, rounds=1, seed=1)
    assert current_build(out) == first.build
    assert sorted(path.name for path in out.iterdir() if path.name != ".training") == builds
