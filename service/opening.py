"""Open what an application answers with: at start, and again later where a worker finds it damaged."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from flask import Flask

from mtrb.errors import InputError, QTAError
from qta.changes import ChangeLog
from qta.encoder import Encoder
from qta.engine import Engine
from qta.index import load_index
from qta.live import ids_there
from qta.location import Location, read_location
from qta.milvus import MilvusStore
from qta.rewriting import Opened, RewriterChoice
from qta.rewriting.generator import Decoding, GenerationError
from qta.rewriting.prompt import Message
from qta.rewriting.rewriter import ToolRewriter
from service.config import Settings

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Found = TypeVar("Found")

_PATIENCE = 1.0  # seconds until what could not be opened is tried again


class _AbsentGenerator:
    """Stand where a language model should be: requests go through as they are, and say so."""

    def __init__(self, why: str) -> None:
        self._why = why

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],  # noqa: ARG002
        decoding: Decoding,  # noqa: ARG002
        deadline: float | None = None,  # noqa: ARG002
    ) -> list[list[str]]:
        raise GenerationError(self._why)


def count_tools(settings: Settings) -> int:
    """Return how many tools there are to serve; what cannot be served is refused here, and once.

    Raises:
        InputError: the tools are in a file of Milvus Lite, and there are to be several workers.
        QTAError: the tools cannot be read.
    """
    location = read_location(settings.index)
    if location is None:
        load_index(settings.index, Encoder())
        return _apart(_count, settings.index)
    if location.is_file and settings.workers > 1:
        raise InputError(
            f"{location} is a file of Milvus Lite, which one process at a time may open, and there are to be "
            f"{settings.workers} workers; give --workers 1, or keep the tools in a Milvus server"
        )
    return _apart(_count_in_milvus, location)


def check_rewriter(settings: Settings) -> None:
    """Refuse a rewriter that cannot be opened, here and once.

    Raises:
        QTAError: it is absent, damaged or does not fit.
    """
    if choice := settings.rewriter_choice():
        _apart(_open, choice)


def _apart(do: Callable[[Given], Found], given: Given) -> Found:
    """Return what a function does in a process of its own.

    Workers are forks of this one, which connections to Milvus and of SQLite do not survive, and a model that is on a
    GPU in this one could not be put there in them.
    """
    with ProcessPoolExecutor(1, get_context("fork")) as process:
        return process.submit(do, given).result()


def _open(choice: RewriterChoice) -> None:
    choice.open()


def _count(folder: Path) -> int:
    ChangeLog(folder)  # which is begun where there is none, or refused
    return len(ids_there(folder))


def _count_in_milvus(location: Location) -> int:
    return MilvusStore(location, Encoder()).count()


def register_engine(app: Flask, settings: Settings, engine: Engine | None) -> None:
    """Give an application its engine, or let it open one; where that fails, it answers 503 and tries again."""
    app.extensions["folder"] = settings.index
    app.extensions["settings"] = settings
    app.extensions["troubles"] = {}
    app.extensions["engine"] = engine
    app.extensions["open_again"] = 0.0
    if engine is None:
        reopen(app)


def reopen(app: Flask) -> Engine | None:
    """Open the engine of an application that has none; at most once a second."""
    if time.monotonic() < app.extensions["open_again"]:
        return None
    settings: Settings = app.extensions["settings"]
    try:
        app.extensions["engine"] = Engine.open(settings.index, _wanted(settings, app))
    except (QTAError, OSError) as error:
        logger.error("the index cannot be opened, requests get 503: %s", error)
        app.extensions["open_again"] = time.monotonic() + _PATIENCE
    found: Engine | None = app.extensions["engine"]
    return found


def _wanted(settings: Settings, app: Flask) -> RewriterChoice | None:
    """Return the rewriter that is wanted, one that opens whatever has become of its files."""
    choice = settings.rewriter_choice()
    if choice is None:
        return None

    class Patient(RewriterChoice):
        def open(self) -> Opened:
            try:
                return super().open()
            except QTAError as error:
                logger.error("the rewriter cannot be opened, requests go through as they are: %s", error)
                app.extensions["troubles"]["rewriter_absent"] = str(error)
                return Opened(ToolRewriter(_AbsentGenerator(str(error))))

    return Patient(choice.where, choice.model, choice.key, choice.timeout)
