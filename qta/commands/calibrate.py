"""`qta calibrate`: how many tools are enough, from your own annotated requests."""

from pathlib import Path

import click

from qta.commands import index_option
from qta.commands.numbers import FiniteRange


@click.command()
@index_option
@click.option("--queries", required=True, help="Annotated requests: JSON Lines with query and tools.")
@click.option(
    "--coverage",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="The probability with which an answer of `-k auto` is to hold every tool that is needed.",
)
@click.option("--split", help="Of the requests those that name it.  [default: all but train]")
@click.option("--rewriter", help="The one that is served, as `qta serve --rewriter`: a folder, or default.")
def calibrate(folder: Path, queries: str, coverage: float, split: str | None, rewriter: str | None) -> None:
    """Calibrate `-k auto` on your own annotated requests, for answers from this index.

    It is used from the next request on, also by a service that runs. The requests must be like those that will come,
    and not those that the index or a rewriter has learnt from.
    """
    from mtrb.benchmarks.files import make_benchmark, read_queries
    from qta.calibration import FILE, calibrate_catalogue, write_calibration
    from qta.catalogue import open_catalogue
    from qta.encoder import Encoder
    from qta.rewriting import RewriterChoice

    encoder = Encoder()
    catalogue = open_catalogue(folder, encoder)
    named = ((entry, str(entry[1].get("split"))) for entry in read_queries(Path(queries)))
    kept = [entry for entry, name in named if (name == split if split else name != "train")]
    annotated = make_benchmark(Path(queries).name, split or "all", catalogue.now.toolset(), kept)
    opened = RewriterChoice(rewriter).open() if rewriter else ()
    calibration = calibrate_catalogue(catalogue, encoder, annotated, coverage, *opened)
    write_calibration(folder / FILE, calibration)
    sizes = calibration.about["tools_in_an_answer"]
    click.echo(
        f"{len(annotated.queries)} requests: answers of `-k auto` hold every tool with a probability of {coverage}; "
        f"{sizes['mean']} tools in the mean, {sizes['median']} in the median, {sizes['most']} at most"
    )
