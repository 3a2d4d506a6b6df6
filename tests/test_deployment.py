"""The deployment page, as far as it goes without a container: the wheel serves by itself, the health check tells."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
PACKAGES = ("mtrb", "eval", "qta", "service")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, with the setuptools that is here, and install it in a folder of its own."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    building = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    subprocess.run([*pip, *building], cwd=source, check=True)
    [wheel] = (source / "dist").glob("qta-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    return site


def test_the_wheel_serves_by_itself_and_the_health_check_tells(site: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site), "QTA_INDEX": str(tmp_path / "data" / "index")}
    command = [str(site / "bin" / "qta")]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=120
        )

    where = run(sys.executable, "-c", "import qta, service; print(qta.__file__, service.__file__)").stdout.split()
    assert all(name.startswith(str(site)) for name in where)
    assert not (site / "mtrb" / "written").exists()  # 15 MB to train on, which nobody needs to serve
    assert "indexed 258 tools" in run(*command, "index", "sample:", "--out", environment["QTA_INDEX"]).stdout
    serve = [*command, *json.loads(shown(r"^ *CMD (\[.*\])$"))[1:], "--port", "0", "--rewriter", "default"]
    process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" on ")[1].split(";")[0]
        program = json.loads(shown(r"^ *HEALTHCHECK .*CMD (\[.*\])$"))
        assert program[0] == "python"
        check = [sys.executable, *(part.replace("http://127.0.0.1:8000", url) for part in program[1:])]
        assert run(*check).returncode == 0
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert run(*check).returncode == 1


def shown(pattern: str) -> str:
    [found] = re.findall(pattern, PAGE, re.MULTILINE)
    return str(found)


def test_what_the_container_file_copies_is_there() -> None:
    copied = shown(r"^ *COPY (.*) /tmp/$").split()
    assert copied == ["requirements.lock", "dist/qta-*.whl"]
    assert (ROOT / copied[0]).exists()
    assert "pip wheel --no-deps --wheel-dir dist ." in PAGE
