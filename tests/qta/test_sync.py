"""`qta sync` against real servers: MCP over stdio and HTTP, OpenAPI over HTTP; new, changed and gone tools."""

import functools
import http.server
import json
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qta.encoder import Encoder
from qta.live import LiveCatalogue
from tests.conftest import ROOT, Finished

SERVER = ROOT / "tests" / "mcp_server.py"
OLD_SERVER = ROOT / "tests" / "old_mcp_server.py"


def tool(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object", "properties": {}}}


FEED, CLOSE, COUNT = (
    tool("feed", "Feed the animals."),
    tool("close", "Shut the gates."),
    tool("count", "Count visitors."),
)


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "index"))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    save(path, FEED, CLOSE, COUNT)
    return path


def save(path: Path, *entries: Any) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(entries), "utf-8")
    partial.replace(path)


def stdio(path: Path, how: str = "stdio", server: Path = SERVER) -> str:
    return "stdio:" + shlex.join([sys.executable, str(server), str(path), how])


@contextmanager
def over_http(path: Path, port: int = 0) -> Iterator[str]:
    """Run the MCP server over HTTP until the block ends."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), str(path), str(port)])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait(10)


def ids(folder: Path, encoder: Encoder, prefix: str) -> dict[str, str]:
    now = LiveCatalogue(folder, encoder).now
    return {one: now.tool(one).description for one in now.living if one.startswith(prefix)}


def check_in_step(source: str, tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]) -> None:
    """Sync three times: all is new; one changed, one gone, one new; nothing changed."""
    before = ids(folder, encoder, "shop/")
    assert cli("sync", source, "--index", folder).out.splitlines() == [
        "added    the-zoo/feed",
        "added    the-zoo/close",
        "added    the-zoo/count",
        "the-zoo: 3 added, 0 changed, 0 removed, 0 unchanged",
    ]
    save(tools, tool("feed", "Delete all animals."), tool("open", "Open the gates."), COUNT)
    dry = cli("sync", source, "--index", folder, "--dry-run")
    assert dry.out.splitlines() == [
        "added    the-zoo/open",
        "changed  the-zoo/feed  (description)",
        "  - 'Feed the animals.'",
        "  + 'Delete all animals.'",
        "removed  the-zoo/close",
        "the-zoo: 1 added, 1 changed, 1 removed, 1 unchanged, nothing written",
    ]
    assert "the-zoo/close" in ids(folder, encoder, "the-zoo/")
    report = json.loads(cli("sync", source, "--index", folder, "--json").out)
    change = {"id": "the-zoo/feed", "fields": ["description"], "old": "Feed the animals.", "new": "Delete all animals."}
    assert report["added"] == ["the-zoo/open"]
    assert report["changed"] == [change]
    assert report["removed"] == ["the-zoo/close"]
    assert report["unchanged"] == 1
    assert ids(folder, encoder, "the-zoo/") == {
        "the-zoo/count": "Count visitors.",
        "the-zoo/feed": "Delete all animals.",
        "the-zoo/open": "Open the gates.",
    }
    assert cli("sync", source, "--index", folder).out == "the-zoo: 0 added, 0 changed, 0 removed, 3 unchanged\n"
    assert ids(folder, encoder, "shop/") == before


def test_a_server_over_stdio(tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]) -> None:
    check_in_step(stdio(tools), tools, folder, encoder, cli)


def test_a_server_over_http(tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]) -> None:
    with over_http(tools) as url:
        check_in_step(url, tools, folder, encoder, cli)


def test_a_command_behind_dashes_and_a_name(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    command = [sys.executable, OLD_SERVER, tools]
    done = cli("sync", "--index", folder, "--name", "mine", "--", *command)
    assert done.out.endswith("mine: 3 added, 0 changed, 0 removed, 0 unchanged\n")
    assert set(ids(folder, encoder, "mine/")) == {"mine/feed", "mine/close", "mine/count"}


OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Pet Store", "version": "1"},
    "paths": {
        "/pets": {"get": {"operationId": "listPets", "summary": "List pets."}},
        "/pets/{id}": {"delete": {"operationId": "deletePet", "summary": "Delete a pet."}},
    },
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder over HTTP."""
    root = tmp_path / "site"
    root.mkdir()
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
def test_an_openapi_address_or_file(
    name: str, site: tuple[Path, str], folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    import yaml

    root, url = site
    write = yaml.safe_dump if name.endswith("yaml") else json.dumps
    (root / name).write_text(write(OPENAPI), "utf-8")
    done = cli("sync", f"{url}/{name}", "--index", folder)
    assert done.out.splitlines()[-1] == "pet-store: 2 added, 0 changed, 0 removed, 0 unchanged"
    fewer = {**OPENAPI, "paths": {"/pets": {"get": {"operationId": "listPets", "summary": "List all pets."}}}}
    (root / name).write_text(write(fewer), "utf-8")
    refused = cli("sync", root / name, "--index", folder)
    assert refused.status == 2
    assert f"the tools of 'pet-store' came from {url}/{name}; 1 of them are not in {root / name}, and 1 " in refused.err
    assert set(ids(folder, encoder, "pet-store/")) == {"pet-store/listPets", "pet-store/deletePet"}
    report = json.loads(cli("sync", root / name, "--index", folder, "--json", "--moved").out)
    assert (report["added"], report["removed"], report["unchanged"]) == ([], ["pet-store/deletePet"], 0)
    assert [(change["old"], change["new"]) for change in report["changed"]] == [("List pets.", "List all pets.")]
    assert ids(folder, encoder, "pet-store/") == {"pet-store/listPets": "List all pets."}


def test_what_is_no_source_is_refused_and_changes_nothing(
    site: tuple[Path, str], tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    root, url = site
    (root / "page.html").write_text("<h1>Hello</h1>", "utf-8")
    (root / "other.json").write_text('{"hello": 1}', "utf-8")
    (root / "broken.json").write_text(json.dumps({**OPENAPI, "paths": {"/a": {"get": {"tags": 5}}}}), "utf-8")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/mcp"
        for arguments, message in [
            ([dead], "nobody answers there"),
            (["http://no.such.host.invalid/mcp"], "nobody answers there"),
            ([f"{url}/page.html"], "no MCP server answers there"),
            ([f"{url}/nothing"], "no MCP server answers there"),
            ([f"{url}/other.json"], "no MCP server answers there"),
            ([f"{url}/broken.json"], f"{url}/broken.json, operation GET /a: tags must be a list"),
            (["http://"], "cannot be read"),
            (["stdio:/no/such/program"], "no MCP server answers there: [Errno 2]"),
            (["stdio:false"], "no MCP server answers there: Connection closed"),
            (["stdio:"], "stdio: names no command"),
            (["stdio:sh 'x"], "no command: No closing quotation"),
            (["--timeout", "0.5", "--", "sleep", "20"], "sleep 20: no MCP server answers there"),
            (["nothing.yaml"], "nothing.yaml: no such file; expected an http(s) address"),
            ([tools], "no OpenAPI document"),
            ([stdio(tools, "endless")], "its list of tools does not end; nothing was changed"),
            ([stdio(tools), "--follow", "--dry-run"], "exclude each other"),
            ([f"{url}/page.html", "--header", "x"], "--header 'x': expected NAME:VALUE"),
            ([stdio(tools), "--name", "a/b"], "--name 'a/b': expected letters"),
        ]:
            done = cli("sync", "--index", folder, *arguments)
            assert done.status == 2, (arguments, done)
            assert message in done.err, arguments
            assert len(done.err.splitlines()) <= 3, done.err
    assert LiveCatalogue(folder, encoder).now.revision == 0


def test_a_list_that_is_empty_removes_nothing_unless_that_is_meant(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    cli("sync", stdio(tools), "--index", folder)
    save(tools)
    done = cli("sync", stdio(tools), "--index", folder)
    assert done.status == 2
    assert "lists no tools; the 3 that are here would be removed" in done.err
    assert len(ids(folder, encoder, "the-zoo/")) == 3
    assert cli("sync", stdio(tools), "--index", folder, "--allow-empty").status == 0
    assert ids(folder, encoder, "the-zoo/") == {}


def test_a_server_that_goes_away_in_the_middle_of_its_list_removes_nothing(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    cli("sync", stdio(tools), "--index", folder)
    before = ids(folder, encoder, "the-zoo/")
    save(tools, tool("feed", "Delete all animals."), CLOSE, COUNT)
    done = cli("sync", stdio(tools, "half"), "--index", folder)
    assert (done.status, done.out) == (2, "")
    assert "no MCP server answers there" in done.err
    assert ids(folder, encoder, "the-zoo/") == before
    assert len(before) == 3


def test_an_invalid_tool_is_named_and_left_out_when_asked(
    tools: Path, folder: Path, encoder: Encoder, cli: Callable[..., Finished]
) -> None:
    save(tools, FEED, {**CLOSE, "inputSchema": {"type": "object", "properties": {"a": {"type": "stirng"}}}}, FEED)
    done = cli("sync", stdio(tools), "--index", folder)
    assert done.status == 2
    assert "tool 'close': parameters are no valid JSON Schema" in done.err
    assert ids(folder, encoder, "the-zoo/") == {}
    done = cli("sync", stdio(tools), "--index", folder, "--skip-invalid")
    assert done.out.endswith("the-zoo: 1 added, 0 changed, 0 removed, 0 unchanged\n")
    assert "tool 'close': parameters" in done.err
    assert "tool 'feed': occurs twice" in done.err


def test_headers_reach_the_server(tmp_path: Path, folder: Path, cli: Callable[..., Finished]) -> None:
    class Guarded(Quiet):
        def do_GET(self) -> None:
            content = json.dumps(OPENAPI).encode() if self.headers.get("Authorization") == "Bearer s3cret" else b""
            self.send_response(200 if content else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/openapi.json"
        assert cli("sync", url, "--index", folder).status == 2
        done = cli("sync", url, "--index", folder, "--header", "Authorization: Bearer s3cret")
        server.shutdown()
        thread.join()
    assert done.out.endswith("pet-store: 2 added, 0 changed, 0 removed, 0 unchanged\n")
