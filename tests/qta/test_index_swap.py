"""Building an index while it is killed, and while others read it: never half of one."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mtrb.errors import ArtefactError
from mtrb.formats import read_tools
from mtrb.types import Query, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_index, load_index, read_manifest
from tests.qta.test_index import ROOT, CountingEncoder, tools

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
