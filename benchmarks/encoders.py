"""Compare encoders on the validation halves, in all stages that are served, without and with the unaligned rewriter.

    python -m qta.training.layers encoder MODEL --out DIR
    python -m qta.export.encoder --layers DIR/encoder.safetensors --out DIR
    python -m benchmarks.encoders [NAME=DIR ...] [--out results]

What is shipped is measured beside.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import as_served, named_folders, public_mean, validation_studies
from qta.encoder import WEIGHTS
from qta.refusals import run_command
from qta.training.frozen import RememberingEncoder

Figures = Mapping[str, Mapping[str, float]]


def worse(raw: Figures, rewritten: Figures) -> list[str]:
    """Return the sets that rewrites serve worse than the requests themselves."""
    return [name for name, found in rewritten.items() if sum(found.values()) < sum(raw[name].values()) - 1e-9]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("named", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(named: tuple[str, ...], out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    encoders = {"shipped": WEIGHTS, **named_folders(named, "encoder.json")}
    rows = []
    for name, folder in tqdm(encoders.items(), desc="encoders"):
        studies = validation_studies(RememberingEncoder(folder))
        raw, rewritten = as_served(studies, None), as_served(studies, WEIGHTS)
        rows.append({"encoder": name, "requests": raw, "rewrites": rewritten, "worse": worse(raw, rewritten)})
    publish(out, "encoders", {"command": "python -m benchmarks.encoders", "rows": rows}, table(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    head = "Sufficiency in per cent on the validation halves. Made by `python -m benchmarks.encoders NAME=DIR ...`."
    lines = ["| encoder | public, S@5 / S@10 | their mean | sample | rewrites make worse |", "|---|--:|--:|--:|---|"]
    for row in rows:
        raw = row["requests"]
        means = public_mean(raw)
        public, sample = (" / ".join(f"{value:.2f}" for value in one.values()) for one in (means, raw["sample"]))
        harmed = ", ".join(name.removeprefix("public/") for name in row["worse"]) or "none"
        lines.append(f"| {row['encoder']} | {public} | {statistics.mean(means.values()):.2f} | {sample} | {harmed} |")
    return "\n".join([head, "", *lines, ""])


if __name__ == "__main__":
    run_command(main)
