"""Tools that a program holds in memory, indexed for as long as they are used."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mtrb.errors import InputError
from mtrb.formats import parse_records
from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.engine import Engine
from qta.index import build_index
from qta.rewriting import RewriterChoice


def open_records(records: Iterable[Mapping[str, Any]], rewriter: RewriterChoice | None = None) -> Engine:
    """Index records and open them; the index is in a temporary folder that goes with the engine.

    Raises:
        InputError: there are none, a record holds no tool, or two have one id.
        ArtefactError: the rewriter is absent, damaged or does not fit.
    """
    toolset = Toolset(_tools(records))
    if not toolset:
        raise InputError("no tools: give at least one record")
    folder = Path(tempfile.mkdtemp(prefix="qta-"))
    try:
        build_index(toolset, folder, Encoder())
        engine = Engine.open(folder, rewriter)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine


def _tools(records: Iterable[Mapping[str, Any]]) -> Iterator[Tool]:
    for place, tool in parse_records(list(records), ""):
        if isinstance(tool, Exception):
            raise InputError(f"tools[{place}]: {tool}")
        yield tool
