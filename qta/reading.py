"""What is made of a request before any tool is looked at: its English reading, its clauses, and their vectors."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qta.encoder import Encoded
from qta.languages import read_in_english
from qta.steps import split_clauses
from qta.tokens import tokenize

Vector = NDArray[np.float32]

_KNOWN = 0.4  # of the tokens; texts with fewer known ones have nearly the same vector, whatever they say


class TextEncoder(Protocol):
    """Give texts their vectors, of length 1."""

    def encode_one(self, text: str) -> Encoded:
        """Return the vector of a text, and how it was read."""
        ...


@dataclass(frozen=True)
class Part:
    """A clause of a request, or a step of its rewrite."""

    text: str
    vector: Vector


@dataclass(frozen=True)
class Reading:
    """A request as retrieval sees it.

    Attributes:
        text: the request.
        english: it, word by word in English, where it is in another language.
        vector: of the English; zero where the encoder knows hardly a word, so that it takes no part in the ranking.
        truncated: the encoder did not read it to its end.
        understood: the encoder knows its words.
        clauses: of the English, where there are several.
        steps: of its rewrite, where there is one.
    """

    text: str
    english: str | None
    vector: Vector
    truncated: bool
    understood: bool = True
    clauses: tuple[Part, ...] = ()
    steps: tuple[Part, ...] = ()

    @property
    def tokens(self) -> list[str]:
        """Return the words of the request as it is, and of its English reading."""
        return tokenize(self.text) + (tokenize(self.english) if self.english else [])


@dataclass(frozen=True)
class Reader:
    """Read requests; with `clauses`, each clause gets a vector of its own."""

    encoder: TextEncoder
    clauses: bool = True

    def read(self, text: str) -> Reading:
        """Return what retrieval needs of a request."""
        english = read_in_english(text)
        encoded = self.encoder.encode_one(english or text)
        understood = encoded.known >= _KNOWN
        vector = encoded.vector if understood else np.zeros_like(encoded.vector)
        clauses = self._parts(split_clauses(english or text)) if self.clauses and understood else ()
        return Reading(text, english, vector, encoded.truncated, understood, clauses)

    def with_steps(self, reading: Reading, steps: Sequence[str]) -> Reading:
        """Return a reading with the steps of a rewrite."""
        return replace(reading, steps=self._parts(steps))

    def read_all(self, texts: Sequence[str]) -> list[Reading]:
        """Read many requests, on all cores."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.read, texts))

    def _parts(self, texts: Sequence[str]) -> tuple[Part, ...]:
        return tuple(Part(text, self.encoder.encode_one(text).vector) for text in texts)
