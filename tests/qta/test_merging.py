"""Changes are merged into the index while it is served, and nobody notices but by the clock."""

import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mtrb.errors import ArtefactError
from mtrb.types import Toolset
from qta import live
from qta.changes import ChangeLog
from qta.encoder import Encoder
from qta.index import build_index, load_index
from qta.live import LiveCatalogue
from tests.qta.test_live import FIRST, NEW, ask, folder, tool

__all__ = ["folder"]  # a fixture


def test_a_merge_changes_no_answer_and_empties_the_log(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    assert not catalogue.merge()
    catalogue.put([NEW, tool(50)])
    catalogue.remove(["s/t0"])
    before = [ask(catalogue, encoder, text) for text in ("feed the animals", "thing_50", "thing_0")]
    assert catalogue.merge()
    assert len(load_index(folder, encoder).ids) == 21
    assert catalogue.now.revision == catalogue.now.base.revision == 2
    assert ChangeLog(folder).since(catalogue.now.base.revision) == []
    assert [ask(catalogue, encoder, text)[0] for text in ("feed the animals", "thing_50")] == [
        one[0] for one in before[:2]
    ]
    assert not catalogue.merge()
    catalogue.put([tool(51)])
    assert catalogue.merge()
    assert [change.revision for change in ChangeLog(folder).since(0)] == [3], "those of the index before are dropped"


def test_changes_are_merged_in_the_background(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder, merge_at=5)
    for n in range(100, 112):
        catalogue.put([tool(n)])
    deadline = time.monotonic() + 30
    while catalogue.now.base.revision < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert catalogue.now.base.revision >= 5
    assert int(catalogue.now.alive.sum()) == 32
    assert ask(catalogue, encoder, "thing_111")[0] == "s/t111"


def test_who_slept_through_merges_misses_nothing(folder: Path, encoder: Encoder) -> None:
    sleeper, worker = LiveCatalogue(folder, encoder), LiveCatalogue(folder, encoder)
    for n in range(60, 63):
        worker.put([tool(n)])
        worker.merge()
    assert ChangeLog(folder).forgotten == 2
    assert [sleeper.now.position(f"s/t{n}") is not None for n in range(60, 63)] == [True] * 3


def test_a_new_index_is_opened_beside_the_one_that_is_served(folder: Path, encoder: Encoder) -> None:
    reader, worker = LiveCatalogue(folder, encoder), LiveCatalogue(folder, encoder)
    worker.put([NEW])
    worker.merge()
    with reader._load_lock:  # as long as opening takes
        before = reader.now
        assert (before.base.revision, before.tool("zoo/feed")) == (0, NEW)
        worker.put([tool(70)])
        assert reader.now.tool("s/t70") == tool(70)
    deadline = time.monotonic() + 10
    while reader.now.base.revision == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reader.now.base.revision == 1
    assert reader.now.tool("s/t70") == tool(70)


def test_a_merge_does_not_overwrite_an_index_built_meanwhile(
    folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([NEW])

    def build_after_another(*arguments: Any, **options: Any) -> Any:
        build_index(Toolset(FIRST[:5]), folder, encoder)
        return build_index(*arguments, **options)

    monkeypatch.setattr(live, "build_index", build_after_another)
    with pytest.raises(ArtefactError, match="another index was built there meanwhile"):
        catalogue.merge()
    assert len(load_index(folder, encoder).ids) == 5


def test_a_merge_that_fails_is_not_tried_at_every_change(
    folder: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = LiveCatalogue(folder, encoder, merge_at=2)
    with FileLock(folder / ".lock"):  # as if `qta index` ran
        for n in range(80, 86):
            catalogue.put([tool(n)])
            catalogue.settle()
    [message] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert "another process is building this index" in message
    assert int(catalogue.now.alive.sum()) == 26
