"""A catalogue and annotated requests of one's own: splits, several files, and what a new index no longer has."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.conftest import Finished
from tests.own import write_lines
from tests.qta.test_cli import refusal

Command = Callable[..., Finished]


def test_a_split_of_ones_own_queries(cli: Command, tools: Path, queries: Path, tmp_path: Path) -> None:
    own = ("eval", "--tools", tools, "--queries", queries, "--json", tmp_path / "r.json")
    assert cli(*own, "--split", "validation").status == 0
    row = json.loads((tmp_path / "r.json").read_text())["rows"][0]
    assert (row["split"], row["queries"]) == ("validation", 1)
    refused = refusal(cli(*own, "--split", "train"))
    assert "no queries in the split 'train': there are test, validation; name one with --split" in refused
    assert cli(*own).status == 0, "the default is the test split where there are splits"
    row = json.loads((tmp_path / "r.json").read_text())["rows"][0]
    assert (row["split"], row["queries"]) == ("test", 2)
    unsplit = write_lines(tmp_path / "all.jsonl", [{"query": "will it rain in Oslo", "tools": ["own/get_weather"]}])
    assert cli("eval", "--tools", tools, "--queries", unsplit).status == 0
    assert "no query names a split" in refusal(cli("eval", "--tools", tools, "--queries", unsplit, "--split", "test"))


def test_a_catalogue_of_several_files(cli: Command, tools: Path, tmp_path: Path) -> None:
    more = write_lines(tmp_path / "more.jsonl", [{"name": "dance", "description": "Dance a polka."}])
    asked = [
        {"query": "will it rain", "tools": ["own/get_weather"]},
        {"query": "dance with me", "tools": ["more/dance"]},
    ]
    both = ("--tools", tools, "--tools", more, "--queries", write_lines(tmp_path / "q.jsonl", asked))
    assert cli("eval", *both, "--json", tmp_path / "r.json").status == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["tools"] == 5
    assert cli("train", "examples", *both, "--out", tmp_path / "learnt").status == 0


def test_what_a_new_index_lacks_is_said(cli: Command, tools: Path, tmp_path: Path) -> None:
    index = ("index", tools, "--out", tmp_path / "index")
    assert cli(*index).err == ""
    put = write_lines(tmp_path / "more.jsonl", [{"name": "dance", "description": "Dance a polka."}])
    assert cli("tools", "add", put, "--index", tmp_path / "index").status == 0
    assert cli("tools", "remove", "own/send_mail", "--index", tmp_path / "index").status == 0
    kept = cli(*index, "--keep")
    assert (kept.out, kept.err) == (f"{tmp_path / 'index'} is there, and is left as it is\n", "")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 5', '"format": 4'))
    assert cli(*index, "--keep").err == "no longer there (1): more/dance\n", "it could not be served any more"
    assert cli(*index).err == ""


def test_a_damaged_log_does_not_keep_from_indexing_anew(cli: Command, tools: Path, tmp_path: Path) -> None:
    index = ("index", tools, "--out", tmp_path / "index")
    assert cli(*index).status == 0
    put = write_lines(tmp_path / "more.jsonl", [{"name": "dance", "description": "Dance a polka."}])
    assert cli("tools", "add", put, "--index", tmp_path / "index").status == 0
    with closing(sqlite3.connect(tmp_path / "index" / "changes.db")) as connection, connection:
        connection.execute("UPDATE changes SET record = 'damaged'")
    assert cli(*index) == (0, f"indexed 4 tools in {tmp_path / 'index'}\n", "no longer there (1): more/dance\n")


def test_what_was_learnt_from_does_not_calibrate(cli: Command, tools: Path, tmp_path: Path) -> None:
    assert cli("index", tools, "--out", tmp_path / "index").status == 0
    records = [
        {"query": f"will it rain on day {n}", "tools": ["own/get_weather"], "split": "train" if n < 5 else "test"}
        for n in range(25)
    ]
    calibrate = ("calibrate", "--index", tmp_path / "index", "--queries", write_lines(tmp_path / "q.jsonl", records))
    assert cli(*calibrate).out.startswith("20 requests: ")
    assert (
        "are too few" in cli(*calibrate, "--split", "train").err
        or "needs at least" in cli(*calibrate, "--split", "train").err
    )
