"""The log of changes since an index was built: SQLite in WAL mode, shared by all processes that serve the index.

A change that was acknowledged is on disk. Each transaction has a revision of its own; a reader asks for what came after
the revision it knows.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from mtrb.errors import ArtefactError, BusyError, StorageError
from mtrb.types import Tool
from qta.completion import provided_things
from qta.database import connect, error_code, file_at
from qta.lexical import lexical_text
from qta.tokens import tokenize

FILE = "changes.db"

_WAIT = 3.0  # seconds for another process's write; the requests of this one wait with it
_KINDS = {
    sqlite3.SQLITE_BUSY: BusyError,
    sqlite3.SQLITE_LOCKED: BusyError,
    sqlite3.SQLITE_FULL: StorageError,
    sqlite3.SQLITE_IOERR: StorageError,
    sqlite3.SQLITE_READONLY: StorageError,
    sqlite3.SQLITE_CANTOPEN: StorageError,
}
_LOST = "; restore the file, or move it away: what it held is lost by that, changes since the index was built"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    tool_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB, vector BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_revision ON changes (revision);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES ('revision', 0);
INSERT OR IGNORE INTO state VALUES ('forgotten', 0);
"""


@dataclass(frozen=True)
class Change:
    """A tool that was put or, without a tool, removed."""

    tool_id: str
    revision: int
    tool: Tool | None
    vector: NDArray[np.float16] | None

    @cached_property
    def words(self) -> Counter[str]:
        """Return how often each word of the lexical index stands in the tool's text.

        A change is put on top of the index again whenever there is another one; what takes time there is done once.
        """
        return Counter(tokenize(lexical_text(self.tool))) if self.tool else Counter()

    @cached_property
    def things(self) -> frozenset[str]:
        """Return the things whose ids the tool provides."""
        return frozenset(provided_things(self.tool)) if self.tool else frozenset()


