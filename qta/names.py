"""Exact names: a request that spells out a tool's id or name is asking for that tool."""

from collections import defaultdict
from collections.abc import Sequence

import regex

from mtrb.identifiers import split_identifier
from qta.lexical import LexicalIndex
from qta.tokens import tokenize

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+|[^\p{L}\p{M}\p{N}_\s]")
_LONGEST = 64  # words and signs in a name; longer ones are not looked for


class NameIndex:
    """Find tools by ids and names inside a text, ignoring case, the longest match first.

    A name that is one plain word ("weather") counts only when no other tool's text holds that word: otherwise the
    request is more likely to use the word than to mean the name.
    """

    def __init__(self, ids: Sequence[str], names: Sequence[str], lexical: LexicalIndex) -> None:
        """Index ids and names in catalogue order."""
        positions: dict[str, list[int]] = defaultdict(list)
        plain: set[str] = set()
        for position, (tool_id, name) in enumerate(zip(ids, names, strict=True)):
            for spelling in {tool_id, name}:
                key = _normal(spelling)
                if positions[key][-1:] != [position]:
                    positions[key].append(position)
                if len(split_identifier(spelling)) < 2:
                    plain.add(key)
        self._positions = {
            key: found for key, found in positions.items() if key not in plain or _is_rare(key, len(found), lexical)
        }
        self._lengths: dict[str, set[int]] = defaultdict(set)
        for key in self._positions:
            words = _WORD.findall(key)
            if len(words) <= _LONGEST:
                self._lengths[words[0]].add(len(words))

    def find(self, text: str) -> list[list[int]]:
        """Return the tools of each name in the text, in the order of the text; an ambiguous name has several."""
        spans = [(match[0].casefold(), match.start(), match.end()) for match in _WORD.finditer(text)]
        found: list[list[int]] = []
        start = 0
        while start < len(spans):
            word, begin, _ = spans[start]
            step = 1
            for length in sorted(self._lengths.get(word, ()), reverse=True):
                if start + length <= len(spans):
                    positions = self._positions.get(_normal(text[begin : spans[start + length - 1][2]]))
                    if positions:
                        found.append(positions)
                        step = length
                        break
            start += step
        return found


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_rare(key: str, tools: int, lexical: LexicalIndex) -> bool:
    tokens = tokenize(key)
    named = bool(tokens) and not key.isnumeric()
    return named and lexical.document_frequency(tokens[0]) <= tools
