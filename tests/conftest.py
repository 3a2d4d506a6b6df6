"""Shared parts: the real encoder, an index of the bundled sample, a real server; benchmark data where there is any."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pytest

from mtrb.benchmarks import load
from mtrb.formats import read_tools
from mtrb.types import Benchmark, Toolset
from qta.encoder import Encoder
from qta.index import ToolIndex, build_index, load_index

ROOT = Path(__file__).parents[1]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests on benchmark data where there is none, unless MTRB_REQUIRED says that this is a failure."""
    if item.get_closest_marker("benchmark") and not os.environ.get("MTRB_HOME"):
        if os.environ.get("MTRB_REQUIRED"):
            pytest.fail("MTRB_REQUIRED is set, but MTRB_HOME is not")
        pytest.skip("needs benchmark data: set MTRB_HOME")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("QTA_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture(scope="session")
def sample() -> Benchmark:
    return load("sample", "validation")


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "index"
    build_index(Toolset(read_tools(["sample:"])), folder, encoder)
    return folder


@pytest.fixture
def sample_index(sample_folder: Path, encoder: Encoder) -> ToolIndex:
    return load_index(sample_folder, encoder)


class Finished(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def qta(tmp_path: Path) -> Callable[..., Finished]:
    """Run the real command line in an empty folder."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "qta", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            timeout=300,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A service that runs in processes of its own."""

    def __init__(self, url: str, process: "subprocess.Popen[str]", log: TextIO | None = None) -> None:
        self.url = url
        self.process = process
        self._log = log

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return what the workers have logged so far."""
        assert self._log is not None
        self._log.seek(0)
        return [json.loads(line) for line in self._log if line.startswith("{")]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def ask(
        self,
        path: str,
        body: object = None,
        method: str | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(headers or {}), method=method)
        if data is not None:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """Serve an index with the real command on a free port, until the block ends."""
    log = tempfile.TemporaryFile("a+")  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        [sys.executable, "-m", "qta", "serve", "--index", str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(60)
            log.seek(0)
            pytest.fail(f"the server did not start: {log.read()}")
        yield Server(line.split(" on ")[1].split(";")[0], process, log)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        log.close()


@pytest.fixture(scope="module")
def server(sample_folder: Path) -> Iterator[Server]:
    with serving(sample_folder) as running:
        yield running


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run the command line in this process, which is faster than `qta`."""
    from qta.cli import main

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["qta", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Finished(ended.value.code, out, err)  # type: ignore[arg-type]

    return run
