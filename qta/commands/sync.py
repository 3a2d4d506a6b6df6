"""`qta sync`: keep a source's tools in step with a running MCP server or an OpenAPI document."""

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtrb.errors import MissingDependencyError
from qta.commands import index_option
from qta.commands.numbers import FiniteRange

if TYPE_CHECKING:
    from qta.mcp_client import McpServer
    from qta.sync import Difference, Listing

_NAME = r"[\w.-]+"


@click.command()
@click.argument("source", nargs=-1, required=True)
@index_option
@click.option("--name", help="What the source's tools go by.  [default: as it calls itself]")
@click.option("--follow", is_flag=True, help="Stay, and follow whenever an MCP server announces a change.")
@click.option("--dry-run", is_flag=True, help="Report, and change nothing.")
@click.option("--allow-empty", is_flag=True, help="Let a source that lists no tools remove all that it had.")
@click.option("--moved", is_flag=True, help="Let a source take the place of what came from elsewhere by its name.")
@click.option("--skip-invalid", is_flag=True, help="Leave invalid tools out, and list them.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="For HTTP; may be given again.")
@click.option("--timeout", type=FiniteRange(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print what changed as JSON, with --follow a line a time.")
def sync(
    source: tuple[str, ...],
    folder: Path,
    name: str | None,
    follow: bool,
    dry_run: bool,
    allow_empty: bool,
    moved: bool,
    skip_invalid: bool,
    headers: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> None:
    """Bring the tools of SOURCE in step: add new ones, replace changed ones, remove those that are gone.

    SOURCE is the address of an MCP server (streamable HTTP) or of an OpenAPI document, an OpenAPI file, or the command
    that starts an MCP server: stdio:"COMMAND ARGS", or -- COMMAND ARGS. Other sources' tools stay as they are.
    """
    from qta.catalogue import open_catalogue
    from qta.encoder import Encoder
    from qta.sync import Listing, bring_in_step

    if name is not None and not re.fullmatch(_NAME, name):
        raise click.UsageError(f"--name {name!r}: expected letters, digits, '.', '-' and '_'")
    found = _open(source, name, _headers(headers), timeout, skip_invalid)
    if follow and isinstance(found, Listing):
        raise click.UsageError("--follow needs an MCP server; a document announces no changes")
    if follow and dry_run:
        raise click.UsageError("--follow and --dry-run exclude each other")
    catalogue = open_catalogue(folder, Encoder())

    def take(listing: Listing) -> None:
        difference = bring_in_step(catalogue, listing, allow_empty, moved, dry_run)
        for entry in difference.skipped:
            click.echo(f"left out {entry.location}: {entry.reason}", err=True)
        if as_json:
            about = {**difference.to_json(), "revision": catalogue.now.revision, "dry_run": dry_run}
            click.echo(json.dumps(about, ensure_ascii=False, indent=None if follow else 1))
        elif difference or not follow:
            _print(difference, dry_run)

    if isinstance(found, Listing):
        take(found)
    elif follow:
        found.follow(take, lambda line: click.echo(f"note: {line}", err=True))
    else:
        take(found.read())
    catalogue.settle()


def _open(
    source: tuple[str, ...], name: str | None, headers: dict[str, str], timeout: float, skip_invalid: bool
) -> "McpServer | Listing":
    """Return the server, or the tools of the document, that a source is.

    Raises:
        UsageError: it is neither.
    """
    command = source if len(source) > 1 else ()
    [only] = source if len(source) == 1 else [""]
    if only.startswith("stdio:"):
        try:
            command = tuple(shlex.split(only.removeprefix("stdio:")))
        except ValueError as error:
            raise click.UsageError(f"{only}: no command: {error}") from None
        if not command:
            raise click.UsageError('stdio: names no command; expected stdio:"COMMAND ARGS"')
    if not command and not re.match("https?://", only):
        from qta.sync import read_openapi

        if Path(only).exists():
            return read_openapi(Path(only), name, skip_invalid)
        raise click.UsageError(
            f'{only}: no such file; expected an http(s) address, an OpenAPI file, stdio:"COMMAND ARGS" '
            "or -- COMMAND ARGS"
        )
    try:
        from qta.mcp_client import McpServer
    except ImportError:
        raise MissingDependencyError("an MCP server is read with the package mcp; pip install 'mcp>=2.3'") from None
    if not command:
        from qta.sync import fetch_openapi

        listing = fetch_openapi(only, headers, timeout, name, skip_invalid)
        if listing is not None:
            return listing
    return McpServer(only or shlex.join(command), command, name, headers, timeout, skip_invalid)


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [line.partition(":") for line in given]
    wrong = next((line for line, pair in zip(given, pairs, strict=True) if not (pair[0].strip() and pair[1])), None)
    if wrong is not None:
        raise click.UsageError(f"--header {wrong!r}: expected NAME:VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _print(difference: "Difference", dry_run: bool) -> None:
    from qta.sync import changed_fields

    for tool in difference.added:
        click.echo(f"added    {tool.tool_id}")
    for old, new in difference.changed:
        click.echo(f"changed  {new.tool_id}  ({', '.join(changed_fields(old, new))})")
        if old.description != new.description:
            click.echo(f"  - {old.description!r}\n  + {new.description!r}")
    for tool_id in difference.removed:
        click.echo(f"removed  {tool_id}")
    counts = (len(difference.added), len(difference.changed), len(difference.removed), difference.unchanged)
    text = "{:,} added, {:,} changed, {:,} removed, {:,} unchanged".format(*counts)
    click.echo(f"{difference.source}: {text}" + (", nothing written" if dry_run else ""))
