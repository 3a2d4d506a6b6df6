"""`qta retrieve`: show the tools for a request."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from qta.commands import index_option

if TYPE_CHECKING:
    from qta.asking import Answer

_FORMATS = ("native", "openai", "openai_responses", "tool_search_output", "anthropic", "tool_reference", "mcp")


def _size(_: click.Context, __: click.Parameter, value: str | None) -> int | Literal["auto"] | None:
    """Read a number of tools, or `auto`."""
    if value is None or value == "auto":
        return None if value is None else "auto"
    if not value.isdecimal() or not 1 <= int(value) <= 100:
        raise click.BadParameter(f"{value!r} is neither 1 to 100 nor 'auto'")
    return int(value)


@click.command()
@click.argument("text")
@index_option
@click.option(
    "-k", metavar="NUMBER|auto", callback=_size, help="How many tools; auto: as many as are enough.  [default: 5]"
)
@click.option("--tag", "tags", multiple=True, help="Only tools with this tag; with all, where there are several.")
@click.option("--source", "sources", multiple=True, help="Only tools from this source, or one of several.")
@click.option("--namespace", "namespaces", multiple=True, help="Only tools in this namespace, or one of several.")
@click.option("--budget", type=click.IntRange(1), help="Tokens that the tools may take.")
@click.option("--explain", is_flag=True, help="Say what put each tool there.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Print the tools as this vendor takes them.")
@click.option("--detail", type=click.Choice(("name", "description", "full")), help="Of our own records.")
@click.option("--json", "as_json", is_flag=True, help="Print what POST /retrieve would answer.")
def retrieve(
    text: str,
    folder: Path,
    k: int | Literal["auto"] | None,
    tags: tuple[str, ...],
    sources: tuple[str, ...],
    namespaces: tuple[str, ...],
    budget: int | None,
    explain: bool,
    format_: Any,
    detail: Any,
    as_json: bool,
) -> None:
    """Show the tools for a request, best first."""
    import json

    from mtrb.identifiers import is_unicode
    from qta.asking import Form, Request
    from qta.budget import Budget, TokenCounter
    from qta.engine import Engine
    from qta.selection import Filter

    if not text.strip():
        raise click.UsageError("the request is empty; say what is to be done")
    if not is_unicode(text):
        raise click.UsageError("the request is not valid UTF-8; check the terminal's encoding")
    if detail not in (None, "full") and format_ not in (None, "native"):
        raise click.UsageError(f"--detail is for the format native; {format_} is always whole")
    asked = Request(
        query=text,
        k=5 if k is None and budget is None else k,
        wanted=Filter(tags, sources, namespaces or None),
        explain=explain,
        form=Form(format_ or "native", detail or "full"),
        budget=Budget(budget, TokenCounter()) if budget else None,
    )
    answer = Engine.open(folder).answer(asked)
    content = answer.to_json()
    if as_json or format_ or detail:
        click.echo(json.dumps(content if as_json else content["tools"], ensure_ascii=False, indent=1))
    else:
        _list(answer)
    for note in _notes(answer):
        click.echo(f"note: {note}", err=True)


def _list(answer: "Answer") -> None:
    for rank, (tool, scored) in enumerate(zip(answer.tools, answer.ranking, strict=True), start=1):
        first_line = tool.description.partition("\n")[0]
        click.echo(f"{rank:>3}  {scored.score:8.4f}  {tool.tool_id}  {first_line[:80]}")
        if answer.why is not None:
            click.echo("     " + ", ".join(f"{name} {value}" for name, value in answer.why[rank - 1].items()))


def _notes(answer: "Answer") -> list[str]:
    from qta.remarks import NOTHING_FITS

    notes = [entry["detail"] for entry in answer.degraded]
    if answer.no_tool_fits:
        notes.append(NOTHING_FITS)
    elif answer.confidence is not None:
        notes.append(f"enough with a probability of {answer.confidence}")
    if answer.tokens is not None:
        whole = "; the whole catalogue" if answer.whole_catalogue else ""
        notes.append(f"{answer.tokens:,} tokens, {answer.tokens_saved:,} saved{whole}")
    return notes
