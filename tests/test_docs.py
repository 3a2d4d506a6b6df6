"""The pages on the doors, executed: every code block runs and gives what it says."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from qta.location import TOKEN
from qta.remarks import REASONS
from service.config import Settings
from service.openapi import openapi
from service.routes import register_routes
from service.schemas import FeedbackRequest, RetrieveRequest
from tests.conftest import ROOT, Server, serving

PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("api", "mcp", "python")}
CHANGING = {"timing_ms", "request_id"}


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Path(shutil.copytree(sample_folder, tmp_path_factory.mktemp("docs") / "index"))
    with serving(folder, "--workers", "1") as running:
        yield running


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(sample_folder, tmp_path / "my-index")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def holds(answer: Any, shown: Any) -> bool:
    """Tell whether an answer has what is shown of it; scores to two places, processors add in different orders."""
    if isinstance(shown, dict):
        return all(name in answer and (name in CHANGING or holds(answer[name], shown[name])) for name in shown)
    if isinstance(shown, list):
        return len(answer) == len(shown) and all(map(holds, answer, shown))
    return abs(answer - shown) < 0.02 if isinstance(shown, float) else bool(answer == shown)


def test_every_command_of_the_api_page_answers_what_is_shown(server: Server, tmp_path: Path) -> None:
    found = blocks("api")
    assert [kind for kind, _ in found] == ["sh", *["sh", "json"] * 5]
    run(["bash", "-euc", found[0][1].replace("http://127.0.0.1:8000", server.url)], tmp_path)
    for (_, command), (_, shown) in zip(found[1::2], found[2::2], strict=True):
        answer = json.loads(run(["bash", "-euc", command.replace("http://127.0.0.1:8000", server.url)], tmp_path))
        assert holds(answer, json.loads(shown)), answer


def test_the_api_page_has_every_route_and_every_field() -> None:
    app = Flask("routes", static_folder=None)
    register_routes(app)
    paths = openapi(app)["paths"]
    for path, operations in paths.items():
        for method in operations:
            assert f"| `{method.upper()} {path}` |" in PAGES["api"]
    for field in (*RetrieveRequest.model_fields, *FeedbackRequest.model_fields):
        assert f"| `{field}` |" in PAGES["api"]
    assert all(f"`{reason}`" in PAGES["api"] for reason in REASONS)


def test_the_operations_page_has_every_setting() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for name in (*(f"QTA_{field.upper()}" for field in Settings.model_fields), TOKEN):
        assert re.search(rf"^\|.*`{name}`.*\|$", page, re.MULTILINE), name


@pytest.mark.parametrize("number", [0, 1])
def test_the_client_configurations_lead_to_the_tools(server: Server, folder: Path, number: int) -> None:
    entry = json.loads(blocks("mcp")[number][1])["mcpServers"]["tools"]
    if "url" in entry:
        target: Any = entry["url"].replace("http://127.0.0.1:8000", server.url)
    else:
        assert entry["command"] == "qta"
        arguments = ["-m", "qta", *entry["args"]]
        environment = {"PYTHONPATH": str(ROOT)}
        target = StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=folder)

    async def names() -> list[str]:
        async with Client(target) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    assert asyncio.run(names()) == ["search_tools", "get_tool_details"]


def test_the_client_in_python_finds_a_tool(server: Server, folder: Path) -> None:
    program = blocks("mcp")[2][1].replace("http://127.0.0.1:8000", server.url)
    assert run([sys.executable, "-c", program], folder).startswith("shop/request_refund - Ask for the money back")


def test_the_tool_errors_are_those_that_are_shown(server: Server) -> None:
    async def errors() -> list[str]:
        async with Client(server.url + "/mcp") as client:
            refused = [
                await client.call_tool("search_tools", {}),
                await client.call_tool("get_tool_details", {"ids": ["request_refund"]}),
            ]
            return [result.content[0].text for result in refused]

    assert asyncio.run(errors()) == blocks("mcp")[3][1].splitlines()


OUTPUTS = ["shop/request_refund Ask for the money back", "get_weather\n", "['shop/request_refund']\n"]


@pytest.mark.parametrize("number", range(len(OUTPUTS)))
def test_the_programs_of_the_python_page_run(folder: Path, number: int) -> None:
    found = blocks("python")
    assert len(found) == len(OUTPUTS)
    assert run([sys.executable, "-c", found[number][1]], folder).startswith(OUTPUTS[number])
