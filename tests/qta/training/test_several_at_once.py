"""Rewriters aligned several at once: each in a process, and one that fails or is killed keeps no other from being made."""

import os
import signal
from pathlib import Path

import pytest

from benchmarks.rewriters import Job, align_all, gpu_names
from qta.encoder import Encoder
from tests.aligning import annotated, settings


class Killed(Job):
    """A job whose process is killed, as for want of memory."""

    def run(self, out: Path, encoder: Encoder) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_those_that_fail_are_named_and_the_others_are_there(base: str, tmp_path: Path) -> None:
    bad = Job("bad", annotated(), settings(str(tmp_path / "no-model"), rounds=1))
    killed = Killed("killed", annotated(), settings(base, rounds=1))
    good = Job("good", annotated(), settings(base, rounds=1))

    failed = align_all([killed, bad, good], tmp_path, at_once=2)

    assert sorted(failed) == ["bad", "killed"]
    assert good.is_done(tmp_path)
    assert not bad.is_done(tmp_path)


def test_only_the_gpus_that_are_visible_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    assert gpu_names() == ["2", "GPU-5a"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu_names() == ["0", "1"]
