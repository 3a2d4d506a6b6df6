"""A catalogue whose tools and vectors live in a Milvus collection, shared by any number of processes and machines.

A row a tool: its record, its vector, and the revision of its last change. A removed tool keeps its row, marked, so that
other processes learn of it. Revisions are the writers' clocks in microseconds, when they send it; a reader looks back
each time as far as clocks may differ and a write may take.

With Milvus Lite (`milvus-lite`; a path that ends in .db for a URI) one process has the file, until it ends.
"""

import base64
import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mtrb.errors import ArtefactError, InputError, MissingDependencyError, UnavailableError
from mtrb.types import Tool
from qta.changes import Change
from qta.encoder import Encoder
from qta.index import TEXT
from qta.location import Location

Vector = NDArray[np.float32]

FORMAT = 1
MOST_HITS = 16_384  # what Milvus answers at most
LONGEST_WRITE = 30.0  # seconds after which it has failed

_ABOUT = " about"  # the key of the row that says what made the collection; an id holds no blank
_BATCH = 500  # rows of one message, which must stay below 64 MB
_PAGE = 5_000  # rows of one message that have neither record nor vector
_MOST_BYTES = 65_535  # of a text in Milvus
_KEY_BYTES = 4096
_DAY = 24 * 3600 * 1_000_000
_WAIT_BRIEFLY, _WAIT = 2.0, 30.0  # seconds for an answer: where a request waits for it, and where it must be
_WAIT_TO_CONNECT = 3.0


def now_us() -> int:
    """Return the clock in microseconds since 1970."""
    return time.time_ns() // 1000


