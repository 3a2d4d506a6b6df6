"""Completion: a tool that needs an id brings the tool along that provides it.

`GET /movie/{movie_id}/credits` is of no use to an agent that has not been given `GET /search/movie`, and a request
never names the search. Which tool provides what is read from names, parameters and paths.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from mtrb.errors import ArtefactError
from mtrb.identifiers import split_identifier
from mtrb.types import Tool

FILE = "completion.json"

_PLACEHOLDER = re.compile(r"(?:/([^/{}]+))?/\{([^/{}]+)\}")
_ES = re.compile(r"(?:[sxzo]|[cs]h)e$")  # boxes are many of a box, and databases of a database
_ID_WORDS = frozenset(("id", "key", "uuid", "slug", "token", "handle"))
# Before such a word: what an answer gives for its own next page, what the caller makes up, and what is a field's name.
_NOBODYS = {
    "token": {"next", "page", "paging", "pagination", "continuation", "sync", "cursor", "client", "idempotency"},
    "key": {"idempotency", "sort", "partition"},
}
# What lets a caller in, or tells one call from others: what another source has of it is of no use here.
_OWN = frozenset(("token", "api", "public", "private", "secret", "access", "request", "client", "session"))
# What a name says of how well a tool serves to look something up.
_LOOKUP = {
    **dict.fromkeys(("search", "find", "lookup", "resolve"), 3),
    **dict.fromkeys(("list", "query", "describe"), 2),
    **dict.fromkeys(("get", "fetch", "retrieve", "discover", "show"), 1),
}
_MOST_PROVIDERS = 16  # for one need; the best by name


@dataclass(frozen=True, slots=True)
class Provider:
    """A tool that may provide an id, and how much its name says that this is what it is for (1 to 3)."""

    position: int
    strength: int
    source: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompletionRule:
    """Say how providers are lifted; the numbers were chosen on the public validation halves, results/validation.md."""

    first: int = 10  # so many of the best tools bring their providers along
    lead: float = 0.01  # how far ahead of themselves: it is what an agent calls first
    strength: float = 0.05  # what a point of a provider's strength counts beside its score, among providers


class Providers:
    """Know which tools may provide the id of a thing; grows with the catalogue.

    A provider has the thing in its name together with a word for looking up, and does not need that id itself.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        """Note the tools, in catalogue order."""
        self._by_thing: dict[str, list[Provider]] = {}
        for position, tool in enumerate(tools):
            self.add(position, tool)

    def add(self, position: int, tool: Tool, things: Collection[str] | None = None) -> None:
        """Note a tool, and what it provides where that is known."""
        for thing in provided_things(tool) if things is None else things:
            provider = Provider(position, _strength(tool), tool.source, tool.tags)
            self._by_thing.setdefault(thing, []).append(provider)

    def needs(
        self, tool: Tool, more: "Providers | None" = None, allowed: NDArray[np.bool_] | None = None
    ) -> list[list[Provider]]:
        """Return for each thing whose id a tool needs who may provide it, also of others, the best by name first.

        One of the tool's own source (and, where tools are tagged, of one of its tags) is preferred; other sources
        count where its own has none. What is not allowed is as if it were not there.
        """
        things = sorted(set(_needed_things(tool)) - set(provided_things(tool)))
        known = [self, *([more] if more else [])]
        groups = []
        for thing in things:
            found = [one for providers in known for one in providers._by_thing.get(thing, ())]
            if allowed is not None:
                found = [one for one in found if allowed[one.position]]
            groups.append(_nearest(tool, found, elsewhere=thing not in _OWN))
        return list(filter(None, groups))

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        rows = {
            thing: [(one.position, one.strength, one.source, one.tags) for one in providers]
            for thing, providers in self._by_thing.items()
        }
        (folder / FILE).write_bytes(orjson.dumps(rows))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the providers of an index.

        Raises:
            ArtefactError: the file is absent or damaged.
        """
        loaded = cls()
        try:
            for thing, rows in orjson.loads((folder / FILE).read_bytes()).items():
                loaded._by_thing[thing] = [
                    Provider(at, strength, source, tuple(tags)) for at, strength, source, tags in rows
                ]
        except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise ArtefactError(f"{folder / FILE}: cannot be read: {error}") from None
        return loaded


def _strength(tool: Tool) -> int:
    return max((_LOOKUP.get(_singular(word), 0) for word in split_identifier(tool.name)), default=0)


def provided_things(tool: Tool) -> set[str]:
    """Return the things that a tool may look up: the words of its name, if one of them says that it looks up."""
    strength = _strength(tool)
    if not strength:
        return set()
    words = {_form(word) for word in split_identifier(tool.name)}
    # A search may take the id as one filter among others; what just gets a thing cannot do without.
    return words - set(_needed_things(tool, optional=strength == 1))


def _needed_things(tool: Tool, optional: bool = True) -> Iterator[str]:
    """Yield the things whose ids a tool requires: movie for `movie_id`, order for `/orders/{id}`, token for `token`.

    Many catalogues do not say what is required, not even that nothing is; all parameters count then, unless optional
    ones must not.
    """
    required = tool.parameters.get("required")
    if not isinstance(required, list):
        properties = tool.parameters.get("properties") if optional else None
        required = properties if isinstance(properties, Mapping) else ()
    for name in filter(lambda name: isinstance(name, str), required):
        yield from _thing(name)
    for segment, name in _PLACEHOLDER.findall(tool.name):
        yield from _thing(name, segment)


def _thing(parameter: str, segment: str = "") -> Iterator[str]:
    words = [_singular(word) for word in split_identifier(parameter)]
    if not words or words[-1] not in _ID_WORDS or words[-3:] == ["client", "request", "token"]:
        return
    if words[-2:-1] and words[-2] in _NOBODYS.get(words[-1], ()):
        return
    if words[-1] == "token":
        yield "token"
    elif len(words) > 1:
        yield _form(split_identifier(parameter)[-2])
    elif segment:
        yield _form((split_identifier(segment) or [segment])[-1])


def _nearest(tool: Tool, providers: Sequence[Provider], elsewhere: bool) -> list[Provider]:
    own = [one for one in providers if one.source == tool.source]
    tagged = [one for one in own if not tool.tags or set(one.tags) & set(tool.tags)]
    others = [one for one in providers if one.source != tool.source] if elsewhere else []
    return sorted(tagged or others, key=lambda one: (-one.strength, one.position))[:_MOST_PROVIDERS]


def _form(word: str) -> str:
    """Return what one and many of a thing have in common: movi of movie and movies, databas, branch, status."""
    word = word.casefold()
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "sis", "xis")):
        word = word[:-1]
    if len(word) > 3 and (word.endswith("ie") or _ES.search(word)):
        return word[:-1]
    return f"{word[:-1]}i" if re.search(r"[^aeiou]y$", word) else word


def _singular(word: str) -> str:
    word = word.casefold()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word
