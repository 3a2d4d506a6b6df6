"""A real browser on the page at `/`, over a catalogue of its own with hostile tools in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

# Taken out of the environment at once: to the servers that tests start, it would be an unknown setting.
REQUIRED = os.environ.pop("QTA_BROWSER_REQUIRED", "") == "1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'><b>zebra crossing</b>"

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def own(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the sample with two tools whose texts are HTML, and one whose words have no end."""
    folder = shutil.copytree(sample_folder, tmp_path_factory.mktemp("page") / "index")
    schema = {"type": "object", "properties": {HOSTILE: {"type": "string", "description": HOSTILE}}}
    tools = [
        {"id": "zoo/hostile", "name": HOSTILE, "description": HOSTILE, "parameters": schema},
        {"id": "zoo/" + "unbroken" * 30, "name": "unbroken" * 30, "description": "zebra crossing" + "x" * 400},
    ]
    with serving(Path(folder), "--workers", "1") as running:
        assert running.ask("/tools", {"tools": tools}, "PUT").json["added"] == 2
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        message = f"needs a browser: none of {', '.join(BROWSERS)} is installed"
        pytest.fail(f"{message}, and QTA_BROWSER_REQUIRED=1") if REQUIRED else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: "Browser", own: Server) -> Iterator[Open]:
    """Open the page; at the end, nothing may have been fetched elsewhere, refused by the policy or thrown."""
    wrong: list[str] = []
    contexts = []

    def said(message: "ConsoleMessage") -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    def open_(view: str = "", server: Server = own, **options: Any) -> "Page":
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda sent: None if sent.url.startswith((server.url, "data:")) else wrong.append(sent.url))
        page.goto(server.url + "/" + view)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def ask(page: "Page", query: str) -> None:
    """Type a request where the keyboard is, and wait for its tools."""
    page.keyboard.type(query)
    page.keyboard.press("Enter")
    page.locator("#answer[aria-busy='false'] article").first.wait_for()
