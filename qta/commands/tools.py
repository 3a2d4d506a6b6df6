"""`qta tools`: add, list and remove tools of an index folder, also while it is served."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qta.commands import index_option

if TYPE_CHECKING:
    from qta.catalogue import Catalogue

_FORMATS = ("native", "openai", "anthropic", "mcp", "openapi")
_BATCH = 500  # tools of one change
_PAGE = 1_000


@click.group()
def tools() -> None:
    """Change an index folder's tools one by one; services of that folder see it at once."""


@tools.command()
@click.argument("specs", nargs=-1, required=True)
@index_option
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Format of all files; sniffed when not given.")
@click.option("--skip-invalid", is_flag=True, help="Leave invalid records out, and list them.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def add(specs: tuple[str, ...], folder: Path, format_: str | None, skip_invalid: bool, as_json: bool) -> None:
    """Add or replace the tools of SPECS, which are those of `qta index`; other tools stay."""
    from tqdm import tqdm

    from mtrb.formats import Skipped, read_tools
    from mtrb.types import Toolset

    skipped: list[Skipped] = []
    found = Toolset(read_tools(specs, format_, skipped if skip_invalid else None))  # all read before any is added
    for entry in skipped:
        click.echo(f"left out {entry.location}: {entry.reason}", err=True)
    catalogue = _open(folder)
    counts = {"added": 0, "changed": 0, "unchanged": 0}
    with tqdm(total=len(found), desc="add", unit=" tools", delay=1, leave=False) as bar:
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            written = catalogue.put(batch)
            counts = {name: count + getattr(written, name) for name, count in counts.items()}
            bar.update(len(batch))
    catalogue.settle()
    if as_json:
        click.echo(json.dumps({**counts, "left_out": len(skipped), "revision": catalogue.now.revision}))
        return
    note = f", {len(skipped)} records left out" if skip_invalid else ""
    click.echo(", ".join(f"{count:,} {name}" for name, count in counts.items()) + note)


@tools.command("list")
@index_option
@click.option("--prefix", default="", help="Only tools whose id begins so.")
@click.option("--search", default="", help="Only tools with this in id or name.")
@click.option("--namespace", help="Only tools of this namespace.")
@click.option("--json", "as_json", is_flag=True, help="Print whole records as JSON Lines, which `qta index` reads.")
def list_(folder: Path, prefix: str, search: str, namespace: str | None, as_json: bool) -> None:
    """List tools in alphabetical order: id and first line of the description."""
    from qta.listing import list_tools

    now = _open(folder).now
    after: str | None = ""
    while after is not None:
        page = list_tools(now, _PAGE, after, prefix, search, None if namespace is None else {namespace})
        for tool in page.tools:
            first_line = tool.description.partition("\n")[0]
            shown = f"{tool.tool_id}  {first_line[:80]}".rstrip()
            click.echo(json.dumps(tool.to_json(), ensure_ascii=False) if as_json else shown)
        after = page.next
    click.echo(f"{page.total:,} tools", err=True)


@tools.command()
@click.argument("ids", nargs=-1, required=True)
@index_option
def remove(ids: tuple[str, ...], folder: Path) -> None:
    """Remove the tools of IDS; where one of them is not there, none is removed."""
    from mtrb.identifiers import clean_tool_id

    catalogue = _open(folder)
    now, ids = catalogue.now, tuple(map(clean_tool_id, ids))
    missing = [tool_id for tool_id in ids if now.position(tool_id) is None]
    if missing:
        raise click.UsageError(f"there is no tool {', '.join(missing[:5])}; `qta tools list` shows all ids")
    click.echo(f"{catalogue.remove(ids).removed:,} removed")
    catalogue.settle()


@tools.command()
@index_option
@click.option("--background", is_flag=True, help="Give way to other processes.")
def merge(folder: Path, background: bool) -> None:
    """Build the changes into the index now; a service does so by itself when there are many."""
    if background:
        os.nice(10)
    from qta.live import LiveCatalogue

    catalogue = _open(folder)
    if not isinstance(catalogue, LiveCatalogue):
        raise click.UsageError("the tools are in Milvus, where there is nothing to merge")
    done = catalogue.merge()
    click.echo(f"{len(catalogue.now.living):,} tools, " + ("merged" if done else "nothing to merge"))


def _open(folder: Path) -> "Catalogue":
    from qta.catalogue import open_catalogue
    from qta.encoder import Encoder

    return open_catalogue(folder, Encoder())
