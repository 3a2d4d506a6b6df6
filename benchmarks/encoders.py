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
from benchmarks.study import MEASURES, VALIDATION, Study, percent, public_mean
from eval import evaluate
from qta.encoder import WEIGHTS
from qta.hybrid import SERVED
from qta.training.frozen import RememberingEncoder

Figures = Mapping[str, Mapping[str, float]]


def measure(folder: Path, rewriters: Sequence[Path | None]) -> list[Figures]:
    """Return Sufficiency of each set in per cent, ranked with the vectors of an encoder, for each rewriter."""
    encoder = RememberingEncoder(folder)
    studies = {name: Study(name, "validation", encoder, Path("rewriters")) for name in VALIDATION}
    return [
        {
            name: percent(evaluate(study.benchmark.qrels, study.run(SERVED, rewriter), MEASURES))
            for name, study in studies.items()
        }
        for rewriter in rewriters
    ]


def worse(raw: Figures, rewritten: Figures) -> list[str]:
    """Return the sets that rewrites serve worse than the requests themselves."""
    return [name for name, found in rewritten.items() if sum(found.values()) < sum(raw[name].values()) - 1e-9]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("named", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(named: tuple[str, ...], out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    given = [one.partition("=") for one in named]
    wrong = next((name for name, _, folder in given if not (Path(folder) / "encoder.json").exists()), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong!r}: expected NAME=DIR, where DIR holds an encoder.json")
    encoders = {**{name: Path(folder) for name, _, folder in given}, "shipped": WEIGHTS}
    if len(encoders) <= len(given):
        raise click.UsageError("a name stands for one encoder, and 'shipped' for the one that is")
    rows = []
    for name, folder in tqdm(encoders.items(), desc="encoders"):
        raw, rewritten = measure(folder, (None, WEIGHTS))
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
    main()
