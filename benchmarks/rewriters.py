"""Align the rewriters that `make eval` and `make evidence` measure, into a folder.

    python -m benchmarks.rewriters [--out rewriters] [--seeds 3] [--kind qta ...] [--at-once 1] [--base MODEL] [--raw 0]

- `qta/DATASET/SPLIT/seed-N` is what `qta train dpo` makes of a dataset's annotated examples;
- `paper/...` the paper's pipeline: frozen MiniLM, descriptions only, sampled tools in the prompt, the rewrite alone;
- `curve/COUNT/draw-N` what it makes of fewer of RestBench's examples;
- `ranking/FUNCTION/DATASET` what it makes with another ranking function.

What is there already is left as it is, so that an interrupted run goes on. MetaTool's five draws have a seed each, the
others three. Of several at once each has a process, and takes 2 to 15 GB of a GPU's memory, most over large catalogues.
"""

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from typing import Literal, Self

import click
from tqdm import tqdm

from mtrb.benchmarks import load, load_examples
from mtrb.types import Benchmark
from qta.encoder import Encoder
from qta.ranking import RANKING_FUNCTIONS
from qta.refusals import run_command
from qta.taught import NOTHING_TO_LEARN
from qta.training.config import AlignSettings, load_settings
from qta.training.preferences import NoPairsError
from qta.training.run import train_dpo, train_paper

DATASETS = ("mtrb/restbench", "mtrb/metatool", "mtrb/toolbench-standin", "sample")
KINDS = ("qta", "paper", "curve", "ranking")
PAPER = {"mtrb/restbench": (6e-4, 0.5), "mtrb/toolbench-standin": (6e-4, 0.0)}
"""Of the paper's pipeline and our own base: the learning rate, and how much the request counts beside the rewrite in
what it is aligned for, where halves of the examples are served better than by the default; see results/rates.md. The
stand-in's and the sample's would be served better with 0.5 too, which was found when device time was spent."""
CURVE, DRAWS = (1, 3, 5), 3
RANKED = ("mtrb/restbench", "sample")
_RAW = "How much the request counts beside the rewrite in what the paper's are aligned for, with a base that is given."


@dataclass(frozen=True)
class Job:
    """A rewriter to be aligned: where, with what, and as the paper does or as is served.

    Attributes:
        raw: of the paper's, how much the request counts in the ranks that it is aligned for.
    """

    folder: str
    annotated: Benchmark
    settings: AlignSettings
    paper: bool = False
    raw: float = 0.0

    def at(self, rate: float, raw: float = 0.0) -> Self:
        """Return the job at another learning rate, aligned for other ranks."""
        dpo = self.settings.dpo.model_copy(update={"learning_rate": rate})
        return replace(self, settings=self.settings.model_copy(update={"dpo": dpo}), raw=raw)

    def run(self, out: Path, encoder: Encoder) -> None:
        """Align it; where all candidates are as good, leave a note that says so."""
        folder = out / self.folder
        try:
            if self.paper:
                train_paper(self.annotated, self.settings, folder, tqdm.write, self.raw)
            else:
                train_dpo(self.annotated, self.settings, folder, encoder, tqdm.write)
        except NoPairsError as error:
            (folder / NOTHING_TO_LEARN).write_text(f"{error}\n", "utf-8")

    def is_done(self, out: Path) -> bool:
        """Tell whether it is there."""
        folder = out / self.folder
        return any(folder.glob("*/rewriter.json")) or (folder / NOTHING_TO_LEARN).exists()


