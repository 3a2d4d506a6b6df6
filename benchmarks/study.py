"""What `benchmarks.evidence` measures on: a set of requests with its rewrites, and rewriters aligned with examples."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import click

from eval import EvalResult, Sufficiency, evaluate
from eval.evaluator import average
from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from mtrb.types import Query, Run
from qta.encoder import Encoder
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever, Stages
from qta.pipeline import Retriever
from qta.recipe import Recipe, choose_recipe
from qta.rewriting import open_rewriter
from qta.rewriting.local import CausalGenerator, load_model
from qta.rewriting.manifest import MANIFEST, RewriterManifest, last_build
from qta.rewriting.rewriter import CatalogueRewriter, ToolRewriter
from qta.taught import NOTHING_TO_LEARN
from qta.workbench import Workbench

MEASURES = [Sufficiency @ 5, Sufficiency @ 10]
VALIDATION = (*(f"public/{name}" for name in NAMES), "sample")
"""The datasets whose validation halves things are chosen on."""
DEPTH = 10


@dataclass(frozen=True)
class Aligned:
    """A rewriter aligned with examples; `build` is None where there was nothing to learn."""

    build: Path | None
    examples: Examples

    @cached_property
    def gate(self) -> Mapping[str, Any]:
        """Return what the gate found."""
        return RewriterManifest.read(self.build).gate if self.build else {"verdict": "nothing to learn"}

    @property
    def accepted(self) -> bool:
        """Tell whether it is served."""
        return self.build is not None and self.gate["verdict"] != "rejected"


@cache
def recipe_of(one: Aligned, bench: Workbench) -> Recipe:
    """Return what leave-one-out chooses beside a rewriter: once, since several tables need it."""
    return choose_recipe(bench, one.examples, one.gate.get("rewrites")).value


def stages_of(one: Aligned, bench: Workbench) -> Stages:
    """Return the stages of a ranking that has learnt its lesson."""
    return recipe_of(one, bench).lesson(one.examples, bench).stages(bench.toolset.positions.get)


class Study:
    """A test set: its tools, its requests, and their rewrites by each rewriter, each made once."""

    def __init__(self, dataset: str, split: str, encoder: Encoder, rewriters: Path) -> None:
        self.benchmark = load(dataset, split)
        self.bench = Workbench(self.benchmark.toolset, encoder, rewriters=rewriters)
        self._rewrites: dict[Path, list[Query]] = {}

    def rewritten(self, build: Path | None) -> Sequence[Query]:
        """Return the requests with the rewrites of a rewriter; as they are without one."""
        if build is None:
            return self.benchmark.queries
        if build not in self._rewrites:
            shows = HybridRetriever(self.bench.index, self.bench.encoder)
            self._rewrites[build] = CatalogueRewriter(_opened(build), shows).rewrite(self.benchmark.queries)
        return self._rewrites[build]

    def run(self, stages: Stages, build: Path | None = None) -> Run:
        """Return the rankings of the served retriever in these stages, with a rewriter or without."""
        return HybridRetriever(self.bench.index, self.bench.encoder, stages).retrieve(self.rewritten(build), DEPTH)

    def score(self, runs: Sequence[Run]) -> EvalResult:
        """Return each request's mean over runs."""
        return average([evaluate(self.benchmark.qrels, run, MEASURES) for run in runs])

    def baseline(self, systems: Sequence[Retriever]) -> tuple[EvalResult, list[Run]]:
        """Return the figures of a system that is built once for each draw of examples."""
        runs = [system.retrieve(self.benchmark.queries, DEPTH) for system in systems]
        return self.score(runs), runs


def _opened(folder: Path) -> ToolRewriter:
    """Return a folder's rewriter; a language model by itself rewrites unaligned."""
    if (folder / MANIFEST).exists():
        return open_rewriter(folder)
    return ToolRewriter(CausalGenerator(*load_model(str(folder))))


def aligned(rewriters: Path, examples: Examples) -> list[Aligned]:
    """Return the rewriters that were aligned with examples, one a seed."""
    folders = sorted((rewriters / "qta" / examples.source).glob("seed-*"))
    return [Aligned(build_in(folder), examples) for folder in folders]


def build_in(folder: Path) -> Path | None:
    """Return the rewriter in a folder; None where there was nothing to learn."""
    return None if (folder / NOTHING_TO_LEARN).exists() else last_build(folder)


def percent(result: EvalResult) -> dict[str, float]:
    """Return the means."""
    return {str(measure): round(100 * result.mean(measure), 2) for measure in MEASURES}


def public_mean(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over the public sets, each counting the same."""
    public = [found for name, found in figures.items() if name != "sample"]
    return {key: round(statistics.mean(one[key] for one in public), 2) for key in public[0]}


def validation_studies(encoder: Encoder) -> dict[str, Study]:
    """Return the sets that things are chosen on."""
    return {name: Study(name, "validation", encoder, Path("rewriters")) for name in VALIDATION}


def as_served(studies: Mapping[str, Study], rewriter: Path | None) -> dict[str, dict[str, float]]:
    """Return Sufficiency of each set in per cent, in all stages that are served, with a rewriter or without."""
    return {
        name: percent(evaluate(one.benchmark.qrels, one.run(SERVED, rewriter), MEASURES))
        for name, one in studies.items()
    }


def named_folders(named: Sequence[str], *files: str) -> dict[str, Path]:
    """Return what NAME=DIR arguments say, each DIR holding a file of one of these names.

    Raises:
        UsageError: one says something else, or a name stands for two folders or for what is shipped.
    """
    given = [one.partition("=") for one in named]
    wrong = next((name for name, _, folder in given if not any((Path(folder) / file).exists() for file in files)), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong!r}: expected NAME=DIR, where DIR holds {' or '.join(files)}")
    folders = {name: Path(folder) for name, _, folder in given}
    if len(folders) < len(given) or "shipped" in folders:
        raise click.UsageError("a name stands for one folder, and 'shipped' for what comes with the package")
    return folders
