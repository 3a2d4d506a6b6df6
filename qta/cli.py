"""The command line. Every import that takes time waits for its command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from qta import __version__
from qta.commands.calibrate import calibrate
from qta.commands.evaluate import evaluate
from qta.commands.keys import keys
from qta.commands.retrieve import retrieve
from qta.commands.rewrite import rewrite
from qta.commands.sync import sync
from qta.commands.tools import tools
from qta.commands.train import train
from qta.refusals import run_command

if TYPE_CHECKING:
    from qta.encoder import Encoder

_FORMATS = ("native", "openai", "anthropic", "mcp", "openapi")
_SHOWN = 5  # ids of a list
_folder = click.Path(file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qta")
def cli() -> None:
    """Find the smallest set of tools that is enough for a request."""


@cli.command()
@click.argument("tools", nargs=-1, required=True)
@click.option("--out", type=_folder, required=True, help="Folder of the index; one that is there is replaced whole.")
@click.option(
    "--milvus",
    metavar="URI",
    help="Keep the tools in this Milvus: http://host:19530, its token in QTA_MILVUS_TOKEN; or a file that ends in .db.",
)
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Format of all files; sniffed when not given.")
@click.option("--skip-invalid", is_flag=True, help="Leave invalid records out, and list them.")
@click.option("--keep", is_flag=True, help="Leave an index as it is that is there and can be served.")
@click.option("--report", type=_file, help="Write equal and nearly equal tools to this JSON file.")
def index(
    tools: tuple[str, ...],
    out: Path,
    milvus: str | None,
    format_: str | None,
    skip_invalid: bool,
    keep: bool,
    report: Path | None,
) -> None:
    """Index TOOLS: files, sample:, botocore: (AWS) or google: (Google APIs).

    Files hold tools as JSON Lines, OpenAI or Anthropic tool lists, MCP tools/list results, or OpenAPI and Swagger
    documents; .gz is fine.
    """
    import json

    from tqdm import tqdm

    from mtrb.formats import Skipped, read_tools, spec_path
    from mtrb.twins import find_twins
    from mtrb.types import Toolset
    from qta.changes import last_revision
    from qta.encoder import Encoder
    from qta.index import build_index, check_folder
    from qta.live import ids_there
    from qta.location import Location

    location = Location.of(milvus) if milvus else None
    if report and report.exists() and any(path.exists() and path.samefile(report) for path in map(spec_path, tools)):
        raise click.UsageError(f"--report {report} is one of the catalogues; name another file")
    if report and report.resolve().is_relative_to(out.resolve()):
        raise click.UsageError(f"--report {report} is in the folder of the index; name a file outside")
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)  # before the work rather than after it
    if location is None:
        check_folder(out)
    encoder = Encoder()
    if keep and _can_be_opened(out, encoder):
        click.echo(f"{out} is there, and is left as it is")
        return
    before = set() if location else ids_there(out)
    up_to = last_revision(out)  # what a service that is running takes from now on comes on top
    skipped: list[Skipped] = []
    found = read_tools(tools, format_, skipped if skip_invalid else None)
    toolset = Toolset(tqdm(found, desc="read", unit=" tools", delay=2, leave=False))
    for entry in skipped:
        click.echo(f"left out {entry.location}: {entry.reason}", err=True)
    with tqdm(total=len(toolset), desc="embed", unit=" tools", delay=1, leave=False) as bar:
        if location:
            from qta.shared import index_in_milvus

            index_in_milvus(toolset, location, out, encoder, bar.update)
        else:
            build_index(toolset, out, encoder, bar.update, up_to)
    if report:
        twins = find_twins(toolset)
        left_out = [vars(entry) for entry in skipped]
        content = json.dumps({**twins.to_json(), "left_out": left_out}, indent=1, ensure_ascii=False)
        report.write_text(content + "\n", "utf-8")
        click.echo(
            f"{len(twins.exact)} groups of equal tools, {len(twins.near)} pairs of similar ones: {report}", err=True
        )
    if gone := sorted(before.difference(toolset.ids)):
        shown = ", ".join(gone[:_SHOWN]) + (", ..." if len(gone) > _SHOWN else "")
        click.echo(f"no longer there ({len(gone):,}): {shown}", err=True)
    note = f", {len(skipped)} records left out" if skip_invalid else ""
    click.echo(f"indexed {len(toolset):,} tools in {out}{note}")


def _can_be_opened(folder: Path, encoder: "Encoder") -> bool:
    from mtrb.errors import QTAError
    from qta.index import load_index

    try:
        load_index(folder, encoder)
    except QTAError:
        return False
    return True


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve an index over HTTP; `qta serve --help` lists the options."""
    _hand_over("service", "qta serve", arguments)


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mcp(arguments: tuple[str, ...]) -> None:
    """Let an MCP client search an index, over stdio; `qta mcp --help` lists the options."""
    _hand_over("service.stdio", "qta mcp", arguments)


def _hand_over(module: str, name: str, arguments: tuple[str, ...]) -> None:
    """Let a program of the service take over this process; it stands to the right of this package."""
    import runpy

    sys.argv = [name, *arguments]
    runpy.run_module(module, run_name="__main__")


for command in (retrieve, calibrate, evaluate, keys, rewrite, sync, tools, train):
    cli.add_command(command)


def main() -> NoReturn:
    """Run a command; every refusal is one or two lines on stderr and exit status 2."""
    run_command(cli, "qta")
