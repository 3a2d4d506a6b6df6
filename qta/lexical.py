"""The lexical index: BM25 over name, description, parameters and tags of each tool."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from bm25s import BM25
from numpy.typing import NDArray

from mtrb.errors import ArtefactError
from mtrb.types import Tool
from qta.languages import read_in_english
from qta.tokens import tokenize

_STATISTICS = "lexical.json"
FILES = (
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "vocab.index.json",
    "params.index.json",
    _STATISTICS,
)

_K1, _B = 1.5, 0.75


def lexical_text(tool: Tool) -> str:
    """Return what the lexical index reads of a tool: all its words, and their English reading in another language."""
    english = read_in_english(tool.default_text())
    return "\n".join((tool.full_text(), *([english] if english else []), *tool.tags))


class LexicalIndex:
    """Score all tools for a text by the sum over its words (OR semantics), bm25s's eager sparse scoring.

    The formula is Lucene's BM25 with k1 = 1.5 and b = 0.75. It differs from rank-bm25's Okapi only in its idf,
    log(1 + (N - n + 0.5) / (n + 0.5)), which stays positive for words that most tools share.
    """

    def __init__(self, bm25: BM25, average: float) -> None:
        """Take a filled index, and how many tokens its texts have on average."""
        self._bm25 = bm25
        self._average = average
        self._vocabulary: dict[str, int] = bm25.vocab_dict

    @classmethod
    def build(cls, texts: Sequence[str], tokens: Callable[[str], list[str]] = tokenize) -> Self:
        """Index one text a tool, in catalogue order."""
        vocabulary: dict[str, int] = {"": 0}  # so that a tool without a word still has a row
        rows = [[vocabulary.setdefault(token, len(vocabulary)) for token in tokens(text)] or [0] for text in texts]
        bm25 = BM25(method="lucene", k1=_K1, b=_B)
        bm25.index((rows, vocabulary), show_progress=False)
        return cls(bm25, sum(map(len, rows)) / max(1, len(rows)))

    def scores(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """Return each tool's score for query tokens; unknown tokens count nothing."""
        ids = [self._vocabulary[token] for token in tokens if token in self._vocabulary]
        if not ids:
            return np.zeros(self._bm25.scores["num_docs"], np.float32)
        scores: NDArray[np.float32] = self._bm25.get_scores_from_ids(ids)
        return scores

    def idf(self, token: str, more: int = 0) -> float:
        """Return what a token's occurrence counts, with so many texts beside those of the index that hold it."""
        texts: int = self._bm25.scores["num_docs"]
        number = self._vocabulary.get(token)
        holding = more
        if number is not None:
            start, end = self._bm25.scores["indptr"][number : number + 2]
            holding = max(more, int(end - start))
        return math.log1p((max(texts, holding) - holding + 0.5) / (holding + 0.5))

    def norm(self, tokens: int) -> float:
        """Return what the frequency of a token is set against in a text of so many tokens."""
        return _K1 * (1 - _B + _B * tokens / max(self._average, 1e-9))

    def save(self, folder: Path) -> None:
        """Write the index into a folder, as `FILES`."""
        self._bm25.save(folder, show_progress=False)
        (folder / _STATISTICS).write_text(json.dumps({"average": self._average}), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a saved index, its arrays memory-mapped.

        Raises:
            ArtefactError: a file is absent or unreadable.
        """
        try:
            bm25 = BM25.load(folder, mmap=True)
            for name in ("data", "indices", "indptr"):
                bm25.scores[name] = np.asarray(bm25.scores[name])  # still mapped, without memmap's slow slicing
            return cls(bm25, float(json.loads((folder / _STATISTICS).read_text("utf-8"))["average"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder}: the lexical index cannot be read: {error}") from None