class MilvusStore:
    """Read and write the rows of one collection; safe to share between threads."""

    def __init__(self, location: Location, encoder: Encoder) -> None:
        """Open a collection that `create` made; the encoder is to be the one that made its vectors.

        Raises:
            UnavailableError: Milvus cannot be reached, or does not accept the token.
            ArtefactError: there is no such collection, or it was made with another encoder or format.
            MissingDependencyError: pymilvus is not installed.
        """
        self._location, self._encoder = location, encoder
        self._collection = location.collection
        self._client = _connect(location)
        self.open()

    def open(self) -> None:
        """Make the collection ready for being asked, also again after the server was away.

        Raises:
            UnavailableError: Milvus cannot be reached.
            ArtefactError: there is no such collection, or it was made with another encoder or format.
        """
        with self._said():
            if not self._client.has_collection(self._collection, timeout=_WAIT_BRIEFLY):
                raise ArtefactError(
                    f"{self._location}: no catalogue; make one with `qta index TOOLS --out DIR --milvus URI`"
                )
            self._client.load_collection(self._collection, timeout=_WAIT)
            rows = self._client.get(self._collection, ids=[_ABOUT], output_fields=["record"], timeout=_WAIT)
        found = orjson.loads(rows[0]["record"]) if rows else {"format": None}
        if found != (expected := _about(self._encoder)):
            raise ArtefactError(
                f"{self._location}: made with {found}, this version needs {expected}; drop the collection and make "
                "it again with `qta index`"
            )

    def count(self) -> int:
        """Return how many tools there are."""
        with self._said():
            (row,) = self._client.query(
                self._collection, filter="alive == true", output_fields=["count(*)"], timeout=_WAIT
            )
        return int(row["count(*)"])

    def put(self, tools: Sequence[Tool], vectors: Vector) -> list[Change]:
        """Add or replace tools; return the changes, once Milvus has acknowledged them."""
        revisions = self._upsert([_row(tool, vector) for tool, vector in zip(tools, vectors, strict=True)])
        return [
            Change(tool.tool_id, revision, tool, np.asarray(vector, np.float16))
            for tool, vector, revision in zip(tools, vectors, revisions, strict=True)
        ]

    def remove(self, tools: Sequence[Tool], vectors: Vector) -> list[Change]:
        """Mark tools as removed; return the changes, once Milvus has acknowledged them."""
        rows = [_row(tool, vector, alive=False) for tool, vector in zip(tools, vectors, strict=True)]
        revisions = self._upsert(rows)
        return [Change(tool.tool_id, revision, None, None) for tool, revision in zip(tools, revisions, strict=True)]

    def revisions(self, since: int) -> dict[str, int]:
        """Return the revision of each tool that was changed since a time, by id."""
        rows = self._rows(f"revision >= {since}", ["tool_id", "revision"], _WAIT_BRIEFLY, _PAGE)
        return {row["tool_id"]: row["revision"] for row in rows}

    def changes(self, tool_ids: Sequence[str]) -> list[Change]:
        """Return tools as they are, as changes."""
        found: list[Change] = []
        for start in range(0, len(tool_ids), _BATCH):
            with self._said():
                ids = list(tool_ids[start : start + _BATCH])
                rows = self._client.get(self._collection, ids=ids, timeout=_WAIT_BRIEFLY)
            found += [_change(row) for row in rows]
        return found

    def all(self) -> list[tuple[Tool, Vector, int, bool]]:
        """Return every tool with its vector, its revision and whether it is alive; removed ones go after a day."""
        columns = ["tool_id", "record", "vector", "revision", "alive"]
        rows = sorted(self._rows("revision > 0", columns, _WAIT), key=lambda row: str(row["tool_id"]))
        old = now_us() - _DAY
        if any(row["alive"] for row in rows) and any(not row["alive"] and row["revision"] < old for row in rows):
            with self._said():
                gone = f"alive == false and revision > 0 and revision < {old}"
                self._client.delete(self._collection, filter=gone, timeout=_WAIT)
            rows = [row for row in rows if row["alive"] or row["revision"] >= old]
        return [
            (_tool(row["record"]), np.asarray(row["vector"], np.float32), row["revision"], row["alive"]) for row in rows
        ]

    def nearest(self, vector: Vector, n: int) -> list[tuple[str, float]]:
        """Return ids and cosines of the n nearest living tools, nearest first; at most `MOST_HITS`."""
        with self._said():
            (hits,) = self._client.search(
                self._collection,
                data=[vector.tolist()],
                filter="alive == true",
                limit=min(n, MOST_HITS),
                timeout=_WAIT_BRIEFLY,
            )
        return [(hit["tool_id"], hit["distance"]) for hit in hits]

    def close(self) -> None:
        """Let go of the connection; a file of Milvus Lite stays with this process until it ends."""
        self._client.close()

    def _upsert(self, rows: list[dict[str, Any]]) -> list[int]:
        """Write rows; return the revision of each: the moment when it is sent, since readers look back only so far."""
        revisions: list[int] = []
        with self._said():
            for start in range(0, len(rows), _BATCH):
                batch, revision = rows[start : start + _BATCH], now_us()
                self._client.upsert(
                    self._collection, [{**row, "revision": revision} for row in batch], timeout=LONGEST_WRITE
                )
                revisions += [revision] * len(batch)
        return revisions

    def _rows(
        self, condition: str, columns: list[str], wait: float, page_size: int = _BATCH
    ) -> Iterator[dict[str, Any]]:
        with self._said():
            pages = self._client.query_iterator(
                self._collection, filter=condition, output_fields=columns, batch_size=page_size, timeout=wait
            )
            while page := pages.next():
                yield from page
            pages.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        with _said(self._location):
            yield


def exists(location: Location) -> bool:
    """Tell whether there is a collection.

    Raises:
        UnavailableError: Milvus cannot be reached, or does not accept the token.
        MissingDependencyError: pymilvus is not installed.
    """
    client = _connect(location)
    try:
        with _said(location):
            return bool(client.has_collection(location.collection, timeout=_WAIT))
    finally:
        client.close()


