"""A living catalogue over a Milvus collection: what `LiveCatalogue` is over a folder.

Each process keeps the words, names and half-precision vectors of the tools beside it, made at opening and brought up
to date from the collection; the nearest tools are searched for in Milvus.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from mtrb.types import Tool, Toolset
from qta.changes import Change
from qta.completion import Providers
from qta.dense import DenseIndex, nearest_of
from qta.embeddings import embed, embedded_text
from qta.encoder import Encoder
from qta.index import Advance, ToolIndex
from qta.lexical import LexicalIndex, lexical_text
from qta.live import MERGE_AT, Written
from qta.milvus import COLLECTION, MOST_HITS, MilvusStore, create, now_us
from qta.overlay import Overlay, OverlayDense
from qta.store import Columns

LOOK_EVERY = 0.5
"""Seconds after which a process looks for what others have changed, when it is asked something."""

_LOOK_BACK = 5_000_000  # microseconds that the clocks of two writers may differ
_FEW = 4000  # tools that a filter leaves, which are sooner all looked at than searched


class SharedDense(OverlayDense):
    """Search in Milvus; cosines of given tools come from the vectors kept here."""

    kind: str

    def over(self, store: MilvusStore, now: Overlay) -> "SharedDense":
        """Say which collection is searched, and how ids become positions."""
        self._store, self._position, self.kind = store, now.position, "milvus"
        return self

    def search(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        if allowed is not None and np.count_nonzero(allowed) <= _FEW < len(allowed):
            return nearest_of(self.cosines, vector, n, np.flatnonzero(allowed))
        limit = n
        while True:
            hits = self._store.nearest(vector, limit)
            # A tool that came or went since this view of the catalogue was taken is in the next one.
            known = [(at, cosine) for tool_id, cosine in hits if (at := self._position(tool_id)) is not None]
            kept = [(at, cosine) for at, cosine in known if allowed is None or allowed[at]][:n]
            if len(kept) == n or len(hits) < limit:
                return np.array([at for at, _ in kept], np.int64), np.array([one for _, one in kept], np.float32)
            if limit == MOST_HITS:
                return super().search(vector, n, allowed)
            limit = min(4 * limit, MOST_HITS)


class SharedCatalogue:
    """Serve one collection's tools as they are now; safe to share between threads."""

    def __init__(
        self,
        uri: str,
        encoder: Encoder,
        collection: str = COLLECTION,
        token: str = "",
        merge_at: int = MERGE_AT,
        folder: Path | None = None,
    ) -> None:
        """Open a collection, which `SharedCatalogue.create` made; its feedback and calibration are in the folder.

        Raises:
            StorageError: Milvus cannot be reached.
            ArtefactError: there is no such collection, or it was made with another encoder or format.
        """
        self.folder = folder or platformdirs.user_data_path("qta") / collection
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trouble: str | None = None  # a Milvus that cannot be asked is an error at once
        self._encoder, self._merge_at = encoder, merge_at
        self._lock = threading.RLock()
        self._store = MilvusStore(uri, encoder, collection, token)
        self._merging: threading.Thread | None = None
        self._looked, self._looked_us = time.monotonic(), now_us()
        rows = self._store.all()
        self._known = {tool.tool_id: revision for tool, _, revision, _ in rows}
        self._base = _base([tool for tool, *_ in rows], np.array([vector for _, vector, *_ in rows], np.float16))
        self._changes = {
            tool.tool_id: Change(tool.tool_id, revision, None, None) for tool, _, revision, alive in rows if not alive
        }
        self._apply([])

    @classmethod
    def create(
        cls,
        uri: str,
        toolset: Toolset,
        encoder: Encoder,
        collection: str = COLLECTION,
        token: str = "",
        advance: Advance = lambda _: None,
    ) -> "SharedCatalogue":
        """Embed tools, make a collection of them and open it.

        Raises:
            InputError: there are no tools, one is too large, or there is a collection of that name.
            StorageError: Milvus cannot be reached.
        """
        vectors = embed([embedded_text(tool) for tool in toolset], encoder, {}, advance=advance)
        create(uri, toolset, vectors, encoder, collection, token)
        return cls(uri, encoder, collection, token)

    @property
    def now(self) -> Overlay:
        """Return the tools as they are now; what another process has changed is noticed here.

        Raises:
            StorageError: Milvus cannot be reached.
        """
        if time.monotonic() - self._looked > LOOK_EVERY:
            with self._lock:
                if time.monotonic() - self._looked > LOOK_EVERY:
                    self._refresh()
        return self._overlay

    def put(self, tools: Sequence[Tool]) -> Written:
        """Add or replace tools; only those whose text has changed are embedded.

        Raises:
            InputError: two of the tools share an id, or one is too large for Milvus.
            StorageError: Milvus does not take the change.
        """
        Toolset(tools)  # which refuses two of one id
        with self._lock:
            now = self.now
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
            StorageError: Milvus does not take the change.
        """
        with self._lock:
            now = self.now
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
        self.settle()
        self._store.close()

    def _refresh(self) -> None:
        """Take over what was changed since the last look, by whomever."""
        looked, looked_us = time.monotonic(), now_us()
        revisions = self._store.revisions(self._looked_us - _LOOK_BACK)
        new = [tool_id for tool_id, revision in revisions.items() if self._known.get(tool_id) != revision]
        if new:
            self._apply(self._store.changes(new))
        self._looked, self._looked_us = looked, looked_us

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._changes[change.tool_id] = change
            self._known[change.tool_id] = change.revision
        now = Overlay.of(self._base, list(self._changes.values()), max(self._known.values()))
        vectors = [change.vector for change in self._changes.values() if change.vector is not None]
        added = np.array(vectors, np.float16).reshape(len(vectors), self._base.dense.vectors.shape[1])
        dense = SharedDense(self._base.dense, added)
        self._overlay = replace(now, dense=dense)
        dense.over(self._store, self._overlay)
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
            self._base = base
            self._changes = {key: change for key, change in self._changes.items() if merged.get(key) is not change}
            self._apply([])

    def _at(self, now: Overlay, tool_id: str) -> tuple[Tool, NDArray[np.float32]] | None:
        at = now.position(tool_id)
        return None if at is None else (now.tools[at], now.dense.vector(at))

    def _vector(self, tool: Tool, old: tuple[Tool, NDArray[np.float32]] | None) -> NDArray[np.float32]:
        """Return a tool's vector, the old one where its text is the same."""
        text = embedded_text(tool)
        if old is not None and embedded_text(old[0]) == text:
            return old[1]
        return self._encoder.encode_one(text).vector


def _base(tools: Sequence[Tool], vectors: NDArray[np.float16]) -> ToolIndex:
    words = LexicalIndex.build([lexical_text(tool) for tool in tools])
    return ToolIndex(Columns.of(tools), tools, words, DenseIndex(vectors), Providers(tools))
