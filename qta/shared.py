"""A living catalogue over a Milvus collection: what `LiveCatalogue` is over a folder.

Each process keeps the words, names and half-precision vectors of the tools beside it, made at opening and brought up
to date from the collection; the nearest tools are searched for in Milvus. While Milvus does not answer, they are found
among the vectors that are kept, and nothing can be changed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtrb.errors import InputError, QTAError, UnavailableError
from mtrb.types import Tool, Toolset
from qta.changes import Change
from qta.completion import Providers
from qta.dense import DenseIndex, nearest_of
from qta.embeddings import embed, embedded_text
from qta.encoder import Encoder
from qta.index import MANIFEST, Advance, ToolIndex
from qta.lexical import LexicalIndex, lexical_text
from qta.live import MERGE_AT, Written
from qta.location import Location
from qta.milvus import LONGEST_WRITE, MOST_HITS, MilvusStore, create, exists, now_us
from qta.overlay import Overlay, OverlayDense
from qta.store import Columns

Vector = NDArray[np.float32]
Hits = list[tuple[str, float]]

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds after which a process looks for what others have changed, when it is asked something."""

_LOOK_BACK = 5_000_000 + int(1e6 * LONGEST_WRITE)  # microseconds: two clocks may differ, and a write takes its time
_PATIENCE = 1.0  # seconds until a Milvus that did not answer is asked again
_BATCH = 500  # tools of one change
_FEW = 4000  # tools that a filter leaves, which are sooner all looked at than searched


class SharedDense(OverlayDense):
    """Search in Milvus; cosines of given tools come from the vectors kept here."""

    kind: str

    def over(self, nearest: Callable[[Vector, int], Hits | None], now: Overlay) -> "SharedDense":
        """Say who knows the nearest tools, None while it does not answer, and how ids become positions."""
        self._nearest, self._position, self._alive, self.kind = nearest, now.position, now.alive, "milvus"
        return self

    def search(
        self, vector: Vector, n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Vector]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        allowed = self._alive if allowed is None else allowed
        if np.count_nonzero(allowed) <= _FEW < len(allowed):
            return nearest_of(self.cosines, vector, n, np.flatnonzero(allowed))
        limit = n
        while (hits := self._nearest(vector, limit)) is not None:
            # A tool that came or went since this view of the catalogue was taken is in the next one.
            known = [(at, cosine) for tool_id, cosine in hits if (at := self._position(tool_id)) is not None]
            kept = [(at, cosine) for at, cosine in known if allowed[at]][:n]
            if len(kept) == n or len(hits) < limit:
                return np.array([at for at, _ in kept], np.int64), np.array([one for _, one in kept], np.float32)
            if limit == MOST_HITS:
                break
            limit = min(4 * limit, MOST_HITS)
        return super().search(vector, n, allowed)


