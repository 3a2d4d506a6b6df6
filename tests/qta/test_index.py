"""The index folder: what it refuses, what it reuses, and that a kill never leaves half of one."""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    assert {path.name for path in sample_folder.iterdir()} <= {"manifest.json", ".lock", manifest.build}


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
        ({"format": 99}, "made with format 99, this version needs 3"),
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
    (folder / read_manifest(folder).build / "hnsw.faiss").write_text("garbage")
    assert load_index(folder, encoder).dense.kind == "flat"


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


BUILD = """
import sys
from pathlib import Path
from mtrb.formats import read_tools
from mtrb.types import Toolset
from qta.encoder import Encoder
from qta.index import build_index
build_index(Toolset(read_tools([sys.argv[1]])), Path(sys.argv[2]), Encoder())
"""


def start_build(catalogue: Path, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", BUILD, str(catalogue), str(folder)], cwd=ROOT)


def write_catalogue(path: Path, toolset: Toolset) -> Path:
    path.write_text("".join(json.dumps(tool.to_json()) + "\n" for tool in toolset))
    return path


def test_a_killed_build_continues_where_it_was(tmp_path: Path) -> None:
    many = tools(3000, "does thing {n}, and says so at some length, with dates, amounts and the names of all involved")
    building = start_build(write_catalogue(tmp_path / "many.jsonl", many), tmp_path / "index")
    checkpoint = tmp_path / "index" / "building"
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 500_000 for path in checkpoint.glob("*.vectors")):
        assert building.poll() is None, "the build was over before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    building.send_signal(signal.SIGKILL)
    building.wait()
    [file] = checkpoint.glob("*.vectors")
    with file.open("ab") as torn:
        torn.write(b"half a record")
    with pytest.raises(ArtefactError, match="not finished"):
        load_index(tmp_path / "index", Encoder())

    encoder = CountingEncoder()
    progress: list[int] = []
    build_index(many, tmp_path / "index", encoder, progress.append)
    assert 0 < len(encoder.embedded) < 3000 - 256
    assert sum(progress) == 3000
    index = load_index(tmp_path / "index", encoder)
    for position in (0, 200, 1500, 2999):
        expected = encoder.encode_one(many[position].default_text())[0]
        np.testing.assert_allclose(index.dense.vectors[position], expected, atol=1e-3)


def test_a_kill_at_any_moment_leaves_the_old_index_or_the_new(tmp_path: Path, encoder: Encoder) -> None:
    catalogues = [tools(n, description) for n, description in ((30, "old thing {n}"), (40, "new thing {n}"))]
    paths = [write_catalogue(tmp_path / f"{n}.jsonl", catalogue) for n, catalogue in enumerate(catalogues)]
    fingerprints = {Toolset(read_tools([str(path)])).fingerprint() for path in paths}
    folder = tmp_path / "index"
    start = time.monotonic()
    assert start_build(paths[0], folder).wait() == 0
    whole = time.monotonic() - start
    draw = random.Random(5)
    for turn in range(12):
        building = start_build(paths[1 - turn % 2], folder)
        # from before the build to after it; the first part of the time is the start of the interpreter
        time.sleep(whole * draw.uniform(0.4, 1.1))
        building.kill()
        building.wait()
        index = load_index(folder, encoder)
        assert index.manifest is not None
        assert index.manifest.fingerprint in fingerprints
        assert HybridRetriever(index, encoder).retrieve([Query("q", "thing 7")], 1)["q"][0].tool_id == "s/t7"
    build_index(catalogues[0], folder, encoder)
    left = {path.name for path in folder.iterdir()}
    assert left <= {"manifest.json", ".lock", read_manifest(folder).build}, "remains of killed builds"


def test_a_reader_finds_an_index_while_it_is_replaced_all_the_time(tmp_path: Path, encoder: Encoder) -> None:
    catalogues = [tools(5, "old thing {n}"), tools(6, "new thing {n}")]
    build_index(catalogues[0], tmp_path / "index", encoder)
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set():
            assert len(load_index(tmp_path / "index", encoder).ids) in (5, 6)
            reads += 1
        return reads

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for turn in range(1, 20):
            build_index(catalogues[turn % 2], tmp_path / "index", encoder)
        done.set()
        assert reading.result(30) > 10


def test_a_reader_keeps_its_index_while_it_is_replaced(tmp_path: Path, encoder: Encoder) -> None:
    build_index(tools(10, "old thing {n}"), tmp_path / "index", encoder)
    reader = HybridRetriever(load_index(tmp_path / "index", encoder), encoder)
    before = reader.retrieve([Query("q", "thing 7")], 10)
    build_index(tools(3, "new thing {n}"), tmp_path / "index", encoder)
    assert reader.retrieve([Query("q", "thing 7")], 10) == before
    assert reader.index.tool("s/t9").description == "old thing 9"
