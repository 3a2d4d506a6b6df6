"""A log of changes that is deleted, put back, or begun anew while a catalogue is in use."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mtrb.errors import StorageError
from qta.encoder import Encoder
from qta.live import LiveCatalogue, Written
from tests.qta.test_live import NEW, folder, tool

__all__ = ["folder"]  # a fixture


def without_log(folder: Path) -> None:
    for path in folder.glob("changes.db*"):
        path.unlink()


def test_a_log_that_was_deleted_takes_no_change(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    without_log(folder)
    with pytest.raises(StorageError, match="was deleted while it was in use"):
        catalogue.put([NEW])
    catalogue.remove(["s/nothing"])
    assert catalogue.now.position(NEW.tool_id) is None


def test_a_log_that_has_taken_the_place_of_another_is_the_log(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([NEW])
    without_log(folder)
    other = LiveCatalogue(folder, encoder)
    other.put([tool(30)])
    assert catalogue.put([tool(31)]) == Written(added=1)
    for one in (catalogue, other):
        assert one.now.tool("s/t30") == tool(30)
        assert one.now.tool("s/t31") == tool(31)
        assert one.now.position(NEW.tool_id) is None


def test_an_index_folder_that_was_gone_and_is_back_is_written_to(
    folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([NEW])
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    catalogue.remove(["s/nothing"])  # looks at what is there
    shutil.copytree(tmp_path / "copy", folder)
    assert catalogue.put([tool(31)]) == Written(added=1)
    assert {NEW.tool_id, "s/t31"} <= set(LiveCatalogue(folder, encoder).now.living)


def test_a_log_that_is_begun_anew_comes_after_the_index(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([NEW])
    catalogue.put([tool(30)])
    assert catalogue.merge()
    without_log(folder)
    fresh = LiveCatalogue(folder, encoder)
    assert fresh.put([tool(31)]) == Written(added=1)
    assert fresh.now.tool("s/t31") == tool(31)
    assert fresh.now.tool("s/t30") == tool(30)


def test_a_log_that_is_begun_anew_while_an_index_is_merged_and_read_comes_after_it(
    folder: Path, encoder: Encoder
) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([NEW])
    catalogue.put([tool(30)])
    assert catalogue.merge()
    without_log(folder)
    with ThreadPoolExecutor(1) as other_thread, pytest.raises(StorageError, match="was deleted while it was in use"):
        other_thread.submit(catalogue.put, [tool(31)]).result()
    assert not (folder / "changes.db").exists()
    LiveCatalogue(folder, encoder)  # which begins another
    assert catalogue.put([tool(31)]) == Written(added=1)
    assert LiveCatalogue(folder, encoder).now.tool("s/t31") == catalogue.now.tool("s/t31") == tool(31)
