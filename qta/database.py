"""SQLite as the files of an index folder are opened: written ahead, and shared by processes."""

import sqlite3
from pathlib import Path

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

_PAUSE = 0.01


def connect(path: Path, wait: float, durable: bool) -> sqlite3.Connection:
    """Open a file, or begin one, in WAL mode; any thread may use the connection, one at a time.

    Args:
        path: of the file.
        wait: seconds for another process's write.
        durable: whether a write that has returned survives a power cut.

    Raises:
        sqlite3.Error: the file is damaged or cannot be written.
    """
    connection = sqlite3.connect(path, wait, isolation_level=None, check_same_thread=False)
    # Where several processes begin a file at once, all but one are told that it is locked: SQLite does not wait here.
    for attempt in Retrying(
        retry=retry_if_exception(_is_busy), stop=stop_after_delay(wait), wait=wait_fixed(_PAUSE), reraise=True
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return connection


def file_at(path: Path) -> int | None:
    """Return what tells the file in a place from another that may be put there, None where there is none.

    SQLite goes on with a file that was deleted, which nobody would find again.
    """
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def error_code(error: BaseException) -> int:
    """Return SQLite's primary code of an error, without the extended part; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return error_code(error) == sqlite3.SQLITE_BUSY
