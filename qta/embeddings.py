"""Embed many texts without ever embedding one twice: known vectors are reused, finished work survives a kill."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Tool
from qta.encoder import Encoder
from qta.languages import read_in_english

_HASH_BYTES = 16
CHECKPOINT_SUFFIX = ".vectors"
_CHUNK = 256  # texts between two writes: about a second of work is lost at most


def embedded_text(tool: Tool) -> str:
    """Return what is embedded of a tool: its name as words and its description, read in English."""
    text = tool.default_text()
    return read_in_english(text) or text


def text_hashes(texts: Sequence[str]) -> list[bytes]:
    """Return what vectors are known by."""
    return [hashlib.sha256(text.encode()).digest()[:_HASH_BYTES] for text in texts]


class Checkpoint:
    """Append finished vectors to a file of fixed-size records, from which an interrupted build continues."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        """Open the folder's checkpoint for this encoder; a torn last record is cut off."""
        self._path = folder / f"{encoder.identity}{CHECKPOINT_SUFFIX}"
        self._record = np.dtype([("hash", np.void, _HASH_BYTES), ("vector", np.float32, encoder.manifest.dimension)])

    def read(self) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors that are there, by text hash."""
        if not self._path.exists():
            return {}
        whole = self._path.stat().st_size // self._record.itemsize
        with self._path.open("r+b") as file:
            file.truncate(whole * self._record.itemsize)
        records = np.fromfile(self._path, self._record)
        return {record["hash"].tobytes(): record["vector"] for record in records}

    def append(self, hashes: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Add finished vectors."""
        records = np.empty(len(hashes), self._record)
        records["hash"] = [np.void(digest) for digest in hashes]
        records["vector"] = vectors
        with self._path.open("ab") as file:
            file.write(records.tobytes())


def embed(
    texts: Sequence[str],
    encoder: Encoder,
    known: Mapping[bytes, NDArray[np.float32]],
    checkpoint: Checkpoint | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Return one vector a text, embedding only what is neither known nor in the checkpoint."""
    vectors = dict(known) | (checkpoint.read() if checkpoint else {})
    hashes = text_hashes(texts)
    missing = {digest: text for digest, text in zip(hashes, texts, strict=True) if digest not in vectors}
    advance(len(texts) - len(missing))
    todo = list(missing.items())
    for start in range(0, len(todo), _CHUNK):
        chunk = todo[start : start + _CHUNK]
        fresh = encoder.encode([text for _, text in chunk], advance)
        digests = [digest for digest, _ in chunk]
        if checkpoint:
            checkpoint.append(digests, fresh)
        vectors.update(zip(digests, fresh, strict=True))
    if not texts:
        return np.empty((0, encoder.manifest.dimension), np.float32)
    return np.stack([vectors[digest] for digest in hashes])
