"""Choose the learning rate of the paper's pipeline, on halves of the examples that a rewriter has not seen.

    python -m benchmarks.rates [--work rates] [--out results] [--base MODEL]

For each seed or draw of `benchmarks.rewriters`, each half of the annotated examples is rewritten by a rewriter aligned
with the other half, and ranked by frozen MiniLM: by the rewrite alone (`qta-paper`), and by the mean of its scores and
the request's (`qta-paper+raw`). `benchmarks.rewriters.PAPER_RATES` holds what is best for each dataset, and which of
the two rows is. What is in the working folder is left as it is, so that an interrupted run goes on.
"""

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.rewriters import Job, jobs
from qta.encoder import Encoder
from qta.examples import Examples
from qta.refusals import run_command
from qta.training.frozen import FrozenMiniLM
from qta.training.gate import cross_fit, judge
from qta.workbench import Workbench

RATES = (2e-4, 6e-4)
ROWS = {"qta-paper": 0.0, "qta-paper+raw": 0.5}


def measure(job: Job, rate: float, work: Path) -> Mapping[str, Any]:
    """Return how well the unseen halves are served by each row, before and after; from the folder where it is there."""
    path = work / f"{job.folder.replace('/', '_')}-{rate}.json"
    if not path.exists():
        settings = job.at(rate).settings
        examples = Examples.of(job.annotated, job.annotated.toolset)
        minilm, tools = Workbench(job.annotated.toolset, Encoder()).minilm, list(job.annotated.toolset)
        frozen = FrozenMiniLM(minilm, tools)
        rewrites = cross_fit(settings.base, examples, frozen, settings, path.with_suffix(""), tqdm.write)
        verdicts = {row: judge(examples, rewrites, FrozenMiniLM(minilm, tools, raw)) for row, raw in ROWS.items()}
        found = {row: verdict.to_json() for row, verdict in verdicts.items()}
        path.write_text(json.dumps({"found": found, "rewrites": rewrites}, ensure_ascii=False), "utf-8")
    content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["found"]
    return content


def means(found: list[Mapping[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """Yield each row's Sufficiency and log rank over the seeds, the request's own first."""
    yield "request alone", *_mean(found, "qta-paper", "before")
    for row in ROWS:
        yield row, *_mean(found, row, "after")


def _mean(found: list[Mapping[str, Any]], row: str, when: str) -> tuple[float, float]:
    every = [one[row][when] for one in found]
    return statistics.mean(one["sufficiency"] for one in every), statistics.mean(one["log_rank"] for one in every)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), default=Path("rates"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--base", help="A model of the Hugging Face hub, a folder or a GGUF file.  [default: our own small one]")
def main(work: Path, out: Path, seeds: int, base: str | None) -> None:
    """Measure, print a table, and write it into the folder."""
    work.mkdir(parents=True, exist_ok=True)
    measured: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for job, rate in tqdm([(job, rate) for job in jobs("paper", seeds, base) for rate in RATES], desc="halves"):
        measured.setdefault((job.annotated.dataset_id, rate), []).append(measure(job, rate, work))
    rows = [(*key, *mean) for key, found in sorted(measured.items()) for mean in means(found)]
    lines = ["| | learning rate | ranked by | Sufficiency | log rank |", "|---|--:|---|--:|--:|"]
    lines += [
        f"| {name} | {rate:g} | {row} | {100 * served:.1f} | {rank:.3f} |" for name, rate, row, served, rank in rows
    ]
    head = (
        "Examples that the rewriter has not seen: mean of Sufficiency@5 and @10 in per cent, and mean log rank of the "
        "worst golden tool, over the seeds or draws. Made by `python -m benchmarks.rates`."
    )
    names = ("dataset", "rate", "row", "sufficiency", "log_rank")
    content = {"command": "python -m benchmarks.rates", "rows": [dict(zip(names, row, strict=True)) for row in rows]}
    publish(out, "rates", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    run_command(main)
