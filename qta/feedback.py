"""What callers say of answers: which tools they used. It raises those tools in the ranking, and trains a rewriter.

    DIR/feedback.db      SQLite in WAL mode, shared by all processes that serve the index

Of a request that was answered its text is kept for a day, so that feedback on it can train a rewriter; of those with
feedback for a year. At most 100,000 of each are kept, the last ones.

Feedback is a tenant's: it raises tools for those alone who are of the same namespaces as who gave it.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mtrb.errors import ArtefactError, InputError
from mtrb.types import Benchmark, Query, Toolset
from qta.database import connect, file_at
from qta.selection import SHARED

FILE = "feedback.db"
ALL = "*"
"""The tenant that is of no namespaces, and sees all tools."""

WEIGHT = 0.05
"""What the logarithm of a tool's uses counts beside a cosine: tools must be about as near for it to matter."""

MOST = 0.15
"""What a tool is raised by at most, after some twenty uses: else one that is used much would be in every answer."""

KEPT = 100_000
"""Requests, and as many pieces of feedback, that are kept at most."""

_DAY = 86_400.0
_REQUEST_DAYS, _FEEDBACK_DAYS = 1, 365
_PRUNE_EVERY = 1000  # requests
_LOOK_EVERY = 0.25  # seconds
_WAIT_BRIEFLY, _WAIT = 0.1, 5.0  # seconds for another process's write: where a request waits, and where it must be

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    request_id TEXT UNIQUE NOT NULL, at REAL NOT NULL, query TEXT NOT NULL, tenant TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_at ON requests (at);
CREATE TABLE IF NOT EXISTS feedback (
    request_id TEXT UNIQUE NOT NULL, at REAL NOT NULL, query TEXT NOT NULL, tenant TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS feedback_at ON feedback (at);
CREATE TABLE IF NOT EXISTS used (
    request_id TEXT NOT NULL, tool_id TEXT NOT NULL, PRIMARY KEY (request_id, tool_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES ('revision', 0);
"""
_USES = "SELECT tenant, tool_id, COUNT(*) FROM used JOIN feedback USING (request_id) GROUP BY tenant, tool_id"


@dataclass(frozen=True)
class Feedback:
    """A request and the tools that were used for it."""

    request_id: str
    query: str
    used: tuple[str, ...]


def tenant_of(granted: frozenset[str] | None) -> str:
    """Return the tenant of a caller by what is granted to it: its namespaces, whether or not it sees shared tools."""
    return ALL if granted is None else ",".join(sorted(granted - {SHARED}))


class FeedbackStore:
    """Keep feedback; safe to share between threads, and between processes by the file."""

    def __init__(self, folder: Path) -> None:
        """Take an index folder; the file is made with the first request that is kept.

        Raises:
            ArtefactError: there is a file, and it is damaged.
        """
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._connections: dict[str, sqlite3.Connection] = {}
        self._file: int | None = None
        self._recorded = 0
        self._looked = -_LOOK_EVERY
        self._revision = 0
        self._uses: Mapping[str, Mapping[str, int]] = {}
        self._look()

    @property
    def uses(self) -> Mapping[str, Mapping[str, int]]:
        """Return how often each tool was used, by tenant; the same object until that changes.

        What another process was told is noticed a quarter of a second later. A file that cannot be read for a moment
        leaves what was known.
        """
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            try:
                self._look()
            except ArtefactError:
                self._looked = time.monotonic()
        return self._uses

    def record(self, query: str, tenant: str = ALL) -> str:
        """Keep a tenant's request that was answered, and return its id.

        Raises:
            ArtefactError: it cannot be written.
        """
        request_id = secrets.token_hex(16)
        with self._connection("requests") as connection:
            connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", (request_id, time.time(), query, tenant))
            self._recorded += 1
            if self._recorded % _PRUNE_EVERY == 0:
                _prune(connection)
        return request_id

    def add(self, request_id: str, used: Sequence[str], tenant: str = ALL) -> bool:
        """Keep which tools were used; return, once it is on disk, whether there is such a request of the tenant.

        What was said of the same request before is replaced.

        Raises:
            ArtefactError: it cannot be written.
        """
        if not self._path.exists():
            return False
        with self._connection("feedback") as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT query FROM feedback WHERE request_id = :id AND tenant = :tenant "
                "UNION ALL SELECT query FROM requests WHERE request_id = :id AND tenant = :tenant AND at > :since",
                {"id": request_id, "tenant": tenant, "since": time.time() - _REQUEST_DAYS * _DAY},
            ).fetchone()
            if row is None:
                return False
            said = request_id, time.time(), row[0], tenant
            connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", said)
            connection.execute("DELETE FROM used WHERE request_id = ?", (request_id,))
            connection.executemany(
                "INSERT INTO used VALUES (?, ?)", [(request_id, tool_id) for tool_id in dict.fromkeys(used)]
            )
            connection.execute("UPDATE state SET value = value + 1 WHERE name = 'revision'")
            connection.execute("COMMIT")
        self._look()
        return True

    def all(self) -> list[Feedback]:
        """Return the feedback in which some tool was used, oldest first."""
        if not self._path.exists():
            return []
        with self._connection("feedback") as connection:
            rows = connection.execute(
                "SELECT request_id, query, tool_id FROM feedback JOIN used USING (request_id) "
                "ORDER BY feedback.rowid, tool_id"
            ).fetchall()
        found: dict[str, Feedback] = {}
        for request_id, query, tool_id in rows:
            before = found.get(request_id, Feedback(request_id, query, ()))
            found[request_id] = Feedback(request_id, query, (*before.used, tool_id))
        return list(found.values())

    def _look(self) -> None:
        """Notice new feedback."""
        if self._path.exists():
            with self._connection("requests") as connection:
                (revision,) = connection.execute("SELECT value FROM state WHERE name = 'revision'").fetchone()
                if revision != self._revision:
                    uses: dict[str, dict[str, int]] = {}
                    for tenant, tool_id, count in connection.execute(_USES):
                        uses.setdefault(tenant, {})[tool_id] = count
                    self._revision, self._uses = revision, uses
        else:
            self._revision, self._uses = 0, {}
        self._looked = time.monotonic()

    @contextmanager
    def _connection(self, purpose: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection; of an unfinished transaction nothing is left behind.

        That for feedback waits until it is on the disk; requests are written without waiting, and a power cut may take
        the last ones.
        """
        try:
            with self._lock:
                if self._file != file_at(self._path):  # deleted, or put back: what is open is not it
                    self._connections, self._revision = {}, -1
                connection = self._connections.get(purpose) or self._connect(purpose)
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise ArtefactError(f"{self._path}: {error}; nothing was changed") from None

    def _connect(self, purpose: str) -> sqlite3.Connection:
        durable = purpose == "feedback"
        connection = connect(self._path, _WAIT, durable)
        connection.executescript(_SCHEMA)
        _name_tenants(connection)
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * (_WAIT if durable else _WAIT_BRIEFLY))}")
        self._connections[purpose], self._file = connection, file_at(self._path)
        return connection


def _name_tenants(connection: sqlite3.Connection) -> None:
    """Complete a file of an earlier version, which did not say whose feedback it was: then it is no namespace's."""
    connection.execute("BEGIN IMMEDIATE")
    for table in ("requests", "feedback"):
        if "tenant" not in [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN tenant TEXT NOT NULL DEFAULT '{ALL}'")
    connection.execute("COMMIT")


def annotated_requests(folder: Path, toolset: Toolset) -> Benchmark:
    """Return the feedback of an index folder as annotated requests; of the same request what was said last.

    Tools that are no longer in the catalogue are left out, and so are requests of which none is left.

    Raises:
        InputError: there is none.
    """
    last = {feedback.query: feedback for feedback in FeedbackStore(folder).all()}
    queries, qrels = [], {}
    for feedback in last.values():
        golden = {tool_id: 1 for tool_id in feedback.used if tool_id in toolset.positions}
        if golden:
            queries.append(Query(feedback.request_id, feedback.query))
            qrels[feedback.request_id] = golden
    if not queries:
        raise InputError(f"{folder}: no feedback that names a tool of the catalogue; POST /feedback takes it")
    return Benchmark("feedback", "all", toolset, tuple(queries), qrels)


def _prune(connection: sqlite3.Connection) -> None:
    """Drop what is older or more than is kept."""
    connection.execute("BEGIN IMMEDIATE")
    for table, days in (("requests", _REQUEST_DAYS), ("feedback", _FEEDBACK_DAYS)):
        connection.execute(f"DELETE FROM {table} WHERE at < ?", (time.time() - days * _DAY,))  # noqa: S608
        connection.execute(
            f"DELETE FROM {table} WHERE rowid <= (SELECT MAX(rowid) FROM {table}) - ?",  # noqa: S608
            (KEPT,),
        )
    gone = connection.execute("DELETE FROM used WHERE request_id NOT IN (SELECT request_id FROM feedback)").rowcount
    if gone:
        connection.execute("UPDATE state SET value = value + 1 WHERE name = 'revision'")
    connection.execute("COMMIT")
