"""Twins: tools that say the same, or nearly, and so compete for the same request."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mtrb.identifiers import split_identifier
from mtrb.types import Tool

_PERMUTATIONS = 128
_BANDS = 32  # with 4 rows a band a pair of similarity 0.8 is found with probability 0.9999999
_SHINGLE = 3
_MOST_CANDIDATES = 200  # of one tool, so that thousands of copies do not make millions of pairs


@dataclass(frozen=True)
class Twins:
    """Report groups of equal tools and pairs of similar ones, by tool id."""

    exact: list[list[str]]
    near: list[tuple[str, str, float]]

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON."""
        near = [{"tools": [a, b], "similarity": round(similarity, 3)} for a, b, similarity in self.near]
        return {"exact": self.exact, "near": near}


def find_twins(tools: Sequence[Tool], threshold: float = 0.8) -> Twins:
    """Find tools with equal text, and pairs whose word shingles overlap by at least `threshold` (Jaccard).

    Candidates come from MinHash LSH (Broder 1997), at most 200 for a tool; the similarity in the report is
    exact. Groups of equal tools take part as one, so that a report does not repeat itself.
    """
    from rensa import RMinHash, RMinHashLSH

    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for tool in tools:
        groups[tuple(_words(tool))].append(tool.tool_id)
    exact = [group for group in groups.values() if len(group) > 1]
    shingles = [_shingles(words) for words in groups]
    first = [group[0] for group in groups.values()]

    index = RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)
    near: list[tuple[str, str, float]] = []
    for key, own in enumerate(shingles):
        minhash = RMinHash(num_perm=_PERMUTATIONS, seed=1)
        minhash.update([" ".join(shingle) for shingle in own])
        for other in index.query(minhash)[:_MOST_CANDIDATES]:
            similarity = len(own & shingles[other]) / len(own | shingles[other])
            if similarity >= threshold:
                near.append((first[other], first[key], similarity))
        index.insert(key, minhash)
    return Twins(exact, sorted(near, key=lambda pair: (-pair[2], pair[0], pair[1])))


def _words(tool: Tool) -> list[str]:
    text = unicodedata.normalize("NFKC", tool.default_text())
    return [word.casefold() for word in split_identifier(text)]


def _shingles(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {words[start : start + _SHINGLE] for start in range(max(1, len(words) - _SHINGLE + 1))}
