"""`qta tools`: an index folder changed from the command line, also under a running service."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mtrb.types import Tool, Toolset
from qta import live
from qta.encoder import Encoder
from qta.index import build_index, read_manifest
from qta.live import LiveCatalogue
from tests.conftest import Finished, serving

ZOO = [
    {"name": "feed_animals", "description": "Feed the animals of the zoo."},
    {"name": "close", "description": "Shut."},
]


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "index"))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    path = tmp_path / "zoo.json"
    path.write_text(json.dumps({"tools": ZOO}), "utf-8")
    return path


def test_add_list_and_remove(folder: Path, zoo: Path, cli: Callable[..., Finished]) -> None:
    assert cli("tools", "add", zoo, "--index", folder) == (0, "2 added, 0 changed, 0 unchanged\n", "")
    zoo.write_text(json.dumps({"tools": [{**ZOO[0], "description": "Wake the animals."}, ZOO[1]]}), "utf-8")
    done = cli("tools", "add", zoo, "--index", folder, "--json")
    assert json.loads(done.out) == {"added": 0, "changed": 1, "unchanged": 1, "left_out": 0, "revision": 2}
    listed = cli("tools", "list", "--index", folder, "--prefix", "zoo/")
    assert listed == (0, "zoo/close  Shut.\nzoo/feed_animals  Wake the animals.\n", "2 tools\n")
    assert cli("tools", "remove", "zoo/close", "zoo/feed_animals", "--index", folder).out == "2 removed\n"
    assert cli("tools", "list", "--index", folder, "--search", "ZOO").out == ""
    assert cli("tools", "list", "--index", folder).err == "258 tools\n"


def test_the_rewriter_is_shown_what_was_added_and_not_what_was_removed(
    folder: Path, zoo: Path, cli: Callable[..., Finished]
) -> None:
    def shown() -> list[str]:
        done = cli("rewrite", "feed the animals of the zoo", "--index", folder, "--json")
        return list(json.loads(done.out)["shown"])

    assert cli("tools", "add", zoo, "--index", folder).status == 0
    assert shown()[0] == "zoo/feed_animals"
    assert cli("tools", "remove", "zoo/feed_animals", "--index", folder).status == 0
    assert "zoo/feed_animals" not in shown()
    other = shown()[0]
    assert cli("tools", "remove", other, "--index", folder).status == 0
    assert other not in shown(), "a tool of the index as it was built"


def test_what_is_listed_can_be_added(folder: Path, tmp_path: Path, cli: Callable[..., Finished]) -> None:
    listed = cli("tools", "list", "--index", folder, "--json")
    assert len(listed.out.splitlines()) == 258
    (tmp_path / "all.jsonl").write_text(listed.out, "utf-8")
    done = cli("tools", "add", tmp_path / "all.jsonl", "--index", folder)
    assert done.out == "0 added, 0 changed, 258 unchanged\n"


def test_a_running_service_sees_it(folder: Path, zoo: Path, qta: Callable[..., Finished]) -> None:
    with serving(folder, "--workers", "1") as server:
        assert qta("tools", "add", zoo, "--index", folder).status == 0
        answer = server.ask("/retrieve", {"query": "give the tigers their food", "k": 1}).json
        assert answer["tools"][0]["tool_id"] == "zoo/feed_animals"
        assert qta("tools", "remove", "zoo/feed_animals", "--index", folder).status == 0
        assert server.ask("/tools/zoo/feed_animals").status == 404


def test_a_wrong_id_removes_nothing(folder: Path, cli: Callable[..., Finished]) -> None:
    done = cli("tools", "remove", "shop/request_refund", "shop/nothing", "--index", folder)
    assert done.status == 2
    assert "there is no tool shop/nothing" in done.err
    assert cli("tools", "list", "--index", folder).err == "258 tools\n"


def test_an_invalid_record_adds_nothing_unless_it_is_left_out(
    folder: Path, zoo: Path, cli: Callable[..., Finished]
) -> None:
    zoo.write_text(json.dumps([*ZOO, {"name": 5}]), "utf-8")
    done = cli("tools", "add", zoo, "--index", folder)
    assert done.status == 2
    assert "record 3: name must be a text" in done.err
    assert cli("tools", "list", "--index", folder).err == "258 tools\n"
    done = cli("tools", "add", zoo, "--index", folder, "--skip-invalid")
    assert done.out == "2 added, 0 changed, 0 unchanged, 1 records left out\n"
    assert "left out" in done.err


def test_a_folder_without_an_index_is_left_alone(tmp_path: Path, zoo: Path, cli: Callable[..., Finished]) -> None:
    (tmp_path / "other").mkdir()
    for folder in (tmp_path / "other", tmp_path / "none"):
        done = cli("tools", "add", zoo, "--index", folder)
        assert done.status == 2
        assert "no index; make one with `qta index" in done.err
    assert list((tmp_path / "other").iterdir()) == []


def test_many_tools_are_merged_before_the_command_ends(
    tmp_path: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    folder = tmp_path / "index"
    build_index(Toolset([Tool("a/b", "b")]), folder, encoder)
    many = "".join(json.dumps({"name": f"tool_{n}", "description": f"Does thing {n}."}) + "\n" for n in range(1100))
    (tmp_path / "many.jsonl").write_text(many, "utf-8")
    assert (
        cli("tools", "add", tmp_path / "many.jsonl", "--index", folder).out == "1,100 added, 0 changed, 0 unchanged\n"
    )
    catalogue = LiveCatalogue(folder, encoder)
    assert int(catalogue.now.alive.sum()) == 1101
    manifest = read_manifest(folder)
    assert manifest.tools > 1101 - live.MERGE_AT, "what is left in the log is less than what is merged"
