"""An index with changes on top: the parts that a retriever asks, each answering for both.

Positions of the built index stay what they are; put tools follow behind. What was removed or replaced keeps its place
and is masked, see `alive`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Tool, Toolset
from qta.changes import Change
from qta.completion import Provider, Providers
from qta.dense import DenseIndex
from qta.index import ToolIndex
from qta.lexical import LexicalIndex
from qta.names import NameIndex, find_names
from qta.store import Columns

Scores = NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Overlay:
    """A built index and the tools that were put since, in one."""

    base: ToolIndex
    added: Columns
    tools: Sequence[Tool]
    lexical: "OverlayLexical"
    dense: "OverlayDense"
    providers: "OverlayProviders"
    finder: "OverlayNames"
    alive: NDArray[np.bool_]
    revision: int

    @classmethod
    def of(cls, base: ToolIndex, changes: Sequence[Change], revision: int) -> "Overlay":
        """Put changes, each tool's last, on top of an index."""
        put = [change for change in changes if change.tool is not None]
        added = [change.tool for change in put if change.tool is not None]
        vectors = np.array([change.vector for change in put], np.float16).reshape(len(put), base.dense.vectors.shape[1])
        alive = np.ones(len(base.ids) + len(added), np.bool_)
        for change in changes:
            position = base.positions.get(change.tool_id)
            if position is not None:
                alive[position] = False
        first, columns = len(base.ids), Columns.of(added)
        providers = Providers()
        for position, (tool, change) in enumerate(zip(added, put, strict=True), start=first):
            providers.add(position, tool, change.things)
        return cls(
            base,
            columns,
            Joined(base.tools, added),
            OverlayLexical(base.lexical, [change.words for change in put]),
            OverlayDense(base.dense, vectors),
            OverlayProviders(base.providers, providers),
            OverlayNames(base.finder, NameIndex(columns.ids, columns.names), first),
            alive,
            revision,
        )

    @cached_property
    def ids(self) -> Sequence[str]:
        """Return all ids by position, also of what is not alive."""
        return Joined(self.base.ids, self.added.ids) if self.added.ids else self.base.ids

    @cached_property
    def living(self) -> list[str]:
        """Return the ids of the living tools in alphabetical order, which pages of a list go by."""
        return sorted(compress(chain(self.base.ids, self.added.ids), self.alive.tolist()))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Return where the put tools stand."""
        return {tool_id: at for at, tool_id in enumerate(self.added.ids, start=len(self.base.ids))}

    def position(self, tool_id: str) -> int | None:
        """Return where a living tool stands; None if there is none of that id."""
        at = self.positions.get(tool_id, self.base.positions.get(tool_id))
        return at if at is not None and self.alive[at] else None

    def tool(self, tool_id: str) -> Tool:
        """Return a living tool by its id.

        Raises:
            KeyError: there is none.
        """
        position = self.position(tool_id)
        if position is None:
            raise KeyError(tool_id)
        return self.tools[position]

    def toolset(self) -> Toolset:
        """Return the living tools, all in memory."""
        return Toolset(self.tools[at] for at in np.flatnonzero(self.alive).tolist())


class Joined(Sequence[Item]):
    """Two sequences, one behind the other, without copying either."""

    def __init__(self, first: Sequence[Item], second: Sequence[Item]) -> None:
        self._parts = first, second

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> list[Item]: ...
    def __getitem__(self, position: int | slice) -> Item | list[Item]:
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        first, second = self._parts
        return first[position] if position < len(first) else second[position - len(first)]


class OverlayLexical:
    """Score put tools as if they had been in the index: by its formula and with its document frequencies."""

    def __init__(self, base: LexicalIndex, words: Sequence[Counter[str]]) -> None:
        self._base = base
        self._counts = words
        self._norms = [base.norm(counts.total()) for counts in words]
        self._own = Counter(token for counts in self._counts for token in counts)

    def scores(self, tokens: Sequence[str]) -> Scores:
        """Return each tool's score, those of the index first."""
        if not self._counts:
            return self._base.scores(tokens)
        known = [(token, self._base.idf(token, self._own[token])) for token in tokens if token in self._own]
        added = [
            sum(idf * counts[token] / (counts[token] + norm) for token, idf in known if token in counts)
            for counts, norm in zip(self._counts, self._norms, strict=True)
        ]
        return np.concatenate([self._base.scores(tokens), np.array(added, np.float32)])


class OverlayDense:
    """Search an index and, exhaustively, the vectors of put tools."""

    def __init__(self, base: DenseIndex, vectors: NDArray[np.float16]) -> None:
        self._base = base
        self._vectors = vectors.astype(np.float32)
        self.kind = base.kind

    def search(
        self, vector: Scores, n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Scores]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        first = len(self._base.vectors)
        positions, cosines = self._base.search(vector, n, None if allowed is None else allowed[:first])
        if not len(self._vectors):
            return positions, cosines
        added = np.arange(len(self._vectors)) if allowed is None else np.flatnonzero(allowed[first:])
        positions = np.concatenate([positions, added + first])
        cosines = np.concatenate([cosines, self._vectors[added] @ vector])
        nearest = np.argsort(-cosines, kind="stable")[:n]
        return positions[nearest], cosines[nearest]

    def vector(self, position: int) -> Scores:
        """Return a tool's vector."""
        first = len(self._base.vectors)
        return self._base.vector(position) if position < first else self._vectors[position - first]

    def cosines(self, vector: Scores, positions: NDArray[np.int64]) -> Scores:
        """Return the cosines of given tools."""
        if not len(self._vectors):
            return self._base.cosines(vector, positions)
        first = len(self._base.vectors)
        found = np.empty(len(positions), np.float32)
        old = positions < first
        found[old] = self._base.cosines(vector, positions[old])
        found[~old] = self._vectors[positions[~old] - first] @ vector
        return found


@dataclass(frozen=True)
class OverlayProviders:
    """Find providers among the tools of an index and the put ones."""

    base: Providers
    added: Providers

    def needs(self, tool: Tool, *, allowed: NDArray[np.bool_] | None = None) -> list[list[Provider]]:
        """Return for each thing whose id a tool needs who may provide it."""
        return self.base.needs(tool, self.added, allowed)


@dataclass(frozen=True)
class OverlayNames:
    """Find names of tools of an index and of the put ones."""

    base: NameIndex
    added: NameIndex
    first: int

    def find(self, text: str, allowed: NDArray[np.bool_] | None = None) -> list[list[int]]:
        """Return the tools of each name in the text; what is not alive is left out by the caller's mask."""
        return find_names(text, [(self.base, 0), (self.added, self.first)], allowed)
