"""Benchmark data: the right records in the right places, verified, and refused when they are not."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mtrb.benchmarks import DATASETS, load, upstream
from mtrb.benchmarks.local import local_file
from mtrb.benchmarks.public import NAMES, TENTH, WHOLE, is_held_out
from mtrb.errors import DataError

COUNTS = {
    # dataset, split: tools, queries, golden tools
    ("mtrb/restbench", "train"): (54, 10, 26),
    ("mtrb/restbench", "test"): (54, 90, 199),
    ("mtrb/metatool", "train-1"): (199, 10, 10),
    ("mtrb/metatool", "train-5"): (199, 10, 10),
    ("mtrb/metatool", "test"): (199, 90, 90),
    ("mtrb/toolbench-standin", "train"): (3406, 10, 24),
    ("mtrb/toolbench-standin", "test"): (3406, 90, 213),
}


@pytest.mark.benchmark
@pytest.mark.parametrize(("dataset", "split"), COUNTS)
def test_mtrb_is_complete(dataset: str, split: str) -> None:
    bench = load(dataset, split)
    golden = sum(len(tools) for tools in bench.qrels.values())
    assert (len(bench.toolset), len(bench.queries), golden) == COUNTS[dataset, split]


@pytest.mark.benchmark
def test_golden_tools_are_the_ones_their_authors_meant() -> None:
    restbench, metatool = load("mtrb/restbench"), load("mtrb/metatool")
    first, last = restbench.queries[0], restbench.queries[-1]
    assert list(restbench.qrels[first.query_id]) == [
        "restbench/GET%20/search/movie",
        "restbench/GET%20/movie/%7Bmovie_id%7D",
    ]
    assert first.text.startswith("Who has an earlier release date")
    assert last.query_id == "restbench-test-089"
    assert list(metatool.qrels[metatool.queries[0].query_id]) == ["metatool/PDF&URLTool"]
    for bench in (restbench, metatool):
        names = {tool.tool_id: tool.name for tool in bench.toolset}
        assert all(tool_id in names for golden in bench.qrels.values() for tool_id in golden)
    standin = load("mtrb/toolbench-standin")
    assert {tool for golden in standin.qrels.values() for tool in golden} == {
        f"toolbench/{number}" for number in (171, 574, 703, 810, 956, 2184, 2359)
    }
    assert "not comparable" in standin.note


@pytest.mark.benchmark
@pytest.mark.parametrize("dataset", ["mtrb/restbench", "mtrb/toolbench-standin", "mtrb/metatool"])
def test_training_and_test_queries_never_meet(dataset: str) -> None:
    test = {" ".join(query.text.lower().split()) for query in load(dataset).queries}
    for split in DATASETS[dataset].splits[:-1]:
        train = {" ".join(query.text.lower().split()) for query in load(dataset, split).queries}
        assert len(train) == 10
        assert not train & test


@pytest.mark.benchmark
def test_toolbench_train_is_what_elimination_leaves() -> None:
    data = Path(os.environ["MTRB_HOME"]).parents[1] / "toolbench"
    from mtrb.formats.records import read_lines

    pool = [
        record for name in ("queries.jsonl.gz", "queries_mtrb_overlap.jsonl") for _, record in read_lines(data / name)
    ]
    third = {
        record["query"]
        for record in pool
        if record["split"] in ("G3", "G3_instruction") and "data_example" not in record["source"]
    }
    test = {query.text for query in load("mtrb/toolbench-standin").queries}
    train = {query.text for query in load("mtrb/toolbench-standin", "train").queries}
    assert len(third) == 100
    assert third - test == train


@pytest.mark.benchmark
def test_metatool_draws_differ_and_stay() -> None:
    draws = [tuple(query.text for query in load("mtrb/metatool", f"train-{n}").queries) for n in range(1, 6)]
    assert len(set(draws)) == 5
    assert hashlib.sha256("\n".join(draws[0]).encode()).hexdigest()[:12] == "26280e19db9e"


@pytest.mark.benchmark
@pytest.mark.parametrize("name", NAMES)
def test_public_halves_are_disjoint_and_even(name: str) -> None:
    validation, test = load(f"public/{name}", "validation"), load(f"public/{name}", "test")
    ids = [{query.query_id for query in half.queries} for half in (validation, test)]
    assert not ids[0] & ids[1]
    assert 0 <= len(ids[0]) - len(ids[1]) <= 1
    for golden in (*validation.qrels.values(), *test.qrels.values()):
        assert is_held_out(name, list(golden))


@pytest.mark.benchmark
@pytest.mark.parametrize("name", TENTH)
def test_a_tenth_of_the_tools_is_held_out(name: str) -> None:
    ids = load(f"public/{name}").toolset.ids
    share = sum(is_held_out(name, [tool_id]) for tool_id in ids) / len(ids)
    assert 0.05 < share < 0.16
    assert all(is_held_out(whole, ["anything"]) for whole in WHOLE)


@pytest.mark.benchmark
def test_an_altered_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "upstream"
    shutil.copytree(os.environ["MTRB_HOME"], home, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(home):
        Path(folder).chmod(0o755)
    test = home / "FANXIN-Gmail+MTRB-QTA" / "metatool" / "mtr_metatool_test.json"
    test.write_text(test.read_text("utf-8").replace("171", "172", 1), "utf-8")
    monkeypatch.setenv("MTRB_HOME", str(home))
    with pytest.raises(DataError, match="not the pinned version"):
        load("mtrb/metatool")
    test.unlink()
    with pytest.raises(DataError, match="does not exist; put it there, or unset MTRB_HOME"):
        load("mtrb/metatool")


@pytest.mark.benchmark
@pytest.mark.parametrize("change", ["cut", "damaged", "plain"])
def test_local_data_is_verified_plain_or_compressed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = (Path(os.environ["MTRB_HOME"]).parents[1] / "bfcl" / "queries.jsonl.gz").read_bytes()
    lines = gzip.decompress(packed).splitlines(keepends=True)
    (tmp_path / "bfcl").mkdir()
    monkeypatch.setenv("MTRB_HOME", str(tmp_path / "mtrb" / "upstream"))
    name = "queries.jsonl" + ("" if change == "plain" else ".gz")
    content = {"cut": gzip.compress(b"".join(lines[:60])), "damaged": packed[:-9], "plain": b"".join(lines)}[change]
    (tmp_path / "bfcl" / name).write_bytes(content)
    if change == "plain":
        assert local_file("bfcl/queries.jsonl").name == name
    else:
        with pytest.raises(DataError, match="not the version that the figures are about"):
            local_file("bfcl/queries.jsonl")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="unknown dataset 'mtrb/none'; known: mtrb/restbench"):
        load("mtrb/none")
    with pytest.raises(DataError, match="has no split 'validation'; it has train, test"):
        load("mtrb/restbench", "validation")


class Mirror:
    """A real HTTP server over a folder, as raw.githubusercontent.com lays it out."""

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        self.folder = folder
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def publish(self, file: upstream.UpstreamFile, content: bytes) -> None:
        path = self.folder / file.repository / file.commit / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    running = Mirror(tmp_path / "mirror")
    monkeypatch.delenv("MTRB_HOME", raising=False)
    monkeypatch.setenv("MTRB_URL", running.url)
    yield running
    running.close()


CONTENT = json.dumps([1, 2, 3]).encode()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


def test_a_download_is_verified_and_kept(mirror: Mirror) -> None:
    file = upstream.UpstreamFile("o/n", "c", "d/f.json", hashlib.sha256(CONTENT).hexdigest())
    mirror.publish(file, CONTENT)
    assert upstream.read(file) == CONTENT
    mirror.close()
    assert upstream.read(file) == CONTENT


def test_a_download_is_verified_by_its_git_blob_id(mirror: Mirror) -> None:
    right = upstream.UpstreamFile("o/n", "c", "d/right.json", git_blob=BLOB)
    wrong = upstream.UpstreamFile("o/n", "c", "d/wrong.json", git_blob="0" * 40)
    mirror.publish(right, CONTENT)
    mirror.publish(wrong, CONTENT)
    assert upstream.read(right) == CONTENT
    for _ in range(2):
        with pytest.raises(DataError, match="git blob id"):
            upstream.read(wrong)


def test_an_altered_download_is_refused(mirror: Mirror) -> None:
    file = upstream.UpstreamFile("o/n", "c", "f.json", "0" * 64)
    mirror.publish(file, CONTENT)
    with pytest.raises(DataError, match="not the pinned version"):
        upstream.read(file)


def test_without_network_the_error_names_both_ways(mirror: Mirror) -> None:
    mirror.close()
    with pytest.raises(
        DataError, match=r"cannot download http.*set MTRB_HOME to a folder.*FANXIN-Gmail\+MTRB-QTA/restbench"
    ):
        load("mtrb/restbench")


def test_what_cannot_be_downloaded_says_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTRB_HOME", raising=False)
    for dataset in ("public/bfcl", "mtrb/toolbench-standin"):
        with pytest.raises(DataError, match="MTRB_HOME"):
            load(dataset)
