"""The command line as a user meets it: what it prints, what it writes, how it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import qta as package
from tests.conftest import Finished
from tests.own import TOOLS, write_lines

Command = Callable[..., Finished]


def refusal(finished: Finished) -> str:
    assert finished.status == 2
    assert finished.out == ""
    assert 1 <= len(finished.err.splitlines()) <= 2
    assert finished.err.startswith("error: ")
    return finished.err


def test_indexing_and_retrieving_in_processes_of_their_own(qta: Command, tools: Path) -> None:
    made = qta("index", tools, "--out", "idx")
    assert (made.status, made.out) == (0, "indexed 4 tools in idx\n")
    found = qta("retrieve", "will it rain in Oslo tomorrow?", "--index", "idx", "-k", 2)
    assert found.status == 0
    assert len(found.out.splitlines()) == 2
    assert found.out.splitlines()[0].split()[2:4] == ["own/get_weather", "Weather"]


def test_the_json_is_the_services_answer(cli: Command, sample_folder: Path) -> None:
    answer = json.loads(cli("retrieve", "refund order 8841", "--index", sample_folder, "-k", 3, "--json").out)
    assert set(answer) == {"tools", "query", "rewritten_query", "k", "index", "timing_ms", "degraded"}
    assert [tool["rank"] for tool in answer["tools"]] == [1, 2, 3]
    assert answer["tools"][0]["tool_id"] == "shop/request_refund"
    assert answer["tools"][0]["parameters"]["type"] == "object"
    assert answer["index"]["tools"] == 258


def test_a_long_request_is_said_to_be_truncated(cli: Command, sample_folder: Path) -> None:
    finished = cli("retrieve", "refund my order " * 200, "--index", sample_folder)
    assert finished.status == 0
    assert "the encoder read the first" in finished.err


def test_invalid_records_are_named_or_left_out_by_name(cli: Command, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", [*TOOLS, {"description": "nameless"}, {"name": "x", "parameters": 3}])
    assert "t.jsonl, line 5: the name is missing" in refusal(cli("index", path, "--out", tmp_path / "idx"))
    assert not (tmp_path / "idx").exists()
    made = cli("index", path, "--out", tmp_path / "idx", "--skip-invalid")
    assert made.out == f"indexed 4 tools in {tmp_path / 'idx'}, 2 records left out\n"
    assert [line.partition(": ")[0] for line in made.err.splitlines() if line.startswith("left out")] == [
        f"left out {path}, line 5",
        f"left out {path}, line 6",
    ]


def test_the_report_names_twins_and_what_was_left_out(cli: Command, tmp_path: Path) -> None:
    twin = {"id": "other/weather", "name": "getWeather", "description": "Weather  forecast for a city."}
    path = write_lines(tmp_path / "t.jsonl", [*TOOLS, twin, {"name": ""}])
    made = cli("index", path, "--out", tmp_path / "idx", "--skip-invalid", "--report", tmp_path / "report.json")
    assert "1 groups of equal tools, 0 pairs of similar ones" in made.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exact"] == [["t/get_weather", "other/weather"]]
    assert report["left_out"][0]["location"].endswith("t.jsonl, line 6")


def test_several_sources_make_one_index(cli: Command, tools: Path, tmp_path: Path) -> None:
    made = cli("index", tools, "sample:", "--out", tmp_path / "idx")
    assert made.out == f"indexed 262 tools in {tmp_path / 'idx'}\n"


def test_evaluating_a_catalogue_of_ones_own(cli: Command, tools: Path, queries: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / "new" / f"r.{form}" for form in ("json", "md", "png")}
    finished = cli(
        *("eval", "--tools", tools, "--queries", queries, "--system", "hybrid", "--system", "bm25", "--k", 1, "--k", 2),
        *("--json", files["json"], "--markdown", files["md"], "--plot", files["png"], "--per-query"),
        *("--baseline", "bm25", "--split", "all"),
    )
    assert finished.status == 0
    assert "Sufficiency@2" in finished.out
    report = json.loads(files["json"].read_text())
    assert [row["system"] for row in report["rows"]] == ["hybrid", "bm25"]
    hybrid = report["rows"][0]
    assert (hybrid["dataset"], hybrid["split"], hybrid["queries"], hybrid["tools"]) == ("queries", "all", 3, 4)
    assert hybrid["measures"]["Sufficiency@2"]["mean"] == 1
    assert hybrid["per_query"]["b"]["Sufficiency@1"] == 0
    assert 0 <= hybrid["p"]["Sufficiency@1"] <= 1
    assert hybrid["paper"] is None
    assert report["command"].startswith("qta eval --tools ")
    assert {"qta", "python", "numpy"} <= set(report["versions"])
    assert "| hybrid | " in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_failing_under_a_floor(cli: Command, tools: Path, queries: Path) -> None:
    own = ("eval", "--tools", tools, "--queries", queries)
    assert cli(*own, "--fail-under", "Sufficiency@4=1").status == 0
    finished = cli(*own, "--fail-under", "Sufficiency@1=0.9", "--fail-under", "MRR=0.1")
    assert finished.status == 1
    assert "queries, clauses: Sufficiency@1 is 0.5000, below 0.9" in finished.err
    assert "Sufficiency@5" in finished.out, "the tables are shown all the same"


def test_what_is_left_out_cannot_pass(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTRB_HOME", "/nowhere")
    finished = cli("eval", "sample", "public/bfcl", "--system", "bm25", "--fail-under", "Recall@100=0.01")
    assert finished.status == 1
    assert "public/bfcl was left out" in finished.err


def test_further_measures(cli: Command, tools: Path, queries: Path) -> None:
    finished = cli(
        "eval", "--tools", tools, "--queries", queries, "--measure", "MRR", "--measure", "Recall@3", "--k", 2
    )
    assert finished.out.splitlines()[2].split()[1:5] == ["Sufficiency@2", "nDCG@2", "MRR", "Recall@3"]


def test_run_files_scored_again_give_the_same_figures(cli: Command, tmp_path: Path) -> None:
    cli(
        *("eval", "sample", "--split", "validation", "--system", "hybrid", "--system", "bm25"),
        *("--measure", "MRR", "--runs", tmp_path / "runs", "--json", tmp_path / "r.json"),
    )
    for row in json.loads((tmp_path / "r.json").read_text())["rows"]:
        run = tmp_path / "runs" / f"sample-validation-{row['system']}.run"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "eval",
                tmp_path / "runs" / "sample-validation.qrels",
                run,
                *row["measures"],
                "--json",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        again = json.loads(done.stdout)["means"]
        assert {name: round(value, 4) for name, value in again.items()} == {
            name: estimate["mean"] for name, estimate in row["measures"].items()
        }


def test_a_dataset_that_is_absent_is_left_out_with_the_reason(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTRB_HOME", "/nowhere")
    finished = cli("eval", "sample", "public/bfcl", "--split", "validation", "--system", "bm25")
    assert finished.status == 0
    assert "left out public/bfcl:" in finished.err
    assert "$MTRB_HOME/../../bfcl/tools.jsonl (or tools.jsonl.gz) does not exist" in finished.err


def test_golden_tools_by_a_wrong_id_get_a_hint(cli: Command, tools: Path, tmp_path: Path) -> None:
    queries = write_lines(tmp_path / "q.jsonl", [{"query": "x", "tools": ["get_weather"]}])
    finished = cli("eval", "--tools", tools, "--queries", queries)
    assert "did you mean 'own/get_weather'?" in refusal(finished)


def test_an_id_of_zero_is_an_id(cli: Command, tools: Path, tmp_path: Path) -> None:
    rows = [
        {"id": 0, "query": "x", "tools": ["own/get_weather"]},
        {"id": "q1", "query": "y", "tools": ["own/get_weather"]},
    ]
    queries = write_lines(tmp_path / "q.jsonl", rows)
    out = tmp_path / "out.json"
    assert (
        cli("eval", "--tools", tools, "--queries", queries, "--system", "bm25", "--json", out, "--per-query").status
        == 0
    )
    assert list(json.loads(out.read_text())["rows"][0]["per_query"]) == ["0", "q1"]


def test_a_report_may_go_into_a_new_folder(cli: Command, tools: Path, tmp_path: Path) -> None:
    assert cli("index", tools, "--out", tmp_path / "i", "--report", tmp_path / "new" / "twins.json").status == 0
    assert json.loads((tmp_path / "new" / "twins.json").read_text())["exact"] == []


def test_version_and_help(cli: Command) -> None:
    assert "Commands:\n  calibrate " in cli().out
    assert cli("--version").out == f"qta, version {package.__version__}\n"
    for command in ("index", "retrieve", "rewrite", "eval", "train"):
        assert cli(command, "--help").out.startswith(f"Usage: qta {command}")


def test_serve_shows_the_help_of_the_service(qta: Command) -> None:
    assert "--workers" in qta("serve", "--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["index"], "Missing argument 'TOOLS...'"),
        (["index", "sample:"], "Missing option '--out'"),
        (["index", "no-such-file.json", "--out", "{tmp}/i"], "no-such-file.json: no such file"),
        (["index", "azure:", "--out", "{tmp}/i"], "azure:"),
        (["index", "sample:", "--format", "xml", "--out", "{tmp}/i"], "'xml' is not one of"),
        (["index", "sample:", "--out", "{tmp}/file"], "is a file"),
        (["retrieve", "x", "--index", "{tmp}/nothing"], "no index; make one with `qta index"),
        (["index", "{tmp}/file", "--out", "{tmp}/i", "--report", "{tmp}/file"], "is one of the catalogues"),
        (["retrieve", "a\udcff", "--index", "{tmp}"], "not valid UTF-8"),
        (["eval", "sample", "--per-query"], "give --json FILE too"),
        (["eval", "sample", "--measure", "Beauty@5"], "Beauty"),
        (["eval", "mtrb/restbench", "--split", "validation"], "has no split 'validation'"),
        (["retrieve", " ", "--index", "{tmp}"], "the request is empty"),
        (["retrieve", "x", "--index", "{tmp}", "-k", "0"], "neither 1 to 100 nor 'auto'"),
        (["retrieve", "x", "--index", "{tmp}", "-k", "many"], "neither 1 to 100 nor 'auto'"),
        (["eval"], "name datasets"),
        (["eval", "mtrb/nothing"], "unknown dataset 'mtrb/nothing'; known: mtrb/restbench"),
        (["eval", "sample", "--split", "exam"], "sample has no split 'exam'"),
        (["eval", "sample", "--system", "magic"], "unknown system 'magic'; known: random"),
        (["eval", "sample", "--system", "hybrid:lots"], "the weight must be a number"),
        (["eval", "sample", "--baseline", "minilm"], "the baseline 'minilm' is not among the systems"),
        (["eval", "sample", "--fail-under", "Sufficiency@5"], "expected e.g. Sufficiency@5=0.8"),
        (["eval", "sample", "--fail-under", "Sufficiency@5=80"], "between 0 and 1"),
        (["eval", "sample", "--fail-under", "Beauty@5=0.8"], "Beauty"),
        (["eval", "sample", "--k", "0"], "0 is not in the range"),
        (["eval", "sample", "--plot", "{tmp}/p.xyz"], "expected a file that ends in .png, .svg or .pdf"),
        (["eval", "--tools", "sample:", "--queries", "{tmp}/surrogate.jsonl"], "half of a surrogate pair"),
        (["rewrite", " ", "--index", "{tmp}"], "the request is empty"),
        (["calibrate", "--index", "{tmp}", "--queries", "q", "--coverage", "nan"], "nan is no finite number"),
        (["sync", "x", "--index", "{tmp}", "--timeout", "inf"], "inf is no finite number"),
        (["train", "dpo", "sample", "--out", "{tmp}/r", "--seed", "-1"], "-1 is not in the range"),
        (["rewrite", "x", "--index", "{tmp}/nothing"], "no index; make one with `qta index"),
        (["train", "dpo", "--out", "{tmp}/r"], "name a dataset"),
        (["train", "dpo", "mtrb/nothing", "--out", "{tmp}/r"], "unknown dataset 'mtrb/nothing'"),
        (["train", "restore", "{tmp}"], "no rewriter; make one with `qta train dpo"),
        (["eval", "--tools", "{tmp}/file"], "--tools and --queries go together"),
        (["eval", "sample", "--tools", "{tmp}/file", "--queries", "{tmp}/file"], "name datasets"),
        (["eval", "--tools", "sample:", "--queries", "{tmp}/file"], "file"),
        (["eval", "--tools", "sample:", "--queries", "{tmp}/none.jsonl"], "none.jsonl"),
    ],
)
def test_every_refusal_is_short_and_says_what_is_wrong(
    arguments: list[str], message: str, cli: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a record\n")
    (tmp_path / "surrogate.jsonl").write_text('{"query": "cancel \\ud83d it", "tools": ["a"]}\n')
    assert message in refusal(cli(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments)))
