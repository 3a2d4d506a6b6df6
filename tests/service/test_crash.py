"""Kills of the whole service while tools are put, changed and removed: what was acknowledged stays, whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qta.encoder import Encoder
from qta.live import LiveCatalogue
from tests.conftest import ROOT, Server

KILLS = 30
UPSERTS = 1_000

Tools = dict[str, str]
"""Tool id -> description."""


class Service:
    """The real command in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "qta", "serve", "--index", str(folder), "--port", "0", "--workers", "1"]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split(" on ")[1].split(";")[0]

    def tools(self) -> Tools:
        """Return what `GET /tools` lists of the tools that this test puts."""
        server, found, after = Server(self.url, self._process), {}, ""
        while after is not None:
            page = server.ask(f"/tools?prefix=crash/&limit=1000&after={after}").json
            found |= {tool["id"]: tool["description"] for tool in page["tools"]}
            after = page["next"]
        return found

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


class Client(threading.Thread):
    """Change tools in small requests, one after the other, until the service is gone."""

    def __init__(self, url: str, tools: Tools, first: int, rng: np.random.Generator) -> None:
        super().__init__(daemon=True)
        self.acknowledged = dict(tools)
        self.under_way: Tools | None = None
        self.upserts = 0
        self.number = first
        self._address = url.removeprefix("http://")
        self._rng = rng

    def run(self) -> None:
        connection = HTTPConnection(self._address, timeout=30)
        try:
            while True:
                self._change(connection)
        except (OSError, HTTPException):
            connection.close()

    def _change(self, connection: HTTPConnection) -> None:
        """Put a new pair of tools together with a change of an old pair; sometimes remove a pair."""
        n, after = self.number, dict(self.acknowledged)
        old = int(self._rng.integers(max(n, 1)))
        if n % 10 == 9:
            ids = [tool_id for tool_id in (f"crash/a{old}", f"crash/b{old}") if tool_id in after]
            after = {tool_id: text for tool_id, text in after.items() if tool_id not in ids}
            method, body = "DELETE", {"ids": ids or ["crash/none"]}
        else:
            put = {f"crash/{kind}{m}": f"Pair {m} as of {n}." for m in (n, old) for kind in "ab"}
            after |= put
            records = [{"id": tool_id, "name": tool_id[6:], "description": text} for tool_id, text in put.items()]
            method, body = "PUT", {"tools": records}
            self.upserts += len(put)
        self.under_way = after
        self.number += 1
        connection.request(method, "/tools", json.dumps(body), {"Content-Type": "application/json"})
        answer: Any = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        self.acknowledged, self.under_way = after, None


def test_thirty_kills_lose_no_acknowledged_change_and_leave_no_half_one(
    sample_folder: Path, tmp_path: Path, encoder: Encoder
) -> None:
    folder = Path(shutil.copytree(sample_folder, tmp_path / "index"))
    rng = np.random.default_rng(4)
    tools: Tools = {}
    upserts = number = interrupted = 0
    for kill in range(1, KILLS + 1):
        service = Service(folder)
        client = Client(service.url, tools, number, rng)
        client.start()
        while upserts + client.upserts < UPSERTS * kill / KILLS and client.is_alive():
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)  # into the middle of a request, wherever that is
        service.kill()
        client.join(30)
        upserts += client.upserts
        number = client.number
        found = _stored(folder, encoder) if kill % 10 else _listed(folder)
        possible = [client.acknowledged, *([] if client.under_way is None else [client.under_way])]
        interrupted += client.under_way is not None
        assert found in possible, f"kill {kill}: {_difference(found, client.acknowledged)}"
        tools = found
    assert upserts >= UPSERTS
    assert interrupted > KILLS / 2, "the kills are to hit requests under way"
    assert len(tools) > 300


def test_workers_of_a_killed_service_let_the_port_go(sample_folder: Path) -> None:
    service = Service(sample_folder)
    server = Server(service.url, service._process)
    assert server.ask("/readyz").status == 200
    service._process.kill()  # the service alone, not its workers
    service._process.wait()
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            server.ask("/healthz")
            time.sleep(0.2)
        pytest.fail("a worker goes on without its service")
    except OSError:
        pass  # nobody answers any more
    finally:
        with suppress(ProcessLookupError):
            os.killpg(service._process.pid, signal.SIGKILL)
        service._process.communicate()


def _stored(folder: Path, encoder: Encoder) -> Tools:
    """Open the folder as a service does that starts."""
    now = LiveCatalogue(folder, encoder).now
    return {tool_id: now.tool(tool_id).description for tool_id in now.living if tool_id.startswith("crash/")}


def _listed(folder: Path) -> Tools:
    """Start a service and ask it."""
    service = Service(folder)
    try:
        return service.tools()
    finally:
        service.kill()


def _difference(found: Tools, expected: Tools) -> dict[str, Any]:
    ids = found.keys() | expected.keys()
    return {one: (expected.get(one), found.get(one)) for one in ids if expected.get(one) != found.get(one)}
