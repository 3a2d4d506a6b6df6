"""Tools on disk: one JSON line each, found by position without reading the others."""

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, overload

import numpy as np
import orjson

from mtrb.types import Tool

_TOOLS, _OFFSETS, _COLUMNS = FILES = ("tools.jsonl", "offsets.npy", "columns.json")


@dataclass(frozen=True)
class Columns:
    """What of the tools is held in memory, by position: what names and filters go by."""

    ids: list[str]
    names: list[str]
    sources: list[str]
    tags: list[list[str]]

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> Self:
        """Take the columns of tools."""
        columns = cls([], [], [], [])
        for tool in tools:
            columns.ids.append(tool.tool_id)
            columns.names.append(tool.name)
            columns.sources.append(tool.source)
            columns.tags.append(list(tool.tags))
        return columns


class ToolStore(Sequence[Tool]):
    """Read tools from a memory-mapped file; only their columns are held in memory."""

    def __init__(self, folder: Path) -> None:
        """Open the store that `write_store` made."""
        with (folder / _TOOLS).open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offsets = np.load(folder / _OFFSETS)
        self.columns = Columns(**orjson.loads((folder / _COLUMNS).read_bytes()))

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
    """Write the tools, where each of their lines starts, and their columns."""
    offsets = [0]
    with (folder / _TOOLS).open("wb") as file:
        for tool in tools:
            offsets.append(offsets[-1] + file.write(orjson.dumps(tool.to_json()) + b"\n"))
    np.save(folder / _OFFSETS, np.array(offsets, np.int64))
    (folder / _COLUMNS).write_bytes(orjson.dumps(vars(Columns.of(tools))))
