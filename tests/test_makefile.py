"""The Makefile: folder names do not hide targets, help is complete, lock files agree with what is declared."""

import re
import subprocess

from packaging.requirements import Requirement

from mtrb.formats.catalogues import PINNED
from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_every_target_is_phony_and_in_the_help() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS
    assert {line.split()[0] for line in make("help").splitlines() if line.startswith("  ")} == TARGETS


def test_an_interpreter_that_is_set_up_is_used_and_nothing_installed() -> None:
    for target in TARGETS - {"help", "clean"}:
        commands = make("-n", "-B", target, "PYTHON=/some/python")
        assert "/some/python -m" in commands or target == "install"
        assert "pip install" not in commands
        assert "venv" not in commands


def test_serving_again_keeps_what_was_put_unless_other_tools_are_named() -> None:
    given = ("-n", "serve", "PYTHON=/some/python", "INDEX=own")
    assert "qta index sample: --out own --keep\n" in make(*given)
    assert "qta index own.json --out own\n" in make(*given, "TOOLS=own.json")


def test_serving_installs_no_torch_and_the_rest_the_pinned_one() -> None:
    serving, full = ((ROOT / name).read_text() for name in ("requirements.lock", "requirements-full.lock"))
    assert not re.search(r"^(torch|transformers|sentence-transformers|scipy)==", serving, re.MULTILINE)
    assert re.search(r"^torch==2\.13\.0$", full, re.MULTILINE)


def test_both_locks_agree_and_hold_what_is_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    serving, full = (locked(name) for name in ("requirements.lock", "requirements-full.lock"))
    assert serving.items() <= full.items()
    for line in project["dependencies"]:
        assert Requirement(line).specifier.contains(serving[normal(Requirement(line).name)])
    for line in (line for extra in project["optional-dependencies"].values() for line in extra):
        assert Requirement(line).specifier.contains(full[normal(Requirement(line).name)])


def test_the_catalogues_named_in_messages_are_the_pinned_ones() -> None:
    full = locked("requirements-full.lock")
    assert {name: full[name] for name in PINNED} == PINNED


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines if re.match(r"[A-Za-z]", line)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
