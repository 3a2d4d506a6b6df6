"""`qta sync --follow` beside a running service: announced changes are followed, and a server that went away."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, serving
from tests.qta.test_sync import COUNT, FEED, OLD_SERVER, folder, over_http, save, stdio, tool, tools

__all__ = ["folder", "tools"]  # fixtures


@contextmanager
def following(source: list[str], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "qta", "sync", "--index", str(folder), "--follow", "--json", *source]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder.parent,
        # Where the tests run in the background, interruptions are ignored, and what they start would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (this process has no threads)
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()  # where it does not stop, it must not outlive the test
            process.communicate()
        assert process.returncode == 130


def next_report(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


@pytest.mark.parametrize("how", ["stdio", "http", "old"])
def test_a_change_that_is_announced_is_followed(how: str, tools: Path, folder: Path) -> None:
    with over_http(tools) as url, serving(folder, "--workers", "1") as service:
        source = {"stdio": stdio(tools), "http": url, "old": stdio(tools, "", OLD_SERVER)}[how]
        with following([source, "--name", "zoo"], folder) as process:
            assert len(next_report(process)["added"]) == 3
            save(tools, tool("feed", "Stop the ski lift."), COUNT)
            start = time.monotonic()
            report = next_report(process)
            assert time.monotonic() - start < 10, "announced, not found by asking now and then"
            assert [change["new"] for change in report["changed"]] == ["Stop the ski lift."]
            assert report["removed"] == ["zoo/close"]
            answer = service.ask("/retrieve", {"query": "halt the ski lift", "k": 1}).json
            assert answer["tools"][0]["tool_id"] == "zoo/feed"
            save(tools)
            assert process.stderr is not None
            assert "zoo lists no tools; the 2 that are here would be removed" in process.stderr.readline()
            save(tools, FEED)
            assert next_report(process)["removed"] == ["zoo/count"]


def test_a_server_that_comes_back_is_followed_on(tools: Path, folder: Path) -> None:
    with ExitStack() as first:
        url = first.enter_context(over_http(tools))
        with following([url, "--name", "zoo"], folder) as process:
            assert len(next_report(process)["added"]) == 3
            first.close()  # the server is gone
            assert process.stderr is not None
            assert "no MCP server answers there" in process.stderr.readline()
            save(tools, FEED)
            with over_http(tools, int(url.split(":")[2].split("/")[0])):
                assert next_report(process)["removed"] == ["zoo/close", "zoo/count"]
