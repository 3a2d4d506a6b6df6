"""Run systems over benchmarks and collect the rows of a report."""

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from eval.evaluator import EvalResult, evaluate
from eval.measures import Measure
from eval.report import Row, plotted_measures
from mtrb.errors import AbsentDataError, InputError, MissingDependencyError
from mtrb.runs import write_qrels, write_run
from mtrb.types import Benchmark, Run
from qta import __version__
from qta.encoder import Encoder
from qta.systems import Workbench, build_system, check_system

_DEPTH = 100  # tools in every run, so that run files give the same figures wherever they are scored
_LIBRARIES = ("numpy", "bm25s", "rank-bm25", "faiss-cpu", "onnxruntime", "sentence-transformers", "torch")

Loader = Callable[[], Benchmark]


def run_evaluation(
    datasets: Iterable[tuple[str, Loader]],
    systems: Sequence[str],
    measures: Sequence[Measure],
    baseline: str | None = None,
    runs: Path | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Run every system on every dataset; return the rows, and what was left out because its data is absent, and why.

    Args:
        datasets: a name and a loader each.
        systems: names of `qta.systems.SYSTEMS`.
        measures: what is reported.
        baseline: the system that p-values are computed against.
        runs: a folder for the run files.

    Raises:
        InputError: a system is unknown, or no dataset could be loaded.
    """
    for system in systems:
        check_system(system)
    if baseline is not None and baseline not in systems:
        raise InputError(f"the baseline {baseline!r} is not among the systems {', '.join(systems)}")
    encoder = Encoder()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for name, load in datasets:
        try:
            benchmark = load()
        except AbsentDataError as error:
            left_out[name] = str(error)
            continue
        rows.extend(_dataset_rows(benchmark, systems, measures, encoder, baseline, runs, left_out))
    if not rows:
        raise InputError("nothing to evaluate: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    return rows, left_out


def _dataset_rows(
    benchmark: Benchmark,
    systems: Sequence[str],
    measures: Sequence[Measure],
    encoder: Encoder,
    baseline: str | None,
    runs: Path | None,
    left_out: dict[str, str],
) -> list[Row]:
    needed = list(dict.fromkeys([*measures, *plotted_measures()]))
    depth = max(_DEPTH, *(measure.cutoff or 0 for measure in needed))
    results: dict[str, tuple[float, EvalResult]] = {}
    with tqdm(
        total=len(benchmark.toolset), desc=f"embed {benchmark.dataset_id}", unit="tool", delay=2, leave=False
    ) as bar:
        bench = Workbench(benchmark.toolset, encoder, bar.update)
        for system in systems:
            try:
                retriever = build_system(system, bench)
            except MissingDependencyError as error:
                left_out[f"{benchmark.dataset_id}, {system}"] = str(error)
                continue
            start = time.perf_counter()
            run = retriever.retrieve(benchmark.queries, depth)
            results[system] = time.perf_counter() - start, evaluate(benchmark.qrels, run, needed)
            if runs is not None:
                _write_files(runs, benchmark, system, run)
    against = results[baseline][1] if baseline in results else None
    return [
        Row(
            benchmark,
            system,
            seconds,
            result,
            measures,
            _p_values(result, against, measures) if system != baseline else {},
        )
        for system, (seconds, result) in results.items()
    ]


def _write_files(folder: Path, benchmark: Benchmark, system: str, run: Run) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{benchmark.dataset_id}-{benchmark.split}".replace("/", "-")
    write_qrels(folder / f"{stem}.qrels", benchmark.qrels)
    write_run(folder / f"{stem}-{system.replace(':', '-')}.run", run, tag=system)


def _p_values(result: EvalResult, against: EvalResult | None, measures: Sequence[Measure]) -> dict[Measure, float]:
    return {measure: result.p_value(measure, against) for measure in measures} if against else {}


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    found = {"qta": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
