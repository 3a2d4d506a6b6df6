"""The README, executed: every code block runs and gives what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.config import Settings
from service.server import listen
from tests.conftest import ROOT, Server

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# Here everything is installed already, so that nothing is downloaded, and the tests do not start themselves.
QUICK = {
    "make test": 'make test PYTHON={python} PYTEST_ARGS="tests/eval/test_measures.py -p no:cacheprovider"',
    "make eval": 'make eval PYTHON={python} RESULTS={tmp} MTRB=sample PUBLIC=sample SYSTEMS="--system minilm" TAUGHT= ALIGNED= BASELINE=',
}


def block(start: str) -> str:
    [found] = [text for _, text in BLOCKS if text.startswith(start)]
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the first block on a free port."""
    folder = tmp_path_factory.mktemp("readme")
    command = block("make serve").strip()
    process = subprocess.Popen(
        [*command.split(), f"PYTHON={sys.executable}", f"INDEX={folder / 'index'}", "PORT=0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    url = next(line for line in lines if line.startswith("serving 258 tools on ")).split(" on ")[1].split(";")[0]
    yield Server(url, process)
    process.terminate()
    process.communicate(timeout=60)


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    script = bin_folder / "qta"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m qta "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euc", command], capture_output=True, text=True, cwd=folder, env=environment, check=True, timeout=300
    )


def test_every_block_is_covered_here() -> None:
    starts = ["make serve", "curl -s", "{", "make test", "make eval", "qta index", "qta eval", "qta train examples"]
    assert [next((start for start in starts if text.startswith(start)), text) for _, text in BLOCKS] == starts


def test_the_curl_gives_the_answer_that_is_shown(served: Server, tmp_path: Path) -> None:
    command = block("curl").replace("http://127.0.0.1:8000", served.url)
    answer, shown = json.loads(run(command, tmp_path).stdout), json.loads(block("{"))
    for either in (answer, shown):
        assert either.pop("timing_ms")["total"] > 0
        assert either["index"].pop("created")
        assert either.pop("request_id")
        either["tools"][0]["score"] = round(either["tools"][0]["score"], 2)  # processors add in different orders
    assert answer == shown


@pytest.mark.parametrize("command", QUICK)
def test_the_make_targets(command: str, tmp_path: Path) -> None:
    assert block(command).strip() == command
    shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(".*", "index", "rewriters"))
    done = run(QUICK[command].format(python=sys.executable, tmp=tmp_path), tmp_path / "clone")
    assert "passed" in done.stdout or "minilm" in done.stdout


def test_the_commands_for_ones_own_tools(tmp_path: Path) -> None:
    write_own_files(tmp_path)
    index, retrieve, serve = block("qta index").splitlines()
    assert run(index, tmp_path).stdout.startswith("indexed ")
    assert json.loads((tmp_path / "twins.json").read_text()).keys() >= {"exact", "near"}
    assert "cancel_order" in run(retrieve, tmp_path).stdout.splitlines()[0]
    assert serve.endswith(" --port 8001")
    check_serves(serve.removesuffix(" --port 8001"), tmp_path)


def check_serves(command: str, folder: Path) -> None:
    with listen(Settings(port=0)) as free:
        port = str(free.getsockname()[1])
    started = [sys.executable, "-m", *command.split(), "--port", port]
    process = subprocess.Popen(started, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert answered(port)
    finally:
        process.terminate()
        process.wait(60)


def answered(port: str) -> bool:
    for _ in range(200):
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").status == 200)
        except OSError:
            time.sleep(0.1)
    return False


def test_the_commands_that_teach(tmp_path: Path) -> None:
    write_own_files(tmp_path)
    (tmp_path / "requests.jsonl").write_text('{"query": "call it off", "tools": ["shop/cancel_order"]}\n')
    run(block("qta index").splitlines()[0], tmp_path)
    train, serve = block("qta train examples").splitlines()
    assert "nearer to the requests they are used for: 1" in run(train, tmp_path).stdout
    check_serves(serve, tmp_path)


def test_the_command_for_ones_own_requests(tmp_path: Path) -> None:
    write_own_files(tmp_path)
    (tmp_path / "requests.jsonl").write_text('{"query": "cancel my order", "tools": ["shop/cancel_order"]}\n')
    assert "clauses" in run(block("qta eval"), tmp_path).stdout


def write_own_files(folder: Path) -> None:
    operation = {"operationId": "cancel_order", "summary": "Cancel an order.", "responses": {}}
    api = {"openapi": "3.1.0", "info": {"title": "shop", "version": "1"}, "paths": {"/orders": {"delete": operation}}}
    (folder / "openapi.yaml").write_text(json.dumps(api))
    mail = {"name": "send_mail", "description": "Tell a customer something.", "inputSchema": {"type": "object"}}
    (folder / "mcp-tools.json").write_text(json.dumps({"tools": [mail]}))


def test_the_tables_hold_the_figures_of_the_results() -> None:
    rows: dict[str, Any] = {}
    for row in json.loads((ROOT / "results" / "eval.json").read_text())["rows"]:
        shares = [100 * row["measures"][f"Sufficiency@{k}"]["mean"] for k in (5, 10)]
        rows.setdefault(row["system"], {})[row["dataset"]] = "{:.2f} / {:.2f}".format(*shares)
    datasets = ["mtrb/restbench", "mtrb/metatool", "mtrb/toolbench-standin", "sample"]
    for system in (
        "bm25-paper",
        "minilm",
        "bm25",
        "dense",
        "hybrid",
        "completed",
        "clauses",
        "rewritten",
        "usage-prior",
        "qta-no-rewrite",
        "qta",
    ):
        [line] = [line for line in README.splitlines() if line.startswith(f"| `{system}`")]
        shown = [cell.split("[")[0].strip() for cell in line.split("|")[2:-1]]
        assert shown == [rows[system][dataset] for dataset in datasets]


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
