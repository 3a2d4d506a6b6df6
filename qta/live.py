"""The living catalogue: read, put and remove tools of an index folder while any number of processes serve it."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mtrb.errors import QTAError
from mtrb.types import Tool, Toolset
from qta.changes import Change, ChangeLog, ids_since
from qta.embeddings import embedded_text, text_hashes
from qta.encoder import Encoder
from qta.index import MANIFEST, ToolIndex, build_index, load_index, read_manifest
from qta.overlay import Overlay
from qta.store import ToolStore

Vector = NDArray[np.float32]

logger = logging.getLogger(__name__)

MERGE_AT = 500
"""So many changes and they are merged into the index, in the background."""

_PATIENCE = 1.0  # seconds until what could not be read is looked at again
_MERGE_PAUSE = 60.0  # seconds until a merge that failed is tried again
_MERGE_LOCK = ".merge.lock"


@dataclass(frozen=True)
class Written:
    """What a write did: how many tools it put anew, replaced, found unchanged, removed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


class LiveCatalogue:
    """Serve one index folder's tools as they are now; safe to share between threads."""

    def __init__(self, folder: Path, encoder: Encoder, merge_at: int = MERGE_AT) -> None:
        """Open an index folder.

        Raises:
            ArtefactError: there is none, it is damaged or does not fit, or its log cannot be opened.
        """
        manifest = read_manifest(folder)  # before a log is begun in a folder that holds something else
        self.folder = folder
        self._manifest = folder / MANIFEST
        self._encoder = encoder
        self._merge_at = merge_at
        self._lock = threading.RLock()
        self._log = ChangeLog(folder, manifest.revision)
        self._read_from = self._log.file
        self._changes: dict[str, Change] = {}
        self._merging: threading.Thread | None = None
        self._loading: threading.Thread | None = None
        self._load_lock = threading.Lock()
        self._stamps = self._seen()
        self.trouble: str | None = None
        self._look_again = self._merge_again = 0.0
        self._base = load_index(folder, encoder)
        self._overlay = Overlay.of(self._base, [], self._base.revision)
        self._refresh()

    @property
    def now(self) -> Overlay:
        """Return the tools as they are now; what another process has changed is noticed here.

        Where that cannot be read, the tools stay as they were, and `trouble` says why.
        """
        if time.monotonic() >= self._look_again:
            self._look()
        return self._overlay

    def put(self, tools: Sequence[Tool]) -> Written:
        """Add or replace tools; only those whose text has changed are embedded.

        Raises:
            InputError: two of the tools share an id.
            ArtefactError: the change cannot be written; nothing has changed.
        """
        Toolset(tools)  # which refuses two of one id
        now = self._latest()
        places = [now.position(tool.tool_id) for tool in tools]
        before = [None if at is None else now.tools[at] for at in places]
        new = [(tool, old) for tool, old in zip(tools, before, strict=True) if tool != old]
        if new:
            vectors = [self._vector(now, tool, old) for tool, old in new]
            self._log.put([tool for tool, _ in new], np.stack(vectors))
            self._after_write()
        added = sum(old is None for _, old in new)
        return Written(added, len(new) - added, len(tools) - len(new))

    def remove(self, tool_ids: Iterable[str]) -> Written:
        """Remove tools; ids that there are not are passed over.

        Raises:
            ArtefactError: the change cannot be written; nothing has changed.
        """
        now = self._latest()
        known = [tool_id for tool_id in dict.fromkeys(tool_ids) if now.position(tool_id) is not None]
        if known:
            self._log.remove(known)
            self._after_write()
        return Written(removed=len(known))

    def merge(self) -> bool:
        """Build the changes into the index, beside the one that is served, and swap; return whether that was done.

        One process does it at a time; the others go on with what they have until it is done.
        """
        try:
            with FileLock(self.folder / _MERGE_LOCK, timeout=0):
                self._load()
                overlay = self.now
                tools = overlay.toolset()
                if not len(tools) or overlay.revision == overlay.base.revision:
                    return False  # an index has at least one tool; that there is none, the log says
                build_index(
                    tools,
                    self.folder,
                    self._encoder,
                    revision=overlay.revision,
                    known=_added_vectors(overlay),
                    replaces=overlay.base.manifest,
                )
                # What is in the index that was served until now; the rest is kept for those who still have that one.
                self._log.forget(overlay.base.revision)
        except Timeout:
            return False
        self._load()
        return True

    def settle(self) -> None:
        """Wait for the merge that this process has begun, or do one that is due: what a program does before it ends."""
        if self._merging:
            self._merging.join()
        if self._is_merge_due():
            self._merge_quietly()

    def _seen(self) -> tuple[int, int | None, int]:
        """Return what changes when the log or the index does."""
        stamp, file = self._log.stamp(), self._log.file
        try:
            return stamp, file, self._manifest.stat().st_mtime_ns
        except FileNotFoundError:
            return stamp, file, 0

    def _latest(self) -> Overlay:
        """Return the tools as they are, for a write: what others changed a moment ago must not pass for unchanged."""
        self._look()
        return self._overlay

    def _look(self) -> None:
        """Read what has changed; where that fails, keep what there is."""
        if self.trouble:
            self._look_again = time.monotonic() + _PATIENCE
        try:
            if self.trouble or self._seen() != self._stamps:
                self._refresh()
        except (QTAError, OSError) as error:
            self._note_trouble(error)

    def _note_trouble(self, error: Exception) -> None:
        if self.trouble is None:
            logger.error("what has changed cannot be read, the tools stay as they were: %s", error)
        self.trouble = str(error)
        self._look_again = time.monotonic() + _PATIENCE

    def _after_write(self) -> None:
        self._look()
        if self._is_merge_due():
            self._merging = threading.Thread(target=self._merge_quietly, name="merge", daemon=True)
            self._merging.start()

    def _refresh(self) -> None:
        """Put what has changed on top; a new index is opened in the background, which takes seconds."""
        stamps = self._seen()
        try:
            if read_manifest(self.folder) != self._base.manifest:
                self._begin_to_load()
            else:
                self.trouble = None
        finally:  # changes are seen over the index that there is, also where a new one cannot be read
            self._put_on_top()
        self._stamps = stamps

    def _put_on_top(self, base: ToolIndex | None = None) -> None:
        """Put the changes on top of the index that is served, or of one that is to be served from now on."""
        with self._lock:
            if base is not None:
                self._base, self._changes = base, {}
                self._log.come_after(base.revision)
            self._put_changes()

    def _put_changes(self) -> None:
        if self._read_from != self._log.file:  # another log: what only the one before held is no more
            self._read_from, self._changes = self._log.file, {}
        known = max((change.revision for change in self._changes.values()), default=self._base.revision)
        for change in self._log.since(known):
            self._changes[change.tool_id] = change
            known = max(known, change.revision)
        self._overlay = Overlay.of(self._base, list(self._changes.values()), known)

    def _begin_to_load(self) -> None:
        """Open the new index beside the one that is served, or at once where the log no longer has what is between."""
        if self._log.forgotten > self._overlay.revision:
            self._load()
        elif not self._is_loading():
            self._loading = threading.Thread(target=self._load_quietly, name="load", daemon=True)
            self._loading.start()

    def _is_loading(self) -> bool:
        return self._loading is not None and self._loading.is_alive()

    def _load(self) -> None:
        """Serve the index that is in the folder.

        Raises:
            ArtefactError: it cannot be read.
        """
        with self._load_lock:
            while read_manifest(self.folder) != self._base.manifest:
                base = load_index(self.folder, self._encoder)
                _ = base.positions, base.finder  # made here, so that no request waits for them
                self._put_on_top(base)
                self.trouble = None

    def _load_quietly(self) -> None:
        try:
            self._load()
        except (QTAError, OSError) as error:
            self._note_trouble(error)

    def _vector(self, now: Overlay, tool: Tool, old: Tool | None) -> Vector:
        """Return a tool's vector, the old one where its text is the same."""
        text = embedded_text(tool)
        position = now.position(tool.tool_id)
        if old is not None and position is not None and embedded_text(old) == text:
            return now.dense.vector(position)
        return self._encoder.encode_one(text).vector

    def _is_merge_due(self) -> bool:
        """Tell whether there is enough to merge and nobody does it."""
        busy = self._merging is not None and self._merging.is_alive()
        if busy or len(self._changes) < self._merge_at or time.monotonic() < self._merge_again:
            return False
        try:
            with FileLock(self.folder / _MERGE_LOCK, timeout=0):
                return True
        except (Timeout, OSError):
            return False

    def _merge_quietly(self) -> None:
        """Merge in a process of its own, which takes no time from the requests of this one."""
        command = [sys.executable, "-m", "qta", "tools", "merge", "--background", "--index", str(self.folder)]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
            self._load()
        except (QTAError, OSError, subprocess.CalledProcessError) as error:
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
            logger.error("changes could not be merged, and stay where they are: %s", reason)
            self._merge_again = time.monotonic() + _MERGE_PAUSE


def ids_there(folder: Path) -> set[str]:
    """Return the ids of the tools that an index folder has, of whatever version; none where they cannot be read."""
    try:
        manifest = read_manifest(folder)
        last = ids_since(folder, manifest.revision)
        ids = ToolStore(folder / manifest.build).columns.ids
    except (QTAError, OSError, ValueError, TypeError):
        return set()
    return {tool_id for tool_id in {*ids, *last} if last.get(tool_id, True)}


def _added_vectors(overlay: Overlay) -> dict[bytes, Vector]:
    """Return the vectors of put tools, by text hash."""
    positions = range(len(overlay.base.ids), len(overlay.ids))
    hashes = text_hashes([embedded_text(overlay.tools[at]) for at in positions])
    return {digest: overlay.dense.vector(at) for digest, at in zip(hashes, positions, strict=True)}