def create(location: Location, tools: Sequence[Tool], vectors: Vector, encoder: Encoder) -> None:
    """Make a collection of tools and their vectors; a failed attempt leaves none.

    Raises:
        InputError: there are no tools, a tool is too large for Milvus, or there is a collection of that name.
        UnavailableError: Milvus cannot be reached, or does not accept the token.
        MissingDependencyError: pymilvus is not installed.
    """
    if not len(tools):
        raise InputError("there is no tool to index")
    revision, collection = now_us(), location.collection
    rows = [{**_row(tool, vector), "revision": revision} for tool, vector in zip(tools, vectors, strict=True)]
    client = _connect(location)
    about = {"tool_id": _ABOUT, "record": orjson.dumps(_about(encoder)).decode(), "alive": False, "revision": 0}
    try:
        with _said(location):
            if client.has_collection(collection, timeout=_WAIT):
                raise InputError(f"{location}: there is a collection of that name; put tools into it, or drop it first")
            _define(client, collection, vectors.shape[1])
            try:
                for start in range(0, len(rows), _BATCH):
                    client.upsert(collection, rows[start : start + _BATCH], timeout=_WAIT)
                # Unflushed rows of Milvus Lite are indexed anew at every search.
                client.upsert(collection, [{**about, "vector": np.eye(1, vectors.shape[1], dtype=np.float32)[0]}])
                client.flush(collection)
            except BaseException:
                client.drop_collection(collection)
                raise
    finally:
        client.close()


def _define(client: Any, collection: str, dimension: int) -> None:
    from pymilvus import DataType  # type: ignore[import-untyped]

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("tool_id", DataType.VARCHAR, is_primary=True, max_length=_KEY_BYTES)
    schema.add_field("record", DataType.VARCHAR, max_length=_MOST_BYTES)
    schema.add_field("alive", DataType.BOOL)
    schema.add_field("revision", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    # What was acknowledged is in the next search, whoever asks.
    client.create_collection(collection, schema=schema, index_params=index, consistency_level="Strong")


def _connect(location: Location) -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise MissingDependencyError(
            f"{location}: tools in Milvus need pymilvus; pip install pymilvus, and milvus-lite for a file"
        ) from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs every attempt; what failed is in the error
    with _said(location):
        return MilvusClient(location.uri, token=location.token, timeout=_WAIT_TO_CONNECT)


@contextmanager
def _said(location: Location) -> Iterator[None]:
    """Turn Milvus's errors into ours."""
    from pymilvus.exceptions import MilvusException  # type: ignore[import-untyped]

    try:
        yield
    except (MilvusException, OSError, ValueError) as error:
        cause = getattr(error.__cause__, "details", str)()  # what the server said, where it refused the connection
        reason = " ".join(f"{getattr(error, 'message', error)} {cause}".split())
        raise UnavailableError(f"{location}: Milvus did not answer as it should: {reason[:300]}") from None


def _about(encoder: Encoder) -> dict[str, Any]:
    return {"format": FORMAT, "encoder": encoder.identity, "text": TEXT}


def _row(tool: Tool, vector: Vector, alive: bool = True) -> dict[str, Any]:
    record = base64.b85encode(zlib.compress(orjson.dumps(tool.to_json()))).decode()
    for what, text, most in (("id", tool.tool_id, _KEY_BYTES), ("definition", record, _MOST_BYTES)):
        if (size := len(text.encode())) > most:
            raise InputError(f"{tool.tool_id[:100]}: the {what} has {size:,} bytes packed, Milvus takes {most:,}")
    return {"tool_id": tool.tool_id, "record": record, "alive": alive, "vector": vector}


def _tool(record: str) -> Tool:
    return Tool.from_json(orjson.loads(zlib.decompress(base64.b85decode(record))))


def _change(row: dict[str, Any]) -> Change:
    if not row["alive"]:
        return Change(row["tool_id"], row["revision"], None, None)
    return Change(row["tool_id"], row["revision"], _tool(row["record"]), np.asarray(row["vector"], np.float16))
