"""The interface of storage and search: what an engine needs of a catalogue, wherever its tools live.

`qta.live.LiveCatalogue` keeps them in the index folder, `qta.shared.SharedCatalogue` in Milvus;
tests/qta/test_backends.py holds both to the same.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from mtrb.types import Tool
from qta.encoder import Encoder
from qta.live import LiveCatalogue, Written
from qta.location import read_location
from qta.overlay import Overlay


class Catalogue(Protocol):
    """Tools that can be searched and changed; safe to share between threads.

    Attributes:
        folder: where this machine keeps what belongs to the catalogue, such as feedback and a calibration.
        trouble: why what has changed cannot be read, while that is so.
    """

    folder: Path
    trouble: str | None

    @property
    def now(self) -> Overlay:
        """Return the tools as they are now, searchable; the same object until something changes.

        What other processes change is in it within a second.
        """
        ...

    def put(self, tools: Sequence[Tool]) -> Written:
        """Add or replace tools; they are stored and searchable when this returns."""
        ...

    def remove(self, tool_ids: Iterable[str]) -> Written:
        """Remove tools; ids that there are not are passed over."""
        ...

    def settle(self) -> None:
        """Wait for work in the background: what a program does before it ends."""
        ...


def open_catalogue(folder: Path, encoder: Encoder) -> Catalogue:
    """Open the catalogue of an index folder: its tools are there, or in Milvus where the folder says so.

    Raises:
        ArtefactError: there is none, it is damaged or does not fit.
        UnavailableError: the tools are in Milvus, which does not answer.
        MissingDependencyError: the tools are in Milvus, and pymilvus is not installed.
    """
    location = read_location(folder)
    if location is None:
        return LiveCatalogue(folder, encoder)
    from qta.shared import SharedCatalogue

    return SharedCatalogue(location, folder, encoder)
