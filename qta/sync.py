"""Keep the tools of one source in step with where they come from: an MCP server or an OpenAPI document."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from mtrb.errors import ArtefactError, InputError
from mtrb.files import replace_text
from mtrb.formats import Skipped, read_tools
from mtrb.formats.openapi import is_openapi
from mtrb.formats.records import MAX_DOCUMENT_BYTES, read_document
from mtrb.types import Tool
from qta.catalogue import Catalogue
from qta.overlay import Overlay

_ORIGINS, _LOCK = "sources.json", ".sync.lock"
_MEANT = "nothing was changed; give --name if this is another source, --moved if it is the same"
_PATIENCE = 300  # seconds; thousands of new tools are embedded in less
_FIELDS = ("name", "description", "parameters", "tags")


@dataclass(frozen=True)
class Listing:
    """What a source says it has.

    Attributes:
        source: the name that its tools go by.
        origin: the address, file or command that they come from.
        tools: all of them.
        skipped: records that are no tools.
    """

    source: str
    origin: str
    tools: Sequence[Tool]
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True)
class Difference:
    """How a source differs from its tools in a catalogue; a changed tool as it was and as it is."""

    source: str
    added: Sequence[Tool] = ()
    changed: Sequence[tuple[Tool, Tool]] = ()
    removed: Sequence[str] = ()
    unchanged: int = 0
    skipped: Sequence[Skipped] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def to_json(self) -> dict[str, Any]:
        """Return the difference as `qta sync --json` prints it; of a changed tool, its old and new description."""
        return {
            "source": self.source,
            "added": [tool.tool_id for tool in self.added],
            "changed": [
                {"id": new.tool_id, "fields": changed_fields(old, new), "old": old.description, "new": new.description}
                for old, new in self.changed
            ],
            "removed": list(self.removed),
            "unchanged": self.unchanged,
            "left_out": [vars(entry) for entry in self.skipped],
        }


def changed_fields(old: Tool, new: Tool) -> list[str]:
    """Return in what a tool has changed."""
    return [name for name in _FIELDS if getattr(old, name) != getattr(new, name)]


def compare(now: Overlay, listing: Listing) -> Difference:
    """Return how a source differs from a catalogue as it is."""
    added, changed, unchanged = [], [], 0
    for tool in listing.tools:
        if now.position(tool.tool_id) is None:
            added.append(tool)
        elif (old := now.tool(tool.tool_id)) != tool:
            changed.append((old, tool))
        else:
            unchanged += 1
    listed = {tool.tool_id for tool in listing.tools}
    removed = [tool_id for tool_id in _ids_from(now, listing.source) if tool_id not in listed]
    return Difference(listing.source, added, changed, removed, unchanged, listing.skipped)


def bring_in_step(
    catalogue: Catalogue, listing: Listing, allow_empty: bool = False, moved: bool = False, dry_run: bool = False
) -> Difference:
    """Put what a source has added and changed into a catalogue, remove what it no longer has; return what that was.

    Raises:
        InputError: the source lists nothing, so that all its tools would go, and that is not allowed; or tools of the
            same name that came from elsewhere would go or change, and it is not said that they have moved.
        ArtefactError: the change cannot be written.
    """
    with nullcontext() if dry_run else _alone(catalogue.folder):
        difference = compare(catalogue.now, listing)
        origins = _origins(catalogue.folder)
        _check(difference, listing, origins, allow_empty, moved)
        if not dry_run:
            if origins.get(listing.source) != listing.origin:
                known = json.dumps({**origins, listing.source: listing.origin}, indent=1, sort_keys=True)
                replace_text(catalogue.folder / _ORIGINS, known + "\n")
            catalogue.put([*difference.added, *(new for _, new in difference.changed)])
            catalogue.remove(difference.removed)
    return difference


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one at a time compare and change, so that none forgets where the tools of another came from."""
    lock = FileLock(folder / _LOCK, timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise ArtefactError(
            f"{folder}: another `qta sync` has been changing it for {_PATIENCE} seconds; nothing was changed, try again"
        ) from None
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be changed: {error}") from None
    try:
        yield
    finally:
        lock.release()


def _check(
    difference: Difference, listing: Listing, origins: Mapping[str, str], allow_empty: bool, moved: bool
) -> None:
    """Refuse what would remove all tools of a source, or those of another."""
    if difference.removed and not listing.tools and not allow_empty:
        raise InputError(
            f"{listing.source} lists no tools; the {len(difference.removed):,} that are here would be removed\n"
            "nothing was changed; give --allow-empty if that is meant"
        )
    if moved:
        return
    others = [old for old, _ in difference.changed if old.source != listing.source]
    if others:
        raise InputError(
            f"{others[0].tool_id} came from {others[0].source!r} and not from {listing.source!r}; "
            f"{len(others):,} such tools would be replaced\n{_MEANT}"
        )
    known = difference.unchanged or difference.changed or listing.source in origins
    if listing.tools and difference.removed and not known:
        raise InputError(
            f"none of the tools of {listing.source!r} is in {listing.origin}, and from where they came is not known; "
            f"{len(difference.removed):,} would be removed\n{_MEANT}"
        )
    before = origins.get(listing.source, listing.origin)
    if (difference.removed or difference.changed) and before != listing.origin:
        raise InputError(
            f"the tools of {listing.source!r} came from {before}; {len(difference.removed):,} of them are not in "
            f"{listing.origin}, and {len(difference.changed):,} are otherwise there\n{_MEANT}"
        )


def _origins(folder: Path) -> dict[str, str]:
    """Return where each source's tools came from last."""
    try:
        content = json.loads((folder / _ORIGINS).read_bytes())
    except (OSError, ValueError):
        return {}  # what is lost here is only known again after the next time
    return content if isinstance(content, dict) else {}


def _ids_from(now: Overlay, source: str) -> list[str]:
    """Return the ids of a source's living tools."""
    sources = chain(now.base.columns.sources, now.added.sources)
    ids = compress(chain(now.base.ids, now.added.ids), now.alive.tolist())
    return sorted(
        tool_id for tool_id, its in zip(ids, compress(sources, now.alive.tolist()), strict=True) if its == source
    )


def read_openapi(path: Path, name: str | None = None, skip_invalid: bool = False) -> Listing:
    """Read the operations of an OpenAPI document.

    Raises:
        InputError: it is none, or an operation is invalid and not to be left out.
    """
    skipped: list[Skipped] = []
    spec = f"{name}={path}" if name else str(path)
    tools = list(read_tools([spec], "openapi", skipped if skip_invalid else None))
    if not tools:
        raise InputError(f"{path}: no operation could be read; {skipped[0].location}: {skipped[0].reason}")
    return Listing(tools[0].source, str(path.resolve()), tools, skipped)


def fetch_openapi(
    url: str, headers: Mapping[str, str], timeout: float, name: str | None = None, skip_invalid: bool = False
) -> Listing | None:
    """Read the OpenAPI document at an address; None where there is something else, such as an MCP server.

    Raises:
        InputError: nobody answers, or the document cannot be read.
    """
    content = _fetch(url, headers, timeout)
    if content is None:
        return None
    beginning = content.lstrip()[:200].lower()
    meant = beginning.startswith(b"openapi:") or b'"openapi"' in beginning or b"swagger" in beginning
    with TemporaryDirectory() as folder:
        path = Path(folder) / (Path(urlsplit(url).path).name or "openapi")
        path.write_bytes(content)
        try:
            if not is_openapi(read_document(path)):
                return None
        except InputError as error:
            if meant:
                raise InputError(str(error).replace(str(path), url)) from None
            return None
        try:
            return replace(read_openapi(path, name, skip_invalid), origin=without_secrets(url))
        except InputError as error:
            raise InputError(str(error).replace(str(path), url)) from None


def without_secrets(url: str) -> str:
    """Return an address without what may be secret: who asks, and the query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _fetch(url: str, headers: Mapping[str, str], timeout: float) -> bytes | None:
    """Return what GET answers; None for an error, a page or a stream of events."""
    import httpx2

    wanted = {"Accept": "application/json, application/yaml, application/x-yaml, text/yaml, text/plain", **headers}
    content = bytearray()
    try:
        with httpx2.stream("GET", url, headers=wanted, timeout=timeout, follow_redirects=True) as answer:
            kind = answer.headers.get("Content-Type", "")
            if answer.status_code != 200 or kind.startswith(("text/html", "text/event-stream")):
                return None
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > MAX_DOCUMENT_BYTES:
                    raise InputError(f"{url}: larger than {MAX_DOCUMENT_BYTES // 1_000_000} MB")
    except httpx2.ConnectError as error:
        raise InputError(f"{url}: nobody answers there: {error}; is the server running?") from None
    except httpx2.TimeoutException:
        return None  # a server may wait before it refuses
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise InputError(f"{url}: cannot be read: {error}") from None
    return bytes(content)