def jobs(kind: str, seeds: int, base: str | None = None, raw: float = 0.0) -> Iterator[Job]:
    """Yield the rewriters of a kind, on top of our own base, or of another with what the paper's are aligned for."""
    if kind == "curve":
        for count in CURVE:
            for draw in range(DRAWS):
                yield Job(f"curve/{count}/draw-{draw}", fewer(count, draw), load_settings(seed=draw, base=base))
    elif kind == "ranking":
        default = load_settings().pairs.ranking
        for name in RANKING_FUNCTIONS:
            for dataset in RANKED if name != default else ():
                given = load_settings(base=base)
                pairs = given.pairs.model_copy(update={"ranking": name})
                yield Job(
                    f"ranking/{name}/{dataset}", load(dataset, "train"), given.model_copy(update={"pairs": pairs})
                )
    else:
        for annotated, seed in _taught(seeds):
            folder = f"{kind}/{annotated.dataset_id}/{annotated.split}/seed-{seed}"
            settings, paper = _settings(seed, "sampled" if kind == "paper" else "nearest", base), kind == "paper"
            job = Job(folder, annotated, settings, paper)
            chosen = PAPER if paper and base is None else {}
            yield job.at(*chosen.get(annotated.dataset_id, (settings.dpo.learning_rate, raw if paper else 0.0)))


def fewer(count: int, draw: int) -> Benchmark:
    """Return some of RestBench's annotated examples: the first of them in an order drawn anew."""
    every = load("mtrb/restbench", "train")
    order = random.Random(draw).sample(every.queries, len(every.queries))
    queries = tuple(order[:count])
    qrels = {query.query_id: every.qrels[query.query_id] for query in queries}
    return Benchmark(every.dataset_id, every.split, every.toolset, queries, qrels)


def _taught(seeds: int) -> list[tuple[Benchmark, int]]:
    """Return the annotated examples and seed of each rewriter: several draws have a seed each, a single one several."""
    draws = [load_examples(dataset) for dataset in DATASETS]
    several = [(draw, seed) for found in draws if len(found) > 1 for seed, draw in enumerate(found)]
    return [(found[0], seed) for found in draws if len(found) == 1 for seed in range(seeds)] + several


def _settings(seed: int, selection: Literal["nearest", "sampled"], base: str | None) -> AlignSettings:
    given = load_settings(seed=seed, base=base)
    return given.model_copy(update={"prompt": given.prompt.model_copy(update={"selection": selection})})


def align_all(missing: Sequence[Job], out: Path, at_once: int) -> list[str]:
    """Align rewriters, so many at once, spread over the GPUs; return the folders of those that failed.

    Each has a process of its own: what it leaves on a GPU is gone when it ends, and when it is killed no other is.
    """
    places: Queue[str | None] = Queue()
    names = gpu_names()
    for number in range(at_once):
        places.put(names[number % len(names)] if names else None)

    def run(job: Job) -> int | None:
        gpu = places.get()
        process = get_context("spawn").Process(target=_align, args=(job, out, gpu))
        process.start()
        process.join()
        places.put(gpu)
        return process.exitcode

    failed = []
    pool = ThreadPoolExecutor(at_once)
    try:
        running = {pool.submit(run, job): job for job in missing}
        for done in tqdm(as_completed(running), total=len(running), desc="rewriters"):
            folder = running[done].folder
            if done.result():
                failed.append(folder)
            tqdm.write(f"{out / folder}{': failed, see above' if done.result() else ''}")
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def gpu_names() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (given.split(",") if given else list(map(str, range(count))))[:count]


def _align(job: Job, out: Path, gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when a process first uses one
    job.run(out, Encoder())


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("rewriters"), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, default=KINDS)
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True)
@click.option("--base", help="A model of the Hugging Face hub, a folder or a GGUF file.  [default: our own small one]")
@click.option("--raw", type=click.FloatRange(0, 1), default=0.0, show_default=True, help=_RAW)
def main(out: Path, seeds: int, kinds: tuple[str, ...], at_once: int, base: str | None, raw: float) -> None:
    """Align what is missing."""
    if raw and base is None:
        raise click.UsageError("--raw is for another --base; for our own it was chosen, see results/rates.md")
    every = [job for kind in kinds for job in jobs(kind, seeds, base, raw)]
    failed = align_all([job for job in every if not job.is_done(out)], out, at_once)
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(every)} were not aligned: {', '.join(sorted(failed))}")


if __name__ == "__main__":
    run_command(main)