class SharedCatalogue:
    """Serve one collection's tools as they are now; safe to share between threads."""

    def __init__(self, location: Location, folder: Path, encoder: Encoder, merge_at: int = MERGE_AT) -> None:
        """Open a collection, which `index_in_milvus` made; what this machine keeps beside it is in the folder.

        Raises:
            UnavailableError: Milvus cannot be reached.
            ArtefactError: there is no such collection, or it was made with another encoder or format.
        """
        self.folder = folder
        self.trouble: str | None = None
        self._encoder, self._merge_at = encoder, merge_at
        self._lock = threading.RLock()
        self._store = MilvusStore(location, encoder)
        self._merging: threading.Thread | None = None
        self._closed = threading.Event()
        self._looked, self._looked_us = 0.0, 0
        self._read()

    @property
    def now(self) -> Overlay:
        """Return the tools as they are now; what another process has changed is noticed here.

        Where Milvus does not answer, the tools stay as they were, and `trouble` says why.
        """
        if self.trouble is None and time.monotonic() - self._looked > LOOK_EVERY:
            with self._lock:
                if time.monotonic() - self._looked > LOOK_EVERY:
                    self._look()
        return self._overlay

    def put(self, tools: Sequence[Tool]) -> Written:
        """Add or replace tools; only those whose text has changed are embedded.

        Raises:
            InputError: two of the tools share an id, or one is too large for Milvus.
            UnavailableError: Milvus does not take the change.
        """
        Toolset(tools)  # which refuses two of one id
        with self._writing() as now:
            before = [self._at(now, tool.tool_id) for tool in tools]
            new = [(tool, old) for tool, old in zip(tools, before, strict=True) if old is None or tool != old[0]]
            if new:
                vectors = np.stack([self._vector(tool, old) for tool, old in new])
                self._apply(self._store.put([tool for tool, _ in new], vectors))
            added = sum(old is None for _, old in new)
            return Written(added, len(new) - added, len(tools) - len(new))

    def remove(self, tool_ids: Iterable[str]) -> Written:
        """Remove tools; ids that there are not are passed over.

        Raises:
            UnavailableError: Milvus does not take the change.
        """
        with self._writing() as now:
            known = [old for tool_id in dict.fromkeys(tool_ids) if (old := self._at(now, tool_id))]
            if known:
                vectors = np.stack([vector for _, vector in known])
                self._apply(self._store.remove([tool for tool, _ in known], vectors))
            return Written(removed=len(known))

    def settle(self) -> None:
        """Wait for the merge that this process has begun."""
        if self._merging:
            self._merging.join()

    def close(self) -> None:
        """Let go of the connection; a file of Milvus Lite stays with this process until it ends."""
        self._closed.set()
        self.settle()
        self._store.close()

    @contextmanager
    def _writing(self) -> Iterator[Overlay]:
        """Lend the tools as they are, to be changed; after a change that failed, all are read again.

        What others wrote a moment before counts, however short ago the last look was: what they have changed must not
        pass for unchanged.
        """
        with self._lock:
            if self.trouble is None:
                self._look()
            if self.trouble is not None:
                raise UnavailableError(self.trouble)
            try:
                yield self._overlay
            except UnavailableError as error:
                self._note_trouble(error)
                raise

    def _nearest(self, vector: Vector, n: int) -> Hits | None:
        """Return ids and cosines of the nearest tools; None while Milvus does not answer."""
        if self.trouble is not None:
            return None
        try:
            return self._store.nearest(vector, n)
        except UnavailableError as error:
            self._note_trouble(error)
            return None

    def _look(self) -> None:
        """Take over what was changed since the last look, by whomever."""
        looked, looked_us = time.monotonic(), now_us()
        try:
            revisions = self._store.revisions(self._looked_us - _LOOK_BACK)
            new = [tool_id for tool_id, revision in revisions.items() if self._known.get(tool_id) != revision]
            if new:
                self._apply(self._store.changes(new))
        except UnavailableError as error:
            self._note_trouble(error)
        self._looked, self._looked_us = looked, looked_us

    def _note_trouble(self, error: UnavailableError) -> None:
        with self._lock:
            if self.trouble is None:
                logger.error("the tools stay as they were until Milvus answers: %s", error)
                threading.Thread(target=self._recover, name="recover", daemon=True).start()
            self.trouble = str(error)

    def _recover(self) -> None:
        """Ask until Milvus answers, beside the requests; then read all, since removed tools may have left no trace."""
        while not self._closed.wait(_PATIENCE):
            try:
                self._store.open()
                self._read()
            except QTAError as error:
                self.trouble = str(error)
            else:
                return

    def _read(self) -> None:
        """Take over all tools as they are in Milvus."""
        looked, looked_us = time.monotonic(), now_us()
        rows = self._store.all()
        base = _base([tool for tool, *_ in rows], np.array([vector for _, vector, *_ in rows], np.float16))
        removed = [Change(tool.tool_id, revision, None, None) for tool, _, revision, alive in rows if not alive]
        with self._lock:
            self._known = {tool.tool_id: revision for tool, _, revision, _ in rows}
            self._base, self._changes = base, {change.tool_id: change for change in removed}
            self._looked, self._looked_us = looked, looked_us
            self._apply([])
            self.trouble = None

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._changes[change.tool_id] = change
            self._known[change.tool_id] = change.revision
        now = Overlay.of(self._base, list(self._changes.values()), max(self._known.values()))
        vectors = [change.vector for change in self._changes.values() if change.vector is not None]
        added = np.array(vectors, np.float16).reshape(len(vectors), self._base.dense.vectors.shape[1])
        dense = SharedDense(self._base.dense, added)
        self._overlay = replace(now, dense=dense)
        dense.over(self._nearest, self._overlay)
        if len(self._changes) >= self._merge_at and not (self._merging and self._merging.is_alive()):
            self._merging = threading.Thread(target=self._merge, name="merge", daemon=True)
            self._merging.start()

    def _merge(self) -> None:
        """Index the tools anew with the changes among them, in memory and beside what is served, and swap."""
        with self._lock:
            now, merged = self._overlay, dict(self._changes)
        living = np.flatnonzero(now.alive).tolist()
        if not living:
            return  # an index has at least one tool; that there is none, the changes say
        base = _base(
            [now.tools[at] for at in living], np.array([now.dense.vector(at) for at in living]).astype(np.float16)
        )
        with self._lock:
            if self._base is not now.base:
                return  # all tools were read again meanwhile
            self._base = base
            self._changes = {key: change for key, change in self._changes.items() if merged.get(key) is not change}
            self._apply([])

    def _at(self, now: Overlay, tool_id: str) -> tuple[Tool, Vector] | None:
        at = now.position(tool_id)
        return None if at is None else (now.tools[at], now.dense.vector(at))

    def _vector(self, tool: Tool, old: tuple[Tool, Vector] | None) -> Vector:
        """Return a tool's vector, the old one where its text is the same."""
        text = embedded_text(tool)
        if old is not None and embedded_text(old[0]) == text:
            return old[1]
        return self._encoder.encode_one(text).vector


def index_in_milvus(
    toolset: Toolset, location: Location, folder: Path, encoder: Encoder, advance: Advance = lambda _: None
) -> None:
    """Make a collection of tools, or put them in place of those that it has; the folder says where they are.

    Raises:
        InputError: there are no tools, one is too large, or the folder holds an index of its own.
        ArtefactError: the collection was made with another encoder or format.
        UnavailableError: Milvus cannot be reached.
    """
    if (folder / MANIFEST).exists():
        raise InputError(f"{folder} holds an index of its own; name another folder for tools in Milvus")
    if exists(location) and len(toolset):
        catalogue = SharedCatalogue(location, folder, encoder)
        for start in range(0, len(toolset), _BATCH):
            catalogue.put(toolset[start : start + _BATCH])
            advance(len(toolset[start : start + _BATCH]))
        catalogue.remove([tool_id for tool_id in catalogue.now.living if tool_id not in toolset.positions])
        catalogue.close()
    else:
        vectors = embed([embedded_text(tool) for tool in toolset], encoder, {}, advance=advance)
        create(location, toolset, vectors, encoder)
    location.write(folder)


def _base(tools: Sequence[Tool], vectors: NDArray[np.float16]) -> ToolIndex:
    words = LexicalIndex.build([lexical_text(tool) for tool in tools])
    return ToolIndex(Columns.of(tools), tools, words, DenseIndex(vectors), Providers(tools))
