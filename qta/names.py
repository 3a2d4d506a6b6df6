"""Exact names: a request that spells out a tool's id or name is asking for that tool."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from mtrb.identifiers import split_identifier

# A run of letters of one script, or one sign: Chinese, Japanese and Korean leave no blank after a name.
_WORD = regex.compile(
    r"[\p{Han}々]+|\p{Hiragana}+|[\p{Katakana}ー]+|\p{Hangul}+"
    r"|[[\p{L}\p{M}\p{N}_]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー々]]+|[^\p{L}\p{M}\p{N}_\s]",
    regex.V1,
)
_LONGEST = 64  # words and signs in a name; longer ones are not looked for
_IDENTIFIER = regex.compile(r"\w[_.:#-]+\w|[/{}]")
# Ordinary words with a hyphen: e-mail, t-shirt; follow-up, check-in.
_ORDINARY = regex.compile(r"\w-\w+|\w+-(?:by|down|in|off|on|out|over|through|up)", regex.IGNORECASE)
_QUOTES = frozenset("\"'`“”‘’«»「」『』")  # noqa: RUF001
_CALLED = frozenset(("tool", "function", "plugin", "ツール", "工具"))


class _Entry(NamedTuple):
    position: int
    spelling: str


class _Mention(NamedTuple):
    """A stretch of a request, and whether the request marks it as a name."""

    text: str
    marked: bool


class NameIndex:
    """Find tools by ids and names inside a text, the longest match first.

    An identifier (`send_message`, `GET /movie`) counts in any case, a name that only capitals divide (`TagResource`)
    as it is spelled. Ordinary words ("weather", "Movie Recommendation") count where the request marks them as a name:
    in quotes, before a bracket, beside a word like "tool", or as all there is. On the public validation halves such
    words, unmarked, were right in 12 of 94 places, identifiers and exact capitals in 27 of 28.
    """

    def __init__(self, ids: Sequence[str], names: Sequence[str]) -> None:
        """Index ids and names in catalogue order."""
        self._entries: dict[str, list[_Entry]] = defaultdict(list)
        self._lengths: dict[str, set[int]] = defaultdict(set)
        for position, spellings in enumerate(zip(ids, names, strict=True)):
            for spelling in dict.fromkeys(spellings):
                words = _WORD.findall(_normal(spelling))
                if 0 < len(words) <= _LONGEST:
                    self._entries[_normal(spelling)].append(_Entry(position, spelling))
                    self._lengths[words[0]].add(len(words))

    def find(self, text: str, allowed: NDArray[np.bool_] | None = None) -> list[list[int]]:
        """Return the tools of each name in the text, in the order of the text; an ambiguous name has several.

        A tool that is not allowed has no name: its longer name does not hide the shorter one of another tool.
        """
        return find_names(text, [(self, 0)], allowed)

    def lengths(self, word: str) -> set[int]:
        """Return how many words those names have that begin with a word."""
        return self._lengths.get(word, set())

    def named(self, mention: _Mention) -> Iterator[int]:
        """Yield the tools that a stretch of a request names."""
        for entry in self._entries.get(_normal(mention.text), ()):
            if mention.marked or _is_identifier(entry.spelling, mention.text):
                yield entry.position


def find_names(
    text: str, indexes: Sequence[tuple[NameIndex, int]], allowed: NDArray[np.bool_] | None = None
) -> list[list[int]]:
    """Find names as `NameIndex.find` does, in several indexes at once, each with where its first tool stands."""
    words = list(_WORD.finditer(text))
    found: list[list[int]] = []
    start = 0
    while start < len(words):
        step, first = 1, words[start][0].casefold()
        for length in sorted({one for index, _ in indexes for one in index.lengths(first)}, reverse=True):
            mention = _mention(text, words, start, length)
            mentioned = (at + offset for index, offset in indexes for at in index.named(mention))
            positions = [at for at in mentioned if allowed is None or allowed[at]]
            if positions:
                found.append(positions)
                step = length
                break
        start += step
    return found


def _is_identifier(spelling: str, mentioned: str) -> bool:
    """Tell whether a name is one wherever it stands: by the signs in it, or by capitals where it is spelled so."""
    if _ORDINARY.fullmatch(spelling):
        return False
    divided = len(split_identifier(spelling)) > 1 and " " not in mentioned
    return bool(_IDENTIFIER.search(spelling)) or (divided and spelling == mentioned)


def _mention(text: str, words: "Sequence[regex.Match[str]]", start: int, length: int) -> _Mention:
    end = min(start + length, len(words))
    before = words[start - 1][0].casefold() if start else ""
    after = words[end][0].casefold() if end < len(words) else ""
    marked = (
        (before in _QUOTES and after in _QUOTES and before != "")
        or (after == "(" and words[end].start() == words[end - 1].end())  # a call; prose leaves a blank
        or before in _CALLED
        or after in _CALLED
        or not (before or after)
    )
    return _Mention(text[words[start].start() : words[end - 1].end()], marked)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
