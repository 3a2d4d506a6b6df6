"""A disk that is full and a database that is locked: a write is refused, said, and nothing else changes."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from mtrb.types import Tool, Toolset
from qta import changes
from qta.encoder import Encoder
from qta.index import build_index
from service import Settings, create_app
from service.auth import scope
from service.respond import engine, json_response
from tests.conftest import ROOT

ASK = {"query": "thing number 7", "k": 5}


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    tools = [Tool(f"s/t{n}", f"thing_{n}", f"Thing number {n}.", {}) for n in range(40)]
    build_index(Toolset(tools), tmp_path / "index", encoder)
    return tmp_path / "index"


def writing_app(folder: Path) -> Any:
    """Return an application with a route that writes a tool."""
    app = create_app(Settings(index=folder))

    @app.put("/written/<name>")
    @scope("write")
    def written(name: str) -> Response:
        return json_response(vars(engine().catalogue.put([Tool(f"new/{name}", name, f"Feed the {name}.", {})])))

    return app


def test_a_locked_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_WAIT", 0.3)
    client = writing_app(folder).test_client()
    locking = sqlite3.connect(folder / changes.FILE, isolation_level=None)
    locking.execute("BEGIN EXCLUSIVE")
    refused = client.put("/written/tiger")
    assert refused.status_code == 503
    assert "nothing was changed, try again" in refused.get_json()["detail"]
    assert refused.headers["Retry-After"]
    answer = client.post("/retrieve", json={"query": "new/tiger"}).get_json()
    assert len(answer["tools"]) == 5
    assert "new/tiger" not in [one["tool_id"] for one in answer["tools"]]
    locking.execute("ROLLBACK")
    locking.close()
    assert client.put("/written/tiger").get_json()["added"] == 1
    assert client.post("/retrieve", json={"query": "new/tiger"}).get_json()["tools"][0]["tool_id"] == "new/tiger"


_FULL_DISK = """
import json, shutil, sys
from pathlib import Path
from tests.service.test_storage import ASK, writing_app
from qta.encoder import Encoder
from qta.keys import KeyStore
from qta.live import LiveCatalogue
disk = Path(sys.argv[1])
client = writing_app(disk / "index").test_client()
written, refused = 0, None
while refused is None and written < 500:
    reply = client.put(f"/written/tiger{written}")
    refused = reply.get_json() if reply.status_code != 200 else None
    written += refused is None
try:
    with (disk / "filler").open("wb") as filler:
        while filler.write(b"x" * 4096): filler.flush()
except OSError: pass
try: KeyStore(disk / "index").create("one", "admin"); key = "created"
except Exception as error: key = f"{type(error).__name__} {error}"
answer = client.post("/retrieve", json=ASK)
kept = LiveCatalogue(disk / "index", Encoder()).now
found = [kept.position(f"new/tiger{n}") is not None for n in range(written + 1)]
print(json.dumps({"written": written, "refused": refused, "key": key, "answer": answer.status_code, "found": found}))
"""


def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) + 400_000
    mount = f"mount -t tmpfs -o size={size} none {disk}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    script = tmp_path / "full.py"
    script.write_text(_FULL_DISK)
    done = subprocess.run(
        [
            "unshare",
            "-Urm",
            "sh",
            "-c",
            f"{mount} && cp -r {folder} {disk}/index && exec {sys.executable} {script} {disk}",
        ],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["written"] >= 1
    assert told["refused"]["status"] == 507
    assert "full" in told["refused"]["detail"]
    assert "nothing was changed" in told["refused"]["detail"]
    assert told["key"].startswith("ArtefactError")
    assert "No space left on device" in told["key"]
    assert told["answer"] == 200
    assert told["found"] == [True] * told["written"] + [False], (
        "what was acknowledged is there, what was refused is not"
    )
