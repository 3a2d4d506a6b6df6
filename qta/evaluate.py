"""Run systems over benchmarks and collect the rows of a report."""

import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eval.evaluator import EvalResult, average, evaluate
from eval.measures import Measure
from eval.report import Row, plotted_measures
from mtrb.errors import AbsentDataError, InputError, MissingDependencyError
from mtrb.runs import write_qrels, write_run
from mtrb.types import Benchmark, Run
from qta import __version__
from qta.encoder import Encoder
from qta.examples import Examples
from qta.systems import build_system, check_system, learns
from qta.taught import Taught
from qta.workbench import Workbench

_DEPTH = 100  # tools in every run, so that run files give the same figures wherever they are scored
_LIBRARIES = ("numpy", "bm25s", "rank-bm25", "faiss-cpu", "onnxruntime", "sentence-transformers", "torch")


@dataclass(frozen=True)
class Task:
    """A dataset to evaluate on: its name, and how its queries and annotated examples are loaded."""

    name: str
    load: Callable[[], Benchmark]
    load_examples: Callable[[], list[Benchmark]] = lambda: []


def run_evaluation(
    tasks: Iterable[Task],
    systems: Sequence[str],
    measures: Sequence[Measure],
    baseline: str | None = None,
    runs: Path | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Run every system on every dataset; return the rows, and what was left out because its data is absent, and why.

    A system that learns from annotated examples runs once for each draw of them, and each seed; its row is the mean.

    Args:
        tasks: what to run on.
        systems: names of `qta.systems.SYSTEMS`.
        measures: what is reported.
        baseline: the system that p-values are computed against.
        runs: a folder for the run files.

    Raises:
        InputError: a system is unknown, no dataset could be loaded, or an example is among the queries.
    """
    for system in systems:
        check_system(system)
    if baseline is not None and baseline not in systems:
        raise InputError(f"the baseline {baseline!r} is not among the systems {', '.join(systems)}")
    encoder = Encoder()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for task in tasks:
        try:
            benchmark = task.load()
            draws = _examples(task, benchmark) if any(map(learns, systems)) else []
        except AbsentDataError as error:
            left_out[task.name] = str(error)
            continue
        results = {}
        with tqdm(total=len(benchmark.toolset), desc=f"embed {task.name}", unit="tool", delay=2, leave=False) as bar:
            bench = Workbench(benchmark.toolset, encoder, bar.update)
            for system in systems:
                try:
                    results[system] = _run(system, bench, benchmark, draws, measures, runs)
                except (MissingDependencyError, AbsentDataError) as error:
                    left_out[f"{benchmark.dataset_id}, {system}"] = str(error)
        rows += [one.row(benchmark, measures, results.get(baseline or "")) for one in results.values()]
    if not rows:
        raise InputError("nothing to evaluate: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    return rows, left_out


def _examples(task: Task, benchmark: Benchmark) -> list[Examples]:
    drawn = task.load_examples()
    asked = {query.text for query in benchmark.queries}
    for query in (query for one in drawn for query in one.queries):
        if query.text in asked:
            raise InputError(f"{task.name}: the example {query.query_id!r} is also among the queries; choose a --split")
    return [Examples.of(one, benchmark.toolset) for one in drawn]


@dataclass(frozen=True)
class _Result:
    system: str
    seconds: float
    result: EvalResult
    chosen: list[Mapping[str, Any]]

    def row(self, benchmark: Benchmark, measures: Sequence[Measure], against: "_Result | None") -> Row:
        p_values = {}
        if against is not None and against.system != self.system:
            p_values = {measure: self.result.p_value(measure, against.result) for measure in measures}
        return Row(benchmark, self.system, self.seconds, self.result, measures, p_values, self.chosen)


def _run(
    system: str,
    bench: Workbench,
    benchmark: Benchmark,
    draws: Sequence[Examples],
    measures: Sequence[Measure],
    runs: Path | None,
) -> _Result:
    if learns(system) and not draws:
        raise AbsentDataError("it learns from annotated examples, and there are none")
    needed = list(dict.fromkeys([*measures, *plotted_measures()]))
    depth = max(_DEPTH, *(measure.cutoff or 0 for measure in needed))
    seconds, results, chosen = 0.0, [], []
    built = [one for examples in (draws if learns(system) else [None]) for one in build_system(system, bench, examples)]
    for number, retriever in enumerate(built, start=1):
        start = time.perf_counter()
        run = retriever.retrieve(benchmark.queries, depth)
        seconds += time.perf_counter() - start
        results.append(evaluate(benchmark.qrels, run, needed))
        if isinstance(retriever, Taught):
            chosen.append(retriever.chosen)
        if runs is not None:
            _write_files(runs, benchmark, system if number == 1 else f"{system}-draw-{number}", run)
    return _Result(system, seconds / len(results), average(results), chosen)


def _write_files(folder: Path, benchmark: Benchmark, system: str, run: Run) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{benchmark.dataset_id}-{benchmark.split}".replace("/", "-")
    write_qrels(folder / f"{stem}.qrels", benchmark.qrels)
    name = re.sub(r"[^\w.+-]+", "-", system)  # rewritten:DIR has a path in it
    write_run(folder / f"{stem}-{name}.run", run, tag=name)


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    found = {"qta": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
