"""Measure whether answers of `"k": "auto"` hold every golden tool as often as they say, and how long they are.

    python -m benchmarks.coverage                 on the test requests of MTRB, the sample and the public sets
    python -m benchmarks.coverage --rehearse      the same programme on validation requests
    python -m benchmarks.coverage --compare       what `auto` goes by, against others, on the public validation halves

Only the public test halves are drawn as the requests of the shipped calibration were, and even there the ranking was
chosen on the latter and not on the former; the guarantee assumes neither to differ. Each set is also measured with a
calibration on its own annotated requests, where there are enough.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from benchmarks.published import publish
from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from mtrb.errors import AbsentDataError, InputError
from mtrb.types import Benchmark
from qta.calibration import FILE, observe, read_calibration
from qta.conformal import (
    COVERAGE,
    DEPTH,
    LEVEL,
    Calibration,
    Nonconformity,
    Observed,
    flagged,
    gap,
    last_cost,
    nonconformity,
    quantile,
)
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command

PUBLIC = [f"public/{name}" for name in NAMES]
# Each row: its name, the sets in it, the split that is measured, and that of the row's own calibration.
TEST = [
    ("mtrb/restbench", ["mtrb/restbench"], "test", "train"),
    ("mtrb/metatool", ["mtrb/metatool"], "test", "train"),
    ("mtrb/toolbench", ["mtrb/toolbench"], "test", "train"),
    ("mtrb/toolbench-standin", ["mtrb/toolbench-standin"], "test", "train"),
    ("sample", ["sample"], "test", "validation"),
    ("public, all sets in one", PUBLIC, "test", None),
]
REHEARSAL = [
    ("sample", ["sample"], "validation", "train"),
    ("public, all sets in one", PUBLIC, "validation", None),
]
OTHERS: dict[str, Nonconformity] = {
    "the rank": lambda scores: np.arange(1.0, len(scores) + 1),
    "the score's distance from the best": gap,
    "distance + 0.5 log rank (`auto`)": nonconformity,
}
_SPLITS = 50

Row = dict[str, Any]


def observed(dataset: str, split: str, encoder: Encoder) -> list[Observed]:
    """Rank for the requests of a split."""
    annotated: Benchmark = load(dataset, split)
    retriever = HybridRetriever(build_in_memory(annotated.toolset, encoder), encoder)
    return observe(retriever, annotated, np.ones(len(annotated.toolset), np.bool_))


def row(name: str, calibration: Calibration, source: str, requests: Sequence[Observed]) -> Row:
    """Return what answers to these requests are like."""
    sizes = [calibration.size(one.scores) for one in requests]
    covered = [one.last <= size for one, size in zip(requests, sizes, strict=True)]
    error = np.sqrt(np.mean(covered) * (1 - np.mean(covered)) / len(covered))
    return {
        "requests": name,
        "calibrated_on": source,
        "n": len(requests),
        "target": calibration.coverage,
        "coverage": round(float(np.mean(covered)), 4),
        "standard_error": round(float(error), 4),
        "mean_size": round(float(np.mean(sizes)), 2),
        "median_size": float(np.median(sizes)),
        "said_to_fit_no_tool": flagged(calibration, [one.nearest for one in requests]),
        "said_to_fit_no_tool_golden_tools_removed": flagged(calibration, [one.others for one in requests]),
    }


def measure(rows: Sequence[tuple[str, list[str], str, str | None]], encoder: Encoder) -> tuple[list[Row], list[str]]:
    """Return a row for each set and calibration, and what was left out and why."""
    shipped = read_calibration(WEIGHTS / FILE, encoder.identity)
    source = f"public validation halves ({len(shipped.costs)})"
    found: list[Row] = []
    left_out = []
    for name, sets, split, own in tqdm(rows, desc="sets"):
        try:
            requests = [one for dataset in sets for one in observed(dataset, split, encoder)]
            found.append(row(name, shipped, source, requests))
            if own is not None:
                known = observed(sets[0], own, encoder)
                calibration = Calibration.of(known, COVERAGE, encoder.identity, {})
                found.append(row(name, calibration, f"its own {own} requests ({len(known)})", requests))
        except (AbsentDataError, InputError) as error:
            left_out.append(f"{name}: {error}")
    return found, left_out


def compare(encoder: Encoder) -> list[str]:
    """Return lines: for each nonconformity, coverage and sizes over random halves of the validation requests."""
    requests = [one for dataset in PUBLIC for one in observed(dataset, "validation", encoder)]
    lines = ["| nonconformity | target | coverage | mean size | median size |", "|---|--:|--:|--:|--:|"]
    for target in (0.8, 0.9, 0.95):
        for name, cost in OTHERS.items():
            rng = np.random.default_rng(0)
            figures = []
            for _ in range(_SPLITS):
                order = rng.permutation(len(requests))
                half = len(order) // 2
                limit = quantile((last_cost(requests[at], cost) for at in order[:half]), target)
                rest = [requests[at] for at in order[half:]]
                sizes = [int((cost(one.scores) <= limit).sum()) for one in rest]
                covered = [one.last <= size for one, size in zip(rest, sizes, strict=True)]
                figures.append((np.mean(covered), np.mean(sizes), np.median(sizes)))
            coverage, mean, median = np.mean(figures, axis=0)
            lines.append(f"| {name} | {target} | {coverage:.3f} | {mean:.2f} | {median:.1f} |")
    return lines


def table(rows: Sequence[Row], left_out: Sequence[str], command: str) -> str:
    """Return the rows as Markdown."""
    lines = [
        f'Answers of `"k": "auto"`: how often they hold every golden tool, and how long they are, at most {DEPTH} '
        f"tools. Made by `{command}`.\n",
        "| requests | n | calibrated on | target | coverage | mean size | median | "
        f"said to fit no tool (at most {LEVEL:.0%}) | the same, golden tools removed |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one['requests']} | {one['n']} | {one['calibrated_on']} | {one['target']} | {one['coverage']:.3f} ± "
        f"{one['standard_error']:.3f} | {one['mean_size']} | {one['median_size']:g} | "
        f"{one['said_to_fit_no_tool']:.1%} | {one['said_to_fit_no_tool_golden_tools_removed']:.1%} |"
        for one in rows
    ]
    return "\n".join([*lines, *(f"\nLeft out: {line}." for line in left_out)]) + "\n"


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--rehearse", is_flag=True, help="On validation requests; writes nothing.")
@click.option("--compare", "comparing", is_flag=True, help="Compare nonconformities; writes nothing.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(rehearse: bool, comparing: bool, out: Path) -> None:
    """Measure, print the table, and write it into the folder."""
    encoder = Encoder()
    if comparing:
        click.echo("\n".join(compare(encoder)))
        return
    command = "python -m benchmarks.coverage" + (" --rehearse" if rehearse else "")
    rows, left_out = measure(REHEARSAL if rehearse else TEST, encoder)
    content = {"command": command, "encoder": encoder.identity, "rows": rows, "left_out": left_out}
    if rehearse:
        click.echo(table(rows, left_out, command))
    else:
        publish(out, "coverage", content, table(rows, left_out, command))


if __name__ == "__main__":
    run_command(main)
