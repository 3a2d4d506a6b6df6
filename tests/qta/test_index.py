"""The index folder: what it refuses, what it reuses, and what stays untouched."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from mtrb.errors import ArtefactError, InputError
from mtrb.formats import read_tools
from mtrb.types import Query, Tool, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory, build_index, load_index, read_manifest
from qta.live import LiveCatalogue
from qta.sync import Listing, bring_in_step

ROOT = Path(__file__).parents[2]
REQUESTS = [Query("1", "refund order 8841"), Query("2", "will it rain in Kyoto"), Query("3", "明日の天気")]


class CountingEncoder(Encoder):
    """The real encoder, which remembers what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    def encode(self, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> NDArray[np.float32]:
        self.embedded += texts
        return super().encode(texts, advance)


def tools(count: int, description: str = "does thing {n}") -> Toolset:
    return Toolset(Tool(f"s/t{n}", f"t{n}", description.format(n=n)) for n in range(count))


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "index"))


def test_a_loaded_index_answers_as_the_one_in_memory(sample_folder: Path, encoder: Encoder) -> None:
    loaded = HybridRetriever(load_index(sample_folder, encoder), encoder).retrieve(REQUESTS, 20)
    fresh = build_in_memory(Toolset(read_tools(["sample:"])), encoder)
    assert loaded == HybridRetriever(fresh, encoder).retrieve(REQUESTS, 20)


def test_the_manifest_tells_what_is_in_the_folder(sample_folder: Path, encoder: Encoder) -> None:
    manifest = read_manifest(sample_folder)
    assert manifest.tools == 258
    assert manifest.fingerprint == Toolset(read_tools(["sample:"])).fingerprint()
    assert manifest.encoder == encoder.identity
    assert set(manifest.versions) >= {"numpy", "faiss-cpu", "bm25s", "onnxruntime"}
    assert {path.name for path in (sample_folder / manifest.build).iterdir()} == set(manifest.sha256)
    others = {path.name for path in sample_folder.iterdir()} - {"manifest.json", ".lock", manifest.build}
    assert all(name.startswith(("changes.db", "feedback.db")) for name in others)  # which a service makes


def test_tools_come_back_as_they_were(sample_folder: Path, encoder: Encoder) -> None:
    assert list(load_index(sample_folder, encoder).tools) == list(read_tools(["sample:"]))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused(folder: Path, encoder: Encoder, damage: str) -> None:
    manifest = read_manifest(folder)
    for name in manifest.sha256:
        path = folder / manifest.build / name
        whole = path.read_bytes()
        if damage == "flip":
            path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        elif damage == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        else:
            path.unlink()
        with pytest.raises(ArtefactError, match=f"{name}: missing or damaged; build the index again"):
            load_index(folder, encoder)
        path.write_bytes(whole)
    load_index(folder, encoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "made with format 99, this version needs 5"),
        ({"encoder": "other@0123"}, "made with encoder 'other@0123'"),
        ({"text": "name only"}, "made with text 'name only'"),
        ({"tools": 7}, "holds 258 tools and 258 vectors, not 7"),
        ({"surprise": 1}, "no manifest of an index"),
        ({"build": "../elsewhere"}, "no manifest of an index"),
        ({"build": 5}, "no manifest of an index"),
        ({"sha256": []}, "no manifest of an index"),
        ({"sha256": {}}, "missing or damaged"),
    ],
)
def test_a_foreign_index_is_refused(folder: Path, encoder: Encoder, changes: dict[str, Any], message: str) -> None:
    change_manifest(folder, **changes)
    with pytest.raises(ArtefactError, match=message):
        load_index(folder, encoder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 1}', "\xff"])
def test_a_broken_manifest_is_refused(folder: Path, encoder: Encoder, content: str) -> None:
    (folder / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ArtefactError, match="build the index again"):
        load_index(folder, encoder)


