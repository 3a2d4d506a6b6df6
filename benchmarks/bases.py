"""Compare bases of the rewriter, not aligned with anything, on the validation halves of the public sets and the sample.

    python -m benchmarks.bases [NAME=DIR ...] [--out results]

DIR is what `qta.training.layers` and `qta.export.rewriter` have written of a model; what is shipped, and no rewriter,
are measured beside. The served retriever ranks, and a rewrite's steps take part as they are served.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import MEASURES, VALIDATION, Study, percent, public_mean
from eval import evaluate
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import SERVED
from qta.training.frozen import RememberingEncoder


def measure(base: Path | None, studies: Mapping[str, Study]) -> dict[str, dict[str, float]]:
    """Return Sufficiency of each set in per cent, and the public sets' mean, each counting the same."""
    found = {
        name: percent(evaluate(one.benchmark.qrels, one.run(SERVED, base), MEASURES)) for name, one in studies.items()
    }
    return {**found, "public": public_mean(found)}


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("named", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(named: tuple[str, ...], out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    given = [one.partition("=") for one in named]
    wrong = next((name for name, _, folder in given if not (Path(folder) / "rewriter.json").exists()), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong!r}: expected NAME=DIR, where DIR holds a rewriter.json")
    bases = {"no rewriter": None, "shipped": WEIGHTS, **{name: Path(folder) for name, _, folder in given}}
    encoder: Encoder = RememberingEncoder()
    studies = {name: Study(name, "validation", encoder, Path("rewriters")) for name in VALIDATION}
    rows = {name: measure(base, studies) for name, base in tqdm(bases.items(), desc="bases")}
    lines = ["| base | public, S@5 / S@10 | their mean | sample |", "|---|--:|--:|--:|"]
    for name, row in rows.items():
        public, sample = (" / ".join(f"{value:.2f}" for value in row[one].values()) for one in ("public", "sample"))
        lines.append(f"| {name} | {public} | {statistics.mean(row['public'].values()):.2f} | {sample} |")
    head = "Sufficiency in per cent on the validation halves. Made by `python -m benchmarks.bases NAME=DIR ...`."
    content = {"command": "python -m benchmarks.bases", "bases": rows}
    publish(out, "bases", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    main()
