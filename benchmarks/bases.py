"""Compare bases of the rewriter, not aligned with anything, on the validation halves of the public sets and the sample.

    python -m benchmarks.bases [NAME=DIR ...] [--out results]

DIR is what `qta.training.layers` and `qta.export.rewriter` have written of our own model, or any causal language model;
what is shipped, and no rewriter, are measured beside. The served retriever ranks, and a rewrite's steps take part as
they are served.
"""

import statistics
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import as_served, named_folders, public_mean, validation_studies
from qta.encoder import WEIGHTS
from qta.refusals import run_command
from qta.training.frozen import RememberingEncoder


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("named", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(named: tuple[str, ...], out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    bases = {"no rewriter": None, "shipped": WEIGHTS, **named_folders(named, "rewriter.json", "config.json")}
    studies = validation_studies(RememberingEncoder())
    rows = {}
    for name, base in tqdm(bases.items(), desc="bases"):
        found = as_served(studies, base)
        rows[name] = {**found, "public": public_mean(found)}
    lines = ["| base | public, S@5 / S@10 | their mean | sample |", "|---|--:|--:|--:|"]
    for name, row in rows.items():
        public, sample = (" / ".join(f"{value:.2f}" for value in row[one].values()) for one in ("public", "sample"))
        lines.append(f"| {name} | {public} | {statistics.mean(row['public'].values()):.2f} | {sample} |")
    head = "Sufficiency in per cent on the validation halves. Made by `python -m benchmarks.bases NAME=DIR ...`."
    content = {"command": "python -m benchmarks.bases", "bases": rows}
    publish(out, "bases", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    run_command(main)
