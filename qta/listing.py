"""Pages of a catalogue: its living tools in alphabetical order of their ids."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from mtrb.identifiers import clean_tool_id
from mtrb.types import Tool
from qta.overlay import Joined, Overlay
from qta.selection import namespace_of


@dataclass(frozen=True)
class Page:
    """Some tools of a list.

    Attributes:
        tools: in order.
        total: how many there are on all pages.
        next: the id after which the next page begins; None on the last one.
    """

    tools: Sequence[Tool]
    total: int
    next: str | None


def list_tools(
    now: Overlay,
    limit: int,
    after: str = "",
    prefix: str = "",
    search: str = "",
    namespaces: Collection[str] | None = None,
) -> Page:
    """Return a page of the tools that fit.

    Args:
        now: the catalogue.
        limit: how many tools a page has.
        after: begin behind this id, whether or not there is a tool of that id.
        prefix: of the id.
        search: stands in the id or in the name, in capitals or not.
        namespaces: a tool is in one of them; None allows all.
    """
    ids = _matching(now, clean_tool_id(prefix), search, namespaces)
    start = bisect_right(ids, after) if after else 0
    found = ids[start : start + limit]
    more = start + limit < len(ids)
    return Page([now.tool(tool_id) for tool_id in found], len(ids), found[-1] if more else None)


def _matching(now: Overlay, prefix: str, search: str, namespaces: Collection[str] | None) -> list[str]:
    ids = now.living
    if prefix:
        ids = ids[bisect_left(ids, prefix) :]
        end = next((at for at, tool_id in enumerate(ids) if not tool_id.startswith(prefix)), len(ids))
        ids = ids[:end]
    if namespaces is not None:
        ids = [tool_id for tool_id in ids if namespace_of(tool_id) in namespaces]
    if search:
        names = Joined(now.base.columns.names, now.added.names)
        wanted = search.casefold()
        ids = [tool_id for tool_id in ids if wanted in _shown(now, names, tool_id)]
    return ids


def _shown(now: Overlay, names: Sequence[str], tool_id: str) -> str:
    position = now.position(tool_id)
    return f"{tool_id}\n{unquote(tool_id)}\n{'' if position is None else names[position]}".casefold()
