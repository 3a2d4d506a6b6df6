"""The sentence encoder: all-MiniLM-L6-v2 in ONNX Runtime, one text at a time.

Texts are never padded into a batch: the vector of a text then depends on that text alone, bit for bit, whoever
asks at the same moment. Parallelism comes from threads, as ONNX Runtime works outside Python's lock.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtrb.errors import ArtefactError

_UNKNOWN = 100  # [UNK]

WEIGHTS = Path(str(resources.files("qta") / "weights"))


@dataclass(frozen=True)
class EncoderManifest:
    """Describe an encoder folder: `encoder.json` beside the ONNX file and the tokenizer."""

    name: str
    dimension: int
    max_tokens: int
    sha256: dict[str, str]


class Encoded(NamedTuple):
    """The vector of a text, whether the text was longer than is read, and the share of its tokens that are known."""

    vector: NDArray[np.float32]
    truncated: bool
    known: float


class Encoder:
    """Turn texts into unit vectors of `dimension` floats."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        """Open an encoder folder and check its files by hash.

        Raises:
            ArtefactError: a file is absent or altered.
        """
        self.folder = folder
        try:
            self.manifest = EncoderManifest(**json.loads((folder / "encoder.json").read_text("utf-8")))
            found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in self.manifest.sha256}
        except (OSError, ValueError, TypeError) as error:
            raise ArtefactError(f"{folder}: no usable encoder: {error}") from None
        for name, expected in self.manifest.sha256.items():
            if found[name] != expected:
                raise ArtefactError(f"{folder / name}: altered: sha256 {found[name]}, expected {expected}; restore it")

    @property
    def identity(self) -> str:
        """Return what tells this encoder from others: its name and the hash of its weights."""
        return f"{self.manifest.name}@{self.manifest.sha256['encoder.onnx'][:16]}"

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.manifest.max_tokens)
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = str(self.folder / "encoder.onnx")
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def warm_up(self) -> None:
        """Load tokenizer and session now rather than at the first request."""
        self.encode_one("warm up")

    def encode_one(self, text: str) -> Encoded:
        """Return the vector of a text, and how it was read."""
        encoding = self._tokenizer.encode(text)
        ids = np.array([encoding.ids], np.int64)
        vector = self._session.run(None, {"input_ids": ids})[0][0]
        words = len(encoding.ids) - 2  # without the tokens around the text
        known = 1 - encoding.ids.count(_UNKNOWN) / words if words else 0.0
        return Encoded(vector, bool(encoding.overflowing), known)

    def encode(self, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> NDArray[np.float32]:
        """Return the vectors of texts, one a row, on all cores; `advance` is told of each text done."""
        self.warm_up()  # before threads could do so twice
        vectors = np.empty((len(texts), self.manifest.dimension), np.float32)

        def encode_into(row: int) -> None:
            vectors[row] = self.encode_one(texts[row]).vector

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(encode_into, range(len(texts))):
                advance(1)
        return vectors
