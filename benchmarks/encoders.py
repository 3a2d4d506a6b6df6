"""Compare encoders on the validation halves, in all stages that are served, without and with the unaligned rewriter.

    python -m benchmarks.encoders [NAME=DIR ...] [--out results]

DIR is what `qta.training.layers` and `qta.export.encoder` have written of a model; what is shipped is measured beside.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import MEASURES, VALIDATION, Study, percent
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


def public(figures: Figures) -> list[float]:
    """Return the means over the public sets, each counting the same."""
    values = [list(found.values()) for name, found in figures.items() if name != "sample"]
    return [float(one) for one in np.mean(values, axis=0)]


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
    encoders = {"shipped": WEIGHTS, **{name: Path(folder) for name, _, folder in given}}
    rows = []
    for name, folder in tqdm(encoders.items(), desc="encoders"):
        raw, rewritten = measure(folder, (None, WEIGHTS))
        rows.append({"encoder": name, "requests": raw, "rewrites": rewritten, "worse": worse(raw, rewritten)})
    lines = ["| encoder | public, S@5 / S@10 | their mean | sample | rewrites make worse |", "|---|--:|--:|--:|---|"]
    for row in rows:
        raw = row["requests"]
        sample = " / ".join(f"{value:.2f}" for value in raw["sample"].values())
        means = public(raw)
        harmed = ", ".join(name.removeprefix("public/") for name in row["worse"]) or "none"
        lines.append(
            f"| {row['encoder']} | {means[0]:.2f} / {means[1]:.2f} | {np.mean(means):.2f} | {sample} | {harmed} |"
        )
    head = "Sufficiency in per cent on the validation halves. Made by `python -m benchmarks.encoders NAME=DIR ...`."
    content = {"command": "python -m benchmarks.encoders", "rows": rows}
    publish(out, "encoders", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    main()
