"""Choose the learning rate and the aim of the paper's pipeline, on halves of the examples a rewriter has not seen.

    python -m benchmarks.rates [--work rates] [--out results] [--dataset NAME ...] [--at-once 1] [--base MODEL]

For each seed or draw of `benchmarks.rewriters`, each half of the annotated examples is rewritten by a rewriter aligned
with the other half, and ranked by frozen MiniLM: by the rewrite alone (`qta-paper`), and by the mean of its scores and
the request's (`qta-paper+raw`). It is aligned for the first or for the second. `benchmarks.rewriters.PAPER` holds what
is best for each dataset, and which of the two rows is. What is in the working folder is left as it is, so that an
interrupted run goes on.
"""

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.rewriters import DATASETS, Job, align_all, jobs
from qta.encoder import Encoder
from qta.examples import Examples
from qta.refusals import run_command
from qta.training.frozen import FrozenMiniLM
from qta.training.gate import cross_fit, judge
from qta.workbench import Workbench

RATES = (2e-4, 6e-4)
ROWS = {"qta-paper": 0.0, "qta-paper+raw": 0.5}
AIMS = {raw: row for row, raw in ROWS.items()}


class Row(NamedTuple):
    """How well unseen halves are served, in the mean over the seeds or draws."""

    dataset: str
    rate: float
    aligned_for: str
    row: str
    sufficiency: float
    log_rank: float


class Halves(Job):
    """Measure how well the unseen halves are served by each row, before and after."""

    @property
    def file(self) -> str:
        """Return where that is written."""
        return f"{self.folder.replace('/', '_')}-{self.settings.dpo.learning_rate}-{AIMS[self.raw]}.json"

    def run(self, out: Path, encoder: Encoder) -> None:
        """Align with each half, and write what the other is served."""
        path = out / self.file
        examples = Examples.of(self.annotated, self.annotated.toolset)
        minilm, tools = Workbench(self.annotated.toolset, encoder).minilm, list(self.annotated.toolset)
        aim = FrozenMiniLM(minilm, tools, self.raw)
        rewrites = cross_fit(self.settings.base, examples, aim, self.settings, path.with_suffix(""), tqdm.write)
        verdicts = {row: judge(examples, rewrites, FrozenMiniLM(minilm, tools, raw)) for row, raw in ROWS.items()}
        found = {row: verdict.to_json() for row, verdict in verdicts.items()}
        path.write_text(json.dumps({"found": found, "rewrites": rewrites}, ensure_ascii=False), "utf-8")

    def is_done(self, out: Path) -> bool:
        """Tell whether it is written."""
        return (out / self.file).exists()

    def read(self, out: Path) -> Mapping[str, Any]:
        """Return what is written."""
        found: Mapping[str, Any] = json.loads((out / self.file).read_text("utf-8"))["found"]
        return found


def halves(datasets: tuple[str, ...], seeds: int, base: str | None) -> list[Halves]:
    """Return what is to be measured."""
    of_paper = [Halves(**vars(job)) for job in jobs("paper", seeds, base) if job.annotated.dataset_id in datasets]
    return [job.at(rate, raw) for job in of_paper for rate in RATES for raw in AIMS]


def means(measured: list[Halves], work: Path) -> Iterator[Row]:
    """Yield each row's Sufficiency and log rank over the seeds, the request's own first."""
    found: dict[tuple[str, float, float], list[Mapping[str, Any]]] = {}
    for job in measured:
        key = (job.annotated.dataset_id, job.settings.dpo.learning_rate, job.raw)
        found.setdefault(key, []).append(job.read(work))
    before = {name: [one["qta-paper"]["before"] for one in each] for (name, *_), each in found.items()}
    for name, each in sorted(before.items()):
        yield Row(name, 0.0, "", "request alone", *_mean(each))
        for (of, rate, raw), those in found.items():
            for row in ROWS if of == name else ():
                yield Row(name, rate, AIMS[raw], row, *_mean([one[row]["after"] for one in those]))


def _mean(criteria: list[Mapping[str, float]]) -> tuple[float, float]:
    return statistics.mean(one["sufficiency"] for one in criteria), statistics.mean(one["log_rank"] for one in criteria)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), default=Path("rates"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--dataset", "datasets", type=click.Choice(DATASETS), multiple=True, default=DATASETS)
@click.option("--seeds", default=3, show_default=True)
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True)
@click.option("--base", help="A model of the Hugging Face hub, a folder or a GGUF file.  [default: our own small one]")
def main(work: Path, out: Path, datasets: tuple[str, ...], seeds: int, at_once: int, base: str | None) -> None:
    """Measure, print a table, and write it into the folder."""
    work.mkdir(parents=True, exist_ok=True)
    every = halves(datasets, seeds, base)
    if failed := align_all([job for job in every if not job.is_done(work)], work, at_once):
        raise click.ClickException(f"{len(failed)} of {len(every)} were not measured: {', '.join(sorted(failed))}")
    rows = list(means(every, work))
    lines = ["| | learning rate | aligned for | ranked by | Sufficiency | log rank |", "|---|--:|---|---|--:|--:|"]
    for name, rate, aim, row, served, rank in rows:
        setting = f"{rate:g} | {aim}" if aim else " | "
        lines.append(f"| {name} | {setting} | {row} | {100 * served:.1f} | {rank:.3f} |")
    head = (
        "Examples that the rewriter has not seen: mean of Sufficiency@5 and @10 in per cent, and mean log rank of the "
        "worst golden tool, over the seeds or draws. Made by `python -m benchmarks.rates`."
    )
    content = {"command": "python -m benchmarks.rates", "rows": [one._asdict() for one in rows]}
    publish(out, "rates", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    run_command(main)
