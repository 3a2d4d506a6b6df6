"""Which tools a request may get: by the caller's namespaces, and by what the request itself says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from mtrb.identifiers import clean_tool_id
from qta.overlay import Overlay
from qta.store import Columns

SHARED = ""
"""The namespace of tools whose id names none."""

Mask = NDArray[np.bool_]


def namespace_of(tool_id: str) -> str:
    """Return the namespace of a tool: `team-a` of `@team-a/mail/send`, and the shared one of `mail/send`."""
    return tool_id[1:].partition("/")[0] if tool_id.startswith("@") else SHARED


@dataclass(frozen=True)
class Filter:
    """What a request says of the tools it wants; what is not said allows all.

    Attributes:
        tags: a tool has all of them.
        sources: a tool is from one of them.
        namespaces: a tool is in one of them.
        include: only tools of these ids.
        exclude: no tools of these ids.
    """

    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take ids as their owner wrote them."""
        if self.include is not None:
            object.__setattr__(self, "include", tuple(map(clean_tool_id, self.include)))
        object.__setattr__(self, "exclude", tuple(map(clean_tool_id, self.exclude)))


ALL = Filter()


@dataclass(frozen=True)
class Facets:
    """Where the tools of each source, tag and namespace stand."""

    sources: Mapping[str, NDArray[np.int64]]
    tags: Mapping[str, NDArray[np.int64]]
    namespaces: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, columns: Columns, first: int = 0) -> "Facets":
        """Take the columns of tools that stand from a position on."""
        namespaces = [[namespace_of(tool_id)] for tool_id in columns.ids]
        return cls(
            _places([[source] for source in columns.sources], first),
            _places(columns.tags, first),
            _places(namespaces, first),
        )


@dataclass
class Selector:
    """Answer which tools are allowed, over a catalogue as it is at one moment; equal questions are answered once."""

    now: Overlay
    base: Facets
    _known: dict[tuple[Filter, frozenset[str] | None], Mask] = field(default_factory=dict)
    _shared: dict[frozenset[str] | None, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._added = Facets.of(self.now.added, len(self.now.base.ids))

    def allowed(self, wanted: Filter, granted: frozenset[str] | None) -> Mask:
        """Return which tools are alive, in a granted namespace (None grants all), and wanted."""
        key = wanted, granted
        if key not in self._known:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            self._known[key] = self._mask(wanted, granted)
        return self._known[key]

    def shared_names(self, granted: frozenset[str] | None) -> frozenset[str]:
        """Return the names that several of the granted tools have."""
        if granted not in self._shared:
            if len(self._shared) > _REMEMBERED:
                self._shared.clear()
            names = chain(self.now.base.columns.names, self.now.added.names)
            counted = Counter(compress(names, self.allowed(ALL, granted).tolist()))
            self._shared[granted] = frozenset(name for name, count in counted.items() if count > 1)
        return self._shared[granted]

    def permitted(self, tool_ids: Sequence[str], wanted: Filter, granted: frozenset[str] | None) -> list[str]:
        """Return those of the ids that there are, in a granted namespace and not excluded, whatever else is wanted."""
        allowed = self.allowed(Filter(exclude=wanted.exclude), granted)
        places = [(tool_id, self.now.position(tool_id)) for tool_id in dict.fromkeys(tool_ids)]
        return [tool_id for tool_id, at in places if at is not None and allowed[at]]

    def unknown(self, wanted: Filter, granted: frozenset[str] | None) -> list[str]:
        """Return what a filter names that no tool has of those that are granted, such as `tag 'x'`.

        What is not granted is as unknown as what there is not.
        """
        seen = self.allowed(ALL, granted)
        named = [("tags", "tag", wanted.tags), ("sources", "source", wanted.sources)]
        named.append(("namespaces", "namespace", wanted.namespaces or ()))
        found = [
            f"{word} {value!r}"
            for facet, word, values in named
            for value in values
            if not self._has(seen, facet, value)
        ]
        ids = [*(wanted.include or ()), *wanted.exclude]
        known = set(self.permitted(ids, ALL, granted))
        return [*found, *(f"tool {unquote(tool_id)!r}" for tool_id in dict.fromkeys(ids) if tool_id not in known)]

    def _has(self, seen: Mask, facet: str, value: str) -> bool:
        return any(seen[getattr(facets, facet).get(value, _NOWHERE)].any() for facets in (self.base, self._added))

    def _mask(self, wanted: Filter, granted: frozenset[str] | None) -> Mask:
        mask = self.now.alive.copy()
        if granted is not None:
            mask &= self._any("namespaces", sorted(granted))
        if wanted.namespaces is not None:
            mask &= self._any("namespaces", wanted.namespaces)
        if wanted.sources:
            mask &= self._any("sources", wanted.sources)
        for tag in wanted.tags:
            mask &= self._any("tags", [tag])
        if wanted.include is not None:
            mask &= self._ids(wanted.include)
        return mask & ~self._ids(wanted.exclude) if wanted.exclude else mask

    def _any(self, facet: str, values: Sequence[str]) -> Mask:
        mask = np.zeros(len(self.now.alive), np.bool_)
        for facets in (self.base, self._added):
            for value in values:
                mask[getattr(facets, facet).get(value, _NOWHERE)] = True
        return mask

    def _ids(self, tool_ids: Sequence[str]) -> Mask:
        mask = np.zeros(len(self.now.alive), np.bool_)
        mask[[at for tool_id in tool_ids if (at := self.now.position(tool_id)) is not None]] = True
        return mask


_REMEMBERED = 200
_NOWHERE = np.empty(0, np.int64)


def _places(values: Sequence[Sequence[str]], first: int) -> dict[str, NDArray[np.int64]]:
    places: dict[str, list[int]] = {}
    for position, row in enumerate(values, start=first):
        for value in row:
            places.setdefault(value, []).append(position)
    return {value: np.array(positions, np.int64) for value, positions in places.items()}
