"""`qta eval`: measure systems on datasets or on a catalogue of your own."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtrb.errors import MissingDependencyError
from qta.commands import given

if TYPE_CHECKING:
    from qta.evaluate import Task

_folder = click.Path(file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("datasets", nargs=-1)
@click.option("--tools", multiple=True, help="A catalogue of your own, as for `qta index`; may be given again.")
@click.option("--queries", help="Its annotated requests: JSON Lines with id, query and tools.")
@click.option("--system", "systems", multiple=True, default=("clauses",), show_default=True, help="May be given again.")
@click.option(
    "--split", default="test", show_default=True, help="All of your own requests with `all`, or where none has a split."
)
@click.option("--k", "cutoffs", type=click.IntRange(1, 1000), multiple=True, default=(5, 10), show_default=True)
@click.option("--measure", "more", multiple=True, help="Report this too, e.g. Recall@20 or MRR; may be given again.")
@click.option("--baseline", help="Add p-values of a paired randomisation test against this system.")
@click.option("--mean", is_flag=True, help="Add the means over the datasets, each counting the same.")
@click.option("--json", "json_file", type=_file, help="Write the rows as JSON.")
@click.option("--markdown", "markdown_file", type=_file, help="Write the tables as Markdown.")
@click.option("--plot", "plot_file", type=_file, help="Write Sufficiency over k as PNG.")
@click.option("--runs", type=_folder, help="Write run files and qrels (TREC) into this folder.")
@click.option("--per-query", is_flag=True, help="Add each query's values to the JSON.")
@click.option("--fail-under", "floors", multiple=True, metavar="MEASURE=SHARE", help="Exit with 1 when a row is below.")
def evaluate(
    datasets: tuple[str, ...],
    tools: tuple[str, ...],
    queries: str | None,
    systems: tuple[str, ...],
    split: str,
    cutoffs: tuple[int, ...],
    more: tuple[str, ...],
    baseline: str | None,
    mean: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
    runs: Path | None,
    per_query: bool,
    floors: tuple[str, ...],
) -> None:
    """Measure systems on DATASETS, or on a catalogue of your own."""
    from eval.measures import Sufficiency, nDCG
    from eval.report import Report
    from qta.evaluate import run_evaluation, versions

    if per_query and not json_file:
        raise click.UsageError("--per-query adds to the JSON; give --json FILE too")
    if plot_file and plot_file.suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError(f"--plot {plot_file}: expected a file that ends in .png, .svg or .pdf")
    if plot_file and not find_spec("matplotlib"):
        raise MissingDependencyError("--plot needs matplotlib; `make install`, or pip install matplotlib")
    _spare_inputs((*tools, queries), (json_file, markdown_file, plot_file))
    bounds = [_parse_floor(floor) for floor in floors]
    measures = [measure @ k for measure in (Sufficiency, nDCG) for k in cutoffs]
    measures += [*map(_parse_measure, more), *(measure for measure, _ in bounds)]
    measures = list(dict.fromkeys(measures))
    tasks = _tasks(datasets, tools, queries, split)
    command = "qta eval " + " ".join(map(_quoted, sys.argv[2:])) if sys.argv[1:2] == ["eval"] else "qta eval"
    rows, left_out = run_evaluation(tasks, list(dict.fromkeys(systems)), measures, baseline, runs)
    report = Report(rows, left_out, command, versions(), mean)
    report.print()
    if json_file:
        report.write_json(json_file, per_query)
    if markdown_file:
        markdown_file.parent.mkdir(parents=True, exist_ok=True)
        markdown_file.write_text(report.markdown(), "utf-8")
    if plot_file:
        report.plot(plot_file)
    below = [
        f"{row.benchmark.dataset_id}, {row.system}: {measure} is {row.result.mean(measure):.4f}, below {floor}"
        for row in report.rows
        for measure, floor in bounds
        if row.result.mean(measure) < floor
    ]
    if bounds:
        below += [f"{name} was left out, so that nothing is known of it" for name in left_out]
    for line in below:
        click.echo(line, err=True)
    sys.exit(1 if below else 0)


def _spare_inputs(inputs: Sequence[str | None], outputs: Sequence[Path | None]) -> None:
    """Refuse to write over what is measured."""
    from mtrb.formats import spec_path

    given = [path for path in map(spec_path, filter(None, inputs)) if path.exists()]
    for output in filter(None, outputs):
        if output.exists() and any(path.samefile(output) for path in given):
            raise click.UsageError(f"{output} is what is to be measured; write into another file")


def _tasks(datasets: tuple[str, ...], tools: tuple[str, ...], queries: str | None, split: str) -> "list[Task]":
    from functools import partial

    from mtrb.benchmarks import DATASETS, load, load_examples, load_files
    from qta.evaluate import Task

    if bool(tools) != bool(queries):
        raise click.UsageError("--tools and --queries go together")
    if bool(tools) == bool(datasets):
        raise click.UsageError(f"name datasets ({', '.join(DATASETS)}), or give --tools and --queries")
    if tools and queries:
        own = partial(load_files, tools, queries, None if split == "all" else split, given("split"))
        examples = partial(load_files, tools, queries, "train")
        return [Task(queries, own, lambda: [examples()])]
    unknown = [dataset for dataset in datasets if dataset not in DATASETS]
    if unknown:
        raise click.UsageError(f"unknown dataset {unknown[0]!r}; known: {', '.join(DATASETS)}")
    return [
        Task(dataset, partial(load, dataset, split), partial(load_examples, dataset))
        for dataset in dict.fromkeys(datasets)
    ]


def _parse_measure(name: str) -> Any:
    from eval.measures import parse_measure

    try:
        return parse_measure(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _parse_floor(text: str) -> tuple[Any, float]:
    name, _, share = text.partition("=")
    measure = _parse_measure(name)
    try:
        floor = float(share)
    except ValueError:
        raise click.UsageError(f"--fail-under {text!r}: expected e.g. Sufficiency@5=0.8") from None
    if not 0 <= floor <= 1:
        raise click.UsageError(f"--fail-under {text!r}: the share must be between 0 and 1")
    return measure, floor


def _quoted(argument: str) -> str:
    import shlex

    return shlex.quote(argument)
