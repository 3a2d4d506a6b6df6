"""Measure what an aligned rewriter adds beside what examples teach, on the public validation halves and the sample's.

    python -m benchmarks.alignments [--work rewriters/drawn] [--out results]

Of each half ten requests are drawn, twice; a rewriter is aligned with them, and the others are ranked with what the ten
teach and no rewriter, with our base unaligned, and with the aligned one: its steps bounded, as they are served, and
trusted, as they are in its training. What is in the working folder is left as it is; a GPU takes six minutes for all.
"""

import random
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import MEASURES, build_in, percent
from eval import evaluate
from mtrb.benchmarks import load
from mtrb.types import Benchmark
from qta.encoder import WEIGHTS, Encoder
from qta.examples import Examples
from qta.hybrid import HybridRetriever
from qta.recipe import Recipe
from qta.refusals import run_command
from qta.rewriting import open_rewriter
from qta.rewriting.rewriter import CatalogueRewriter
from qta.steps import STEPS, TRUSTED
from qta.taught import NOTHING_TO_LEARN
from qta.training.config import load_settings
from qta.training.frozen import RememberingEncoder
from qta.training.preferences import NoPairsError
from qta.training.run import train_dpo
from qta.workbench import Workbench

SETS = ("api-bank", "bfcl", "mcpm-registry", "nestful", "sample", "toolalpaca", "tooltalk")
DRAWS, EXAMPLES = 2, 10


def drawn(name: str, draw: int) -> tuple[Benchmark, Benchmark]:
    """Return the requests that are aligned on, and the others."""
    bench = load(name if name == "sample" else f"public/{name}", "validation")
    chosen = random.Random(draw).sample(bench.queries, EXAMPLES)
    others = tuple(query for query in bench.queries if query not in chosen)
    return replace(bench, queries=tuple(chosen)), replace(bench, queries=others)


def aligned(taught: Benchmark, draw: int, folder: Path, encoder: Encoder) -> Path | None:
    """Return the rewriter, aligned now where it is not there; None where there was nothing to learn."""
    if not any(folder.glob("*/rewriter.json")) and not (folder / NOTHING_TO_LEARN).exists():
        try:
            train_dpo(taught, load_settings(seed=draw), folder, encoder, tqdm.write)
        except NoPairsError as error:
            (folder / NOTHING_TO_LEARN).write_text(f"{error}\n", "utf-8")
    return build_in(folder)


def measure(taught: Benchmark, asked: Benchmark, build: Path, encoder: Encoder) -> Iterator[tuple[str, float]]:
    """Yield the mean of Sufficiency@5 and @10 in per cent of each way."""
    bench = Workbench(taught.toolset, encoder)
    stages = Recipe().lesson(Examples.of(taught, taught.toolset), bench).stages(taught.toolset.positions.get)
    qrels = {query.query_id: asked.qrels[query.query_id] for query in asked.queries}
    rewriters = {"no rewriter": None, "unaligned": WEIGHTS, "aligned": build, "aligned, steps trusted": build}
    for name, folder in rewriters.items():
        queries = asked.queries
        if folder is not None:
            shows = HybridRetriever(bench.index, encoder)
            queries = tuple(CatalogueRewriter(open_rewriter(folder), shows).rewrite(queries))
        ranks = HybridRetriever(bench.index, encoder, replace(stages, steps=TRUSTED if "trusted" in name else STEPS))
        yield name, statistics.mean(percent(evaluate(qrels, ranks.retrieve(queries, 10), MEASURES)).values())


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--work", type=click.Path(path_type=Path), default=Path("rewriters/drawn"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(work: Path, out: Path) -> None:
    """Align what is missing, measure, print a table, and write it into the folder."""
    encoder: Encoder = RememberingEncoder()
    rows: dict[str, dict[str, float]] = {}
    for name, draw in tqdm([(name, draw) for name in SETS for draw in range(DRAWS)], desc="draws"):
        taught, asked = drawn(name, draw)
        build = aligned(taught, draw, work / name / f"draw-{draw}", encoder)
        if build is not None:
            rows[f"{name}, {draw}"] = dict(measure(taught, asked, build, encoder))
    ways = list(next(iter(rows.values())))
    lines = [f"| set, draw | {' | '.join(ways)} |", f"|---|{'--:|' * len(ways)}"]
    lines += [f"| {name} | {' | '.join(f'{row[way]:.2f}' for way in ways)} |" for name, row in rows.items()]
    gains = {way: [row[way] - row[ways[0]] for row in rows.values()] for way in ways[1:]}
    told = (f"{statistics.mean(one):+.2f} ± {statistics.stdev(one) / len(one) ** 0.5:.2f}" for one in gains.values())
    lines.append(f"| mean against none, standard error | | {' | '.join(told)} |")
    head = (
        f"Mean of Sufficiency@5 and @10 in per cent on validation requests beside {EXAMPLES} drawn ones, whose lesson "
        "all have. Made by `python -m benchmarks.alignments`."
    )
    content = {"command": "python -m benchmarks.alignments", "examples": EXAMPLES, "draws": rows}
    publish(out, "alignments", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    run_command(main)