def test_no_index_is_said_so(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(ArtefactError, match=r"no index; make one with `qta index"):
        load_index(tmp_path / "nothing", encoder)
    (tmp_path / "half" / "building").mkdir(parents=True)
    with pytest.raises(ArtefactError, match="a build there was not finished"):
        load_index(tmp_path / "half", encoder)


def test_a_folder_with_other_things_is_not_touched(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds something else than an index \(thesis.txt\)"):
        build_index(tools(3), tmp_path, encoder)
    with pytest.raises(InputError, match="is a file"):
        build_index(tools(3), tmp_path / "thesis.txt", encoder)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_manifest_of_something_else_is_not_touched(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    extension = tmp_path / "extension"
    (extension / "src").mkdir(parents=True)
    (extension / "manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(InputError, match="holds something else"):
        build_index(tools(3), extension, encoder)
    (extension / "src").rmdir()
    with pytest.raises(InputError, match=r"something else than an index \(manifest.json\)"):
        build_index(tools(3), extension, encoder)
    (folder / "notes.md").write_text("keep me")
    with pytest.raises(InputError, match=r"notes\.md"):
        build_index(tools(3), folder, encoder)


def test_a_folder_called_building_is_not_touched(tmp_path: Path, encoder: Encoder) -> None:
    plan = tmp_path / "building" / "plan.txt"
    plan.parent.mkdir()
    plan.write_text("years of work")
    with pytest.raises(InputError, match=r"something else than an index \(building\)"):
        build_index(tools(3), tmp_path, encoder)
    assert plan.read_text() == "years of work"


def test_a_file_that_is_not_of_the_build_changes_nothing(folder: Path, encoder: Encoder) -> None:
    (folder / read_manifest(folder).build / "codes.faiss").write_text("garbage")
    assert load_index(folder, encoder).dense.kind == "flat"


def test_what_is_written_while_tools_are_embedded_comes_on_top(folder: Path, encoder: Encoder) -> None:
    service = LiveCatalogue(folder, encoder)
    service.put([Tool("x/before", "before", "Was there before.")])
    meanwhile = Tool("x/meanwhile", "meanwhile", "Was put meanwhile.")
    build_index(Toolset([Tool("x/new", "new", "A new tool.")]), folder, encoder, lambda _: service.put([meanwhile]))
    assert LiveCatalogue(folder, encoder).now.living == ["x/meanwhile", "x/new"]


def test_an_index_that_was_synced_can_be_merged_and_built_again(folder: Path, encoder: Encoder) -> None:
    listing = Listing("zoo", "https://zoo.example", [Tool("zoo/feed", "feed", "Feed the tiger.", {}, (), "zoo")])
    service = LiveCatalogue(folder, encoder)
    bring_in_step(service, listing)
    assert service.merge()
    build_index(Toolset([Tool("x/new", "new", "A new tool.")]), folder, encoder)
    assert LiveCatalogue(folder, encoder).now.living == ["x/new"]


def test_a_damaged_index_can_be_built_again(folder: Path, encoder: Encoder) -> None:
    (folder / "manifest.json").write_text("{")
    build_index(tools(3), folder, encoder)
    assert len(load_index(folder, encoder).ids) == 3


def test_a_folder_that_cannot_be_written_is_said_so(encoder: Encoder) -> None:
    with pytest.raises(ArtefactError, match="/proc/index: cannot be written"):
        build_index(tools(3), Path("/proc/index"), encoder)


def test_no_tools_make_no_index(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="no tool"):
        build_index(Toolset([]), tmp_path / "index", encoder)


def test_two_builders_do_not_meet(tmp_path: Path, encoder: Encoder) -> None:
    build_index(tools(3), tmp_path / "index", encoder)
    with FileLock(tmp_path / "index" / ".lock"), pytest.raises(ArtefactError, match="another process is building"):
        build_index(tools(4), tmp_path / "index", encoder)
    assert len(load_index(tmp_path / "index", encoder).ids) == 3


def test_only_changed_tools_are_embedded_again(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    build_index(tools(20), tmp_path / "index", encoder)
    assert len(encoder.embedded) == 20
    changed = Toolset([*tools(19), Tool("s/new", "new", "a new one"), Tool("s/t3-again", "t3", "does thing 3")])
    encoder.embedded.clear()
    build_index(changed, tmp_path / "index", encoder)
    assert encoder.embedded == ["new: a new one"]
    reused = load_index(tmp_path / "index", encoder)
    np.testing.assert_array_equal(reused.dense.vectors, build_in_memory(changed, encoder).dense.vectors)


def test_vectors_of_a_damaged_index_are_not_reused(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    build_index(tools(5), tmp_path / "index", encoder)
    path = tmp_path / "index" / read_manifest(tmp_path / "index").build / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    encoder.embedded.clear()
    build_index(tools(5), tmp_path / "index", encoder)
    assert len(encoder.embedded) == 5
