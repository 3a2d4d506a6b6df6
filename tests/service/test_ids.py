"""Ids with blanks, other scripts or umlauts: taken everywhere as their owner wrote them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished, Server, serving

IDS = ["my tool", "天气/查询", "büro/öffnen"]


@pytest.fixture
def server(sample_folder: Path, tmp_path: Path) -> Iterator[Server]:
    folder = shutil.copytree(sample_folder, tmp_path / "index")
    with serving(folder, "--workers", "1") as running:
        records = [{"id": one, "name": f"tool {n}", "description": "Feed the zebra."} for n, one in enumerate(IDS)]
        assert running.ask("/tools", {"tools": records}, "PUT").status == 200
        yield running


def ask(server: Server, **asked: Any) -> Any:
    return server.ask("/retrieve", {"query": "feed the zebra", "k": 3, **asked}).json


@pytest.mark.parametrize("given", IDS)
def test_an_id_is_known_however_it_comes(given: str, server: Server) -> None:
    [only] = ask(server, filter={"include": [given]})["tools"]
    left = ask(server, filter={"exclude": [given]})
    assert only["tool_id"] not in [tool["tool_id"] for tool in left["tools"]]
    pinned = server.ask("/retrieve", {"query": "refund order 8841", "k": 1, "always": [given]}).json
    assert [tool["tool_id"] for tool in pinned["tools"]] == [only["tool_id"]]
    assert left["degraded"] == pinned["degraded"] == []
    told = server.ask("/feedback", {"request_id": left["request_id"], "used": [given]})
    assert (told.status, told.json["used"]) == (200, [only["tool_id"]])
    assert server.ask("/tools", {"ids": [given, "my other"]}, "DELETE").json["missing"] == ["my other"]
    assert ask(server, filter={"include": [given]})["tools"] == []


def test_an_unknown_id_is_told_as_it_was_written(server: Server) -> None:
    told = ask(server, always=["天气/没有"], filter={"exclude": ["weder hier"]})["degraded"]
    assert [name in entry["detail"] for name, entry in zip(["weder hier", "天气/没有"], told, strict=True)] == [
        True,
        True,
    ]


def test_lists_and_the_command_line_know_it_too(server: Server, tmp_path: Path, cli: Callable[..., Finished]) -> None:
    found = server.ask("/tools?search=%E5%A4%A9%E6%B0%94").json
    assert found["total"] == 1
    assert server.ask("/tools?prefix=%E5%A4%A9%E6%B0%94").json == found
    assert cli("tools", "remove", "my tool", "--index", tmp_path / "index").out == "1 removed\n"