class ChangeLog:
    """Append changes and read them back; safe to share between threads, and between processes by the file.

    Attributes:
        file: tells which file it is, since another may be put in its place.
    """

    file: int | None

    def __init__(self, folder: Path, revision: int = 0) -> None:
        """Open the log in an index folder, or begin one whose changes come after a revision.

        Raises:
            ArtefactError: the file is damaged.
            StorageError: it cannot be written.
        """
        self._path = folder / FILE
        self._after = revision
        self._local = threading.local()
        self._lock = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        self._open()

    def _open(self) -> None:
        """Open the file that is there, or begin one; a lock is held, or no other thread knows of this object."""
        with _said(self._path):
            connection = connect(self._path, _WAIT, durable=True)
            connection.executescript(_SCHEMA)
            connection.execute("UPDATE state SET value = max(value, ?) WHERE name = 'revision'", (self._after,))
            connection.close()
            if self._watch:
                self._watch.close()
            # The number that SQLite gives goes by connection, and does not count what that connection writes itself.
            self._watch = sqlite3.connect(self._path, _WAIT, isolation_level=None, check_same_thread=False)
        self.file = file_at(self._path)

    def _notice(self) -> None:
        """Open the file that is there now where it is another one: an index folder may be deleted and put back."""
        with self._lock:
            if file_at(self._path) not in (None, self.file):
                self._open()

    def come_after(self, revision: int) -> None:
        """Let a log that takes this one's place begin after a revision, up to which the index holds all changes."""
        with self._lock:
            self._after = max(self._after, revision)

    def put(self, tools: Sequence[Tool], vectors: NDArray[np.float32]) -> int:
        """Add or replace tools; return the revision, once it is on disk."""
        rows = [
            (tool.tool_id, orjson.dumps(tool.to_json()), vector.astype(np.float16).tobytes())
            for tool, vector in zip(tools, vectors, strict=True)
        ]
        return self._write(rows)

    def remove(self, tool_ids: Iterable[str]) -> int:
        """Remove tools; return the revision, once it is on disk."""
        return self._write([(tool_id, None, None) for tool_id in tool_ids])

    def _write(self, rows: Sequence[tuple[str, bytes | None, bytes | None]]) -> int:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE state SET value = value + 1 WHERE name = 'revision'")
            revision = self._state(connection, "revision")
            connection.executemany(
                "INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?)",
                [(tool_id, revision, record, vector) for tool_id, record, vector in rows],
            )
            self._check_there()
            connection.execute("COMMIT")
            self._check_there()
        return revision

    def _check_there(self) -> None:
        """Refuse to go on with a file that was deleted."""
        if file_at(self._path) != self._local.opened[0]:
            raise StorageError(f"{self._path}: was deleted while it was in use; the change is lost, restore the file")

    @property
    def revision(self) -> int:
        """Return the revision of the last change."""
        with self._connection() as connection:
            return self._state(connection, "revision")

    @property
    def forgotten(self) -> int:
        """Return up to which revision changes were dropped."""
        with self._connection() as connection:
            return self._state(connection, "forgotten")

    def since(self, revision: int) -> list[Change]:
        """Return what was changed after a revision, each tool's last change, in order."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT tool_id, revision, record, vector FROM changes WHERE revision > ? ORDER BY revision, tool_id",
                (revision,),
            ).fetchall()
        return [_change(*row) for row in rows]

    def ids_since(self, revision: int) -> dict[str, bool]:
        """Return the ids that were changed after a revision, and whether each is there since."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT tool_id, record IS NOT NULL FROM changes WHERE revision > ?", (revision,)
            ).fetchall()
        return {tool_id: bool(there) for tool_id, there in rows}

    def stamp(self) -> int:
        """Return a number that changes whenever something was written, by whomever: cheap to ask for."""
        self._notice()
        with self._lock, _said(self._path):
            assert self._watch is not None
            (stamp,) = self._watch.execute("PRAGMA data_version").fetchone()
            return int(stamp)

    def forget(self, revision: int) -> None:
        """Drop the changes up to a revision, which an index holds by now."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM changes WHERE revision <= ?", (revision,))
            connection.execute("UPDATE state SET value = max(value, ?) WHERE name = 'forgotten'", (revision,))
            connection.execute("COMMIT")

    @staticmethod
    def _state(connection: sqlite3.Connection, name: str) -> int:
        (value,) = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return int(value)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend the calling thread's connection, nothing of an unfinished transaction left behind."""
        self._notice()
        with _said(self._path):
            file, connection = getattr(self._local, "opened", (None, None))
            if connection is None or file != self.file:
                file, connection = self._local.opened = self._connect()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _connect(self) -> tuple[int, sqlite3.Connection]:
        """Return which file is there, and a connection to it; none is begun."""
        file = file_at(self._path)
        if file is not None:
            connection = connect(self._path, _WAIT, durable=True)
            if file_at(self._path) == file:
                return file, connection
        raise StorageError(f"{self._path}: was deleted while it was in use; nothing was changed, restore the file")


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        kind = _KINDS.get(error_code(error), ArtefactError)
        hint = _LOST if kind is ArtefactError else ""
        raise kind(f"{path}: {error}; nothing was changed{hint}") from None


def last_revision(folder: Path) -> int:
    """Return the revision of the last change in a folder's log, 0 where there is none.

    Raises:
        ArtefactError: the log is damaged.
    """
    return ChangeLog(folder).revision if (folder / FILE).exists() else 0


def ids_since(folder: Path, revision: int) -> dict[str, bool]:
    """Return the ids that were changed after a revision, and whether each is there since.

    Raises:
        ArtefactError: the log is damaged.
    """
    return ChangeLog(folder).ids_since(revision) if (folder / FILE).exists() else {}


def _change(tool_id: str, revision: int, record: bytes | None, vector: bytes | None) -> Change:
    if record is None or vector is None:
        return Change(tool_id, revision, None, None)
    return Change(tool_id, revision, Tool.from_json(orjson.loads(record)), np.frombuffer(vector, np.float16))
