"""Align the rewriters that `make eval` measures: every dataset, draw of examples and seed, into a folder.

    python -m benchmarks.rewriters [--out rewriters] [--seeds 3]

`qta/DATASET/SPLIT/seed-N` is what `qta train dpo` makes, `paper/...` the paper's pipeline: frozen MiniLM, descriptions
only, sampled tools in the prompt, the rewrite alone as the query. What is there already is left as it is, so that an
interrupted run goes on. MetaTool's five draws have a seed each, the others three.
"""

from pathlib import Path

import click
from tqdm import tqdm

from mtrb.benchmarks import load_examples
from mtrb.types import Benchmark
from qta.encoder import Encoder
from qta.taught import NOTHING_TO_LEARN
from qta.training.config import AlignSettings, load_settings
from qta.training.preferences import NoPairsError
from qta.training.run import train_dpo, train_paper

DATASETS = ("mtrb/restbench", "mtrb/metatool", "mtrb/toolbench-standin", "sample")


def jobs(seeds: int) -> list[tuple[Benchmark, int]]:
    """Return the annotated examples and seed of each rewriter: several draws have a seed each, a single one several."""
    draws = [load_examples(dataset) for dataset in DATASETS]
    several = [(draw, seed) for found in draws if len(found) > 1 for seed, draw in enumerate(found)]
    return [(found[0], seed) for found in draws if len(found) == 1 for seed in range(seeds)] + several


def settings(seed: int, selection: str) -> AlignSettings:
    """Return the default settings with a seed, and with the tools in the prompt chosen so."""
    base = load_settings(seed=seed)
    return base.model_copy(update={"prompt": base.prompt.model_copy(update={"selection": selection})})


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("rewriters"), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--kind", type=click.Choice(["qta", "paper"]), multiple=True, default=("qta", "paper"))
def main(out: Path, seeds: int, kind: tuple[str, ...]) -> None:
    """Align what is missing."""
    encoder = Encoder()
    todo = [(one, *job) for one in kind for job in jobs(seeds)]
    for one, annotated, seed in tqdm(todo, desc="rewriters"):
        folder = out / one / annotated.dataset_id / annotated.split / f"seed-{seed}"
        if any(folder.glob("*/rewriter.json")) or (folder / NOTHING_TO_LEARN).exists():
            continue
        tqdm.write(f"{folder}")
        try:
            if one == "qta":
                train_dpo(annotated, settings(seed, "nearest"), folder, encoder, tqdm.write)
            else:
                train_paper(annotated, settings(seed, "sampled"), folder, tqdm.write)
        except NoPairsError as error:
            (folder / NOTHING_TO_LEARN).write_text(f"{error}\n", "utf-8")


if __name__ == "__main__":
    main()
