"""Tools on disk: one JSON line each, found by position without reading the others."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import orjson

from mtrb.types import Tool

_TOOLS, _OFFSETS, _NAMES = FILES = ("tools.jsonl", "offsets.npy", "names.json")


class ToolStore(Sequence[Tool]):
    """Read tools from a memory-mapped file; only ids and names are held in memory."""

    def __init__(self, folder: Path) -> None:
        """Open the store that `write_store` made."""
        with (folder / _TOOLS).open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offsets = np.load(folder / _OFFSETS)
        names = orjson.loads((folder / _NAMES).read_bytes())
        self.ids: list[str] = names["ids"]
        self.names: list[str] = names["names"]

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, position: int) -> Tool: ...
    @overload
    def __getitem__(self, position: slice) -> list[Tool]: ...
    def __getitem__(self, position: int | slice) -> Tool | list[Tool]:
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        return Tool.from_json(orjson.loads(self._lines[self._offsets[position] : self._offsets[position + 1]]))


def write_store(folder: Path, tools: Sequence[Tool]) -> None:
    """Write the tools, where each of their lines starts, and their ids and names."""
    offsets = [0]
    with (folder / _TOOLS).open("wb") as file:
        for tool in tools:
            offsets.append(offsets[-1] + file.write(orjson.dumps(tool.to_json()) + b"\n"))
    np.save(folder / _OFFSETS, np.array(offsets, np.int64))
    names = {"ids": [tool.tool_id for tool in tools], "names": [tool.name for tool in tools]}
    (folder / _NAMES).write_bytes(orjson.dumps(names))
