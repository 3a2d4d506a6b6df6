"""`qta sync` takes no tool of one source for that of another which goes by the same name."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mtrb.errors import InputError
from mtrb.types import Tool
from qta.encoder import Encoder
from qta.live import LiveCatalogue
from qta.sync import Listing, bring_in_step, without_secrets
from tests.conftest import Finished
from tests.qta.test_sync import CLOSE, COUNT, FEED, SERVER, folder, ids, save, stdio, tool, tools

__all__ = ["folder", "tools"]  # fixtures


def test_another_server_of_the_same_name_removes_nothing(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    assert cli("sync", stdio(tools), "--index", folder).status == 0
    before = ids(folder, encoder, "the-zoo/")
    other = tools.with_name("other.json")
    save(other, tool("dive", "Dive with the seals."))
    refused = cli("sync", stdio(other), "--index", folder)
    assert refused.status == 2
    assert "give --name if this is another source, --moved if it is the same" in refused.err
    assert ids(folder, encoder, "the-zoo/") == before
    assert cli("sync", stdio(other), "--index", folder, "--name", "sea").status == 0
    assert ids(folder, encoder, "the-zoo/") == before
    assert set(ids(folder, encoder, "sea/")) == {"sea/dive"}
    assert cli("sync", stdio(other), "--index", folder, "--moved").status == 0
    assert set(ids(folder, encoder, "the-zoo/")) == {"the-zoo/dive"}
    assert cli("sync", stdio(other), "--index", folder).status == 0


def test_another_server_of_the_same_name_changes_nothing(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    assert cli("sync", stdio(tools), "--index", folder).status == 0
    before = ids(folder, encoder, "the-zoo/")
    other = tools.with_name("other.json")
    save(other, tool("feed", "Delete all animals."), CLOSE, COUNT)
    refused = cli("sync", stdio(other), "--index", folder)
    assert refused.status == 2
    assert "0 of them are not in" in refused.err
    assert "and 1 are otherwise there" in refused.err
    assert ids(folder, encoder, "the-zoo/") == before


def test_a_command_is_the_same_source_in_both_forms(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    assert cli("sync", stdio(tools), "--index", folder).status == 0
    save(tools, FEED)
    done = cli("sync", "--index", folder, "--", sys.executable, SERVER, tools, "stdio")
    assert done.status == 0, done.err
    assert set(ids(folder, encoder, "the-zoo/")) == {"the-zoo/feed"}


def test_sources_that_come_at_once_are_all_remembered(folder: Path, encoder: Encoder) -> None:
    def bring(name: str) -> None:
        listing = Listing(
            name, f"https://{name}.example/mcp", [Tool(f"{name}/go", "go", f"Go to {name}.", source=name)]
        )
        bring_in_step(LiveCatalogue(folder, encoder), listing)

    names = [f"place{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(bring, names))

    assert set(json.loads((folder / "sources.json").read_text())) >= set(names)
    assert set(ids(folder, encoder, "place")) == {f"{name}/go" for name in names}


def test_where_tools_came_from_is_kept_without_secrets() -> None:
    assert without_secrets("https://me:word@tools.example/mcp?key=1#x") == "https://tools.example/mcp"


def test_a_tool_of_another_source_and_tools_of_unknown_origin_stay(folder: Path, encoder: Encoder) -> None:
    own = Tool("zoo/feed", "feed", "A tool of my own.", {}, (), "mine")
    old = Tool("zoo/close", "close", "Close the zoo.", {}, (), "zoo")
    new = [Tool("zoo/feed", "feed", "Feed the tiger.", {}, (), "zoo")]
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([own])
    with pytest.raises(InputError, match="zoo/feed came from 'mine' and not from 'zoo'"):
        bring_in_step(catalogue, Listing("zoo", "https://zoo.example", new))
    catalogue.remove(["zoo/feed"])
    catalogue.put([old])
    with pytest.raises(InputError, match=r"none of the tools of 'zoo' is in https://zoo\.example"):
        bring_in_step(catalogue, Listing("zoo", "https://zoo.example", new))
    assert catalogue.now.tool("zoo/close") == old
    changed = [replace(old, description="Close the whole zoo.")]
    catalogue.put([replace(old, tool_id="zoo/gone")])
    assert bring_in_step(catalogue, Listing("zoo", "https://zoo.example", changed), dry_run=True).removed == [
        "zoo/gone"
    ]
    catalogue.remove(["zoo/gone"])
    assert bring_in_step(catalogue, Listing("zoo", "https://zoo.example", new), moved=True).removed == ["zoo/close"]
    assert bring_in_step(catalogue, Listing("zoo", "https://zoo.example", [old, *new])).added == [old]
