"""`qta rewrite`: show what the rewriter makes of a request."""

import json
from pathlib import Path

import click

from qta.commands import index_option

_folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("text")
@index_option
@click.option("--rewriter", type=_folder, help="Folder that `qta train dpo` made; ours when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the steps and the tools that were shown as JSON.")
def rewrite(text: str, folder: Path, rewriter: Path | None, as_json: bool) -> None:
    """Show the steps that a request is rewritten into, one a line."""
    from qta.catalogue import open_catalogue
    from qta.encoder import WEIGHTS, Encoder
    from qta.hybrid import HybridRetriever
    from qta.rewriting import open_rewriter

    if not text.strip():
        raise click.UsageError("the request is empty; say what is to be done")
    encoder = Encoder()
    now = open_catalogue(folder, encoder).now
    retriever = HybridRetriever(now, encoder)
    opened = open_rewriter(rewriter or WEIGHTS, encoder.identity)
    shown = opened.show(retriever, retriever.reader.read(text), None if now.alive.all() else now.alive)
    [rewritten] = opened.steps([text], [shown])
    if as_json:
        tools = [tool.tool_id for tool in shown]
        click.echo(json.dumps({"query": text, "steps": rewritten.steps, "shown": tools}, ensure_ascii=False, indent=1))
        return
    for step in rewritten.steps:
        click.echo(step)
    if rewritten.failure:
        click.echo(f"note: no rewrite ({rewritten.failure}); the request goes through as it is", err=True)
