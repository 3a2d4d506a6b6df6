"""Completion: a tool that needs an id brings the tool along that provides it.

`GET /movie/{movie_id}/credits` is of no use to an agent that has not been given `GET /search/movie`, and a request
never names the search. Which tool provides what is read from names, parameters and paths when an index is built.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from mtrb.errors import ArtefactError
from mtrb.identifiers import split_identifier
from mtrb.types import Tool

FILE = "completion.json"

_PLACEHOLDER = re.compile(r"(?:/([^/{}]+))?/\{([^/{}]+)\}")
_ID_WORDS = frozenset(("id", "key", "uuid", "slug", "token", "handle"))
# What a name says of how well a tool serves to look something up.
_LOOKUP = {
    **dict.fromkeys(("search", "find", "lookup", "resolve"), 3),
    **dict.fromkeys(("list", "query", "describe"), 2),
    **dict.fromkeys(("get", "fetch", "retrieve", "discover", "show"), 1),
}
_MOST_PROVIDERS = 16  # for one need; the best by name


@dataclass(frozen=True)
class Provider:
    """A tool that may provide an id, and how much its name says that this is what it is for (1 to 3)."""

    position: int
    strength: int


@dataclass(frozen=True)
class CompletionRule:
    """Say how providers are lifted; the numbers were chosen on the public validation halves, results/validation.md."""

    first: int = 10  # so many of the best tools bring their providers along
    lead: float = 0.01  # how far ahead of themselves: it is what an agent calls first
    strength: float = 0.05  # what a point of a provider's strength counts beside its score, among providers


Needs = Mapping[int, Sequence[Sequence[Provider]]]
"""position of a tool -> for each thing whose id it needs, the tools that may provide that id."""


def find_needs(tools: Sequence[Tool]) -> Needs:
    """Find for every tool that needs ids who may provide them.

    A provider has the thing in its name together with a word for looking up, and does not need that id itself.
    One of the tool's own source (and, where tools are tagged, of one of its tags) is preferred; other sources count
    where its own has none.
    """
    needed = [set(_needed_things(tool)) for tool in tools]
    insisted = [set(_needed_things(tool, optional=False)) for tool in tools]
    providers: dict[str, list[Provider]] = defaultdict(list)
    wanted = set().union(*needed)
    for position, tool in enumerate(tools):
        words = {_singular(word) for word in split_identifier(tool.name)}
        strength = max((_LOOKUP.get(word, 0) for word in words), default=0)
        if strength:
            # A search may take the id as one filter among others; what just gets a thing cannot do without.
            for thing in (words & wanted) - (insisted if strength > 1 else needed)[position]:
                providers[thing].append(Provider(position, strength))
                needed[position].discard(thing)
    found: dict[int, list[list[Provider]]] = {}
    for position, things in enumerate(needed):
        groups = [_nearest(tools, position, providers[thing]) for thing in sorted(things) if thing in providers]
        if any(groups):
            found[position] = [group for group in groups if group]
    return found


def save_needs(needs: Needs, folder: Path) -> None:
    """Write what `load_needs` reads."""
    rows = {
        str(position): [[(one.position, one.strength) for one in group] for group in groups]
        for position, groups in needs.items()
    }
    (folder / FILE).write_bytes(orjson.dumps(rows))


def load_needs(folder: Path) -> Needs:
    """Read the needs of an index.

    Raises:
        ArtefactError: the file is absent or damaged.
    """
    try:
        rows = orjson.loads((folder / FILE).read_bytes())
        return {
            int(position): [[Provider(*one) for one in group] for group in groups] for position, groups in rows.items()
        }
    except (OSError, ValueError, TypeError) as error:
        raise ArtefactError(f"{folder / FILE}: cannot be read: {error}") from None


def _needed_things(tool: Tool, optional: bool = True) -> Iterator[str]:
    """Yield the things whose ids a tool requires: movie for `movie_id`, order for `/orders/{id}`, token for `token`.

    Many catalogues do not say what is required; all parameters count then, unless optional ones must not.
    """
    properties = tool.parameters.get("properties") if optional else None
    names = tool.parameters.get("required") or (properties if isinstance(properties, Mapping) else ())
    for name in filter(lambda name: isinstance(name, str), names):
        yield from _thing(name)
    for segment, name in _PLACEHOLDER.findall(tool.name):
        yield from _thing(name, segment)


def _thing(parameter: str, segment: str = "") -> Iterator[str]:
    words = [_singular(word) for word in split_identifier(parameter)]
    if not words or words[-1] not in _ID_WORDS:
        return
    if words[-1] == "token":
        yield "token"
    elif len(words) > 1:
        yield words[-2]
    elif segment:
        yield _singular(split_identifier(segment)[-1]) if split_identifier(segment) else segment


def _nearest(tools: Sequence[Tool], position: int, providers: Sequence[Provider]) -> list[Provider]:
    tool = tools[position]
    own = [one for one in providers if tools[one.position].source == tool.source]
    tagged = [one for one in own if not tool.tags or set(tools[one.position].tags) & set(tool.tags)]
    others = [one for one in providers if tools[one.position].source != tool.source]
    return sorted(tagged or others, key=lambda one: (-one.strength, one.position))[:_MOST_PROVIDERS]


def _singular(word: str) -> str:
    word = word.casefold()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word
