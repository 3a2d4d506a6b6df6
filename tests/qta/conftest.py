"""What tests of the command line share."""

from pathlib import Path

import pytest

from tests.own import QUERIES, TOOLS, write_lines


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "own.jsonl", TOOLS)


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "queries.jsonl", QUERIES)
