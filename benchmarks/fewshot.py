"""Choose how annotated examples teach, on the validation halves of the public sets and of the sample.

    python -m benchmarks.fewshot [--draws 16] [--examples 10] [--out results]

Of each half some requests are drawn as examples, and Sufficiency is measured on others. They are drawn two ways: from
all, so that few of the others need a tool that was drawn; and, as where a few tools do most of the work, from those
that need none but the half's most used tools, of which the others are measured. No rewriter takes part.
"""

import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.published import publish
from benchmarks.study import MEASURES, VALIDATION
from eval import evaluate
from mtrb.benchmarks import load
from mtrb.types import Benchmark, Query
from qta.encoder import Encoder
from qta.examples import PRIOR_WEIGHTS, Examples, leave_one_out
from qta.lesson import UNTAUGHT, Lesson
from qta.recipe import Recipe, choose_recipe
from qta.refusals import run_command
from qta.taught import served
from qta.training.frozen import RememberingEncoder
from qta.workbench import Workbench

_NARROW = 3  # times the examples, and so many requests the most used tools must have

Teach = Callable[[Examples, Workbench], Lesson]


def counted(weight: float) -> Teach:
    """Teach by the usage prior alone."""
    return lambda known, bench: Recipe(weight).lesson(known, bench).model_copy(update={"requests": {}})


def nearer(weight: float) -> Teach:
    """Teach by bringing tools nearer to their requests, beside a usage prior."""
    return lambda known, bench: Recipe(weight).lesson(known, bench)


def by_leave_one_out(teach: Callable[[float], Teach]) -> Teach:
    """Teach with the weight of the prior that leave-one-out finds best, however little better."""

    def chosen(examples: Examples, bench: Workbench) -> Lesson:
        def rank(weight: float, known: Examples, query: Query) -> list[int]:
            ranking = served(bench, teach(weight)(known, bench)).retrieve([query], len(bench.toolset))
            return [bench.toolset.positions[one.tool_id] for one in ranking[query.query_id]]

        weight = leave_one_out(examples, PRIOR_WEIGHTS, rank, default=0.1).value
        return teach(weight)(examples, bench)

    return chosen


WAYS: dict[str, Teach] = {
    "nothing": lambda *_: UNTAUGHT,
    "usage prior, 0.1": counted(0.1),
    "usage prior, by leave-one-out": by_leave_one_out(counted),
    "tools nearer to their requests": nearer(0.0),
    "the same, and usage prior, 0.05": nearer(0.05),
    "the same, and usage prior, by leave-one-out": by_leave_one_out(nearer),
    "the same, where it is plain (served)": lambda known, bench: choose_recipe(bench, known).value.lesson(known, bench),
}
SERVED = list(WAYS)[-1]


def narrowed(bench: Benchmark, fewest: int) -> Benchmark:
    """Return the requests that need none but the most used tools, which are as few as have so many requests."""
    uses = Counter(tool for query in bench.queries for tool in bench.qrels[query.query_id])
    for tools in accumulate(([tool] for tool, _ in uses.most_common()), initial=list[str]()):
        kept = tuple(query for query in bench.queries if set(bench.qrels[query.query_id]) <= set(tools))
        if len(kept) >= fewest:
            return replace(bench, queries=kept)
    return bench


def draws(bench: Benchmark, examples: int, count: int) -> Iterator[tuple[Benchmark, Benchmark]]:
    """Yield examples and the other requests, so many times."""
    for seed in range(count):
        order = random.Random(seed).sample(bench.queries, len(bench.queries))
        yield replace(bench, queries=tuple(order[:examples])), replace(bench, queries=tuple(order[examples:]))


def measure(bench: Benchmark, shared: Workbench, examples: int, count: int) -> dict[str, list[tuple[float, float]]]:
    """Return Sufficiency@5 and @10 of each way for each draw, in per cent."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for taught, asked in draws(bench, examples, count):
        known = Examples.of(taught, bench.toolset)
        qrels = {query.query_id: bench.qrels[query.query_id] for query in asked.queries}
        for name, teach in WAYS.items():
            result = evaluate(qrels, served(shared, teach(known, shared)).retrieve(asked.queries, 10), MEASURES)
            found[name].append((100 * result.mean(MEASURES[0]), 100 * result.mean(MEASURES[1])))
    return found


def summarised(found: Mapping[str, Mapping[str, list[tuple[float, float]]]], name: str) -> dict[str, float]:
    """Return a way's means over sets, and how far they are from what is served, with the standard error over draws."""
    of_sets = [[statistics.mean(column) for column in zip(*ways[name], strict=True)] for ways in found.values()]
    gaps = [
        statistics.mean(one) - statistics.mean(other)
        for ways in found.values()
        for one, other in zip(ways[name], ways[SERVED], strict=True)
    ]
    five, ten = (statistics.mean(column) for column in zip(*of_sets, strict=True))
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    return {"S@5": five, "S@10": ten, "gap": statistics.mean(gaps), "error": error}


def _cells(one: Mapping[str, float]) -> str:
    return f"{one['S@5']:.2f} / {one['S@10']:.2f} | {one['gap']:+.2f} ± {one['error']:.2f}"


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--draws", "count", default=16, show_default=True)
@click.option("--examples", default=10, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(count: int, examples: int, out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    encoder: Encoder = RememberingEncoder()
    found: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {"from all": {}, "from a few tools": {}}
    for dataset in tqdm(VALIDATION, desc="sets"):
        bench = load(dataset, "validation")
        shared = Workbench(bench.toolset, encoder)
        found["from all"][dataset] = measure(bench, shared, examples, count)
        narrow = narrowed(bench, _NARROW * examples)
        found["from a few tools"][dataset] = measure(narrow, shared, examples, count)
    rows = {name: {way: summarised(sets, name) for way, sets in found.items()} for name in WAYS}
    head = (
        f"Sufficiency@5 / @10 in per cent with {examples} examples, means over {len(VALIDATION)} validation halves and "
        f"{count} draws; behind it their mean against what is served, with the standard error over sets and draws. "
        "Made by `python -m benchmarks.fewshot`."
    )
    lines = [f"| examples teach | {' | '.join(f'drawn {way} |' for way in found)} |", f"|---|{'--:|' * 2 * len(found)}"]
    for name, ways in rows.items():
        cells = [_cells(one) for one in ways.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    content = {"command": "python -m benchmarks.fewshot", "examples": examples, "draws": count, "ways": rows}
    publish(out, "fewshot", content, "\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    run_command(main)
