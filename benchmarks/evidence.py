"""Measure what each thing that ten examples teach is worth, on the test requests.

    python -m benchmarks.evidence [--rewriters rewriters] [--out results]

- what the rewriter adds: `qta` against the systems without it, with paired p-values, the weights chosen, and the share
  of requests whose first five tools are others;
- an ablation: `qta` with one stage off, everything else as it was chosen;
- the curve over the number of annotated examples, on RestBench;
- transfer: a rewriter aligned on one subset, used on another;
- the ranking functions of the training, by what the gate saw and on the sample's validation requests;
- rewrites that help and harm, of requests that the rewriter has not seen and that no table above is about.

`make rewriters` aligns what is measured here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.evidence_report import plot, table
from benchmarks.published import publish
from benchmarks.rewriters import CURVE, DATASETS, DRAWS, RANKED, fewer
from benchmarks.rewrites import best_and_worst, shifts
from benchmarks.study import MEASURES, Aligned, Study, aligned, build_in, percent, recipe_of, stages_of
from mtrb.benchmarks import load, load_examples
from mtrb.types import Benchmark, Run
from qta import taught
from qta.encoder import WEIGHTS, Encoder
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever
from qta.ranking import RANKING_FUNCTIONS
from qta.refusals import run_command
from qta.rewriting.manifest import RewriterManifest
from qta.steps import STEPS, TRUSTED

SUBSETS = DATASETS[:3]


def _changed(first: Sequence[Run], second: Sequence[Run]) -> float:
    """Return the share of requests whose first five tools are not the same ones, over pairs of runs."""
    pairs = [
        ({tool.tool_id for tool in one[query][:5]}, {tool.tool_id for tool in other[query][:5]})
        for one, other in zip(first, second, strict=True)
        for query in one
    ]
    return sum(one != other for one, other in pairs) / len(pairs)


def added(study: Study, draws: Sequence[Examples], rewriters: Path) -> dict[str, Any]:
    """Compare `qta` with what it is without the rewriter, and with the two baselines that only count uses."""
    found = [one for examples in draws for one in aligned(rewriters, examples)]
    recipes = [recipe_of(one, study.bench) for one in found]
    runs = [study.run(stages_of(one, study.bench), one.build if one.accepted else None) for one in found]
    result = study.score(runs)
    against: dict[str, Any] = {}
    systems = {"qta-no-rewrite": taught.no_rewrite, "usage-prior": taught.usage_prior}
    for name, build in {**systems, "constant-suffix": taught.constant_suffix}.items():
        # Once for each rewriter, so that both sides are means over as many runs.
        built = {examples.source: build(study.bench, examples)[0] for examples in draws}
        other, others = study.baseline([built[one.examples.source] for one in found])
        against[name] = {
            **percent(other),
            "p": {str(measure): round(result.p_value(measure, other), 4) for measure in MEASURES},
            "changed_top5": round(_changed(runs, others), 4),
        }
    chosen = [{**recipe._asdict(), "gate": one.gate["verdict"]} for one, recipe in zip(found, recipes, strict=True)]
    return {"qta": percent(result), "against": against, "chosen": chosen}


def ablation(study: Study, draws: Sequence[Examples], rewriters: Path) -> dict[str, dict[str, float]]:
    """Return the figures of `qta` with one stage off."""
    found = [(one, stages_of(one, study.bench)) for examples in draws for one in aligned(rewriters, examples)]

    def figures(change: Mapping[str, Any], rewrite: bool = True) -> dict[str, float]:
        return percent(
            study.score(
                [
                    study.run(replace(stages, **change), one.build if one.accepted and rewrite else None)
                    for one, stages in found
                ]
            )
        )

    return {
        "qta": figures({}),
        "without the rewriter": figures({}, rewrite=False),
        "without what examples count (prior)": figures({"prior": {}}),
        "without tools nearer to their requests": figures({"requests": {}}),
        "without partners": figures({"partners": {}}),
        "without all three": figures({"prior": {}, "requests": {}, "partners": {}}),
        "without completion": figures({"completion": None}),
        "without clauses": figures({"clauses": None}),
        "without words (BM25)": figures({"weight": 0.0}),
    }


def curve(study: Study, rewriters: Path) -> list[dict[str, Any]]:
    """Return the figures over the number of annotated examples."""
    every = Examples.of(load("mtrb/restbench", "train"), study.benchmark.toolset)
    rows = [{"examples": 0, "qta": percent(study.score([study.run(SERVED, WEIGHTS)])), **_without(study, [])}]
    for count in (*CURVE, len(every)):
        if count == len(every):
            found = aligned(rewriters, every)
        else:
            some = [Examples.of(fewer(count, draw), study.benchmark.toolset) for draw in range(DRAWS)]
            folders = [rewriters / "curve" / f"{count}" / f"draw-{draw}" for draw in range(DRAWS)]
            found = [Aligned(build_in(folder), one) for folder, one in zip(folders, some, strict=True)]
        runs = [study.run(stages_of(one, study.bench), one.build if one.accepted else None) for one in found]
        rows.append(
            {
                "examples": count,
                "qta": percent(study.score(runs)),
                **_without(study, [one.examples for one in found]),
                "rejected": sum(not one.accepted for one in found),
            }
        )
    return rows


def _without(study: Study, draws: Sequence[Examples]) -> dict[str, Any]:
    if not draws:
        minilm, _ = study.baseline([study.bench.minilm])
        return {"qta-no-rewrite": percent(study.score([study.run(SERVED)])), "usage-prior": percent(minilm)}
    return {
        name: percent(study.baseline([one for examples in draws for one in build(study.bench, examples)])[0])
        for name, build in {"qta-no-rewrite": taught.no_rewrite, "usage-prior": taught.usage_prior}.items()
    }


def transfer(studies: Mapping[str, Study], rewriters: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of rewriters on subsets that they were not aligned on, whatever their gate said.

    Examples of other tools do not transfer, so that none teach beside it: only the rewriter differs.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for source in SUBSETS:
        draws = [Examples.of(one, studies[source].benchmark.toolset) for one in load_examples(source)]
        builds = [one.build for examples in draws for one in aligned(rewriters, examples) if one.build][:3]
        table[source] = {
            target: percent(study.score([study.run(SERVED, build) for build in builds]))
            for target, study in studies.items()
        }
    table["no rewriter"] = {target: percent(study.score([study.run(SERVED)])) for target, study in studies.items()}
    table["unaligned"] = {
        target: percent(study.score([study.run(SERVED, WEIGHTS)])) for target, study in studies.items()
    }
    return table


def ranking_functions(encoder: Encoder, rewriters: Path) -> dict[str, dict[str, Any]]:
    """Return what the gate saw with each ranking function, and the figures on the sample's validation requests."""
    study = Study("sample", "validation", encoder, rewriters)
    rows: dict[str, dict[str, Any]] = {}
    for name in RANKING_FUNCTIONS:
        rows[name] = {}
        for dataset in RANKED:
            folder = rewriters / "ranking" / name / dataset
            build = build_in(folder if folder.exists() else rewriters / "qta" / dataset / "train" / "seed-0")
            if build is None:
                continue
            gate = RewriterManifest.read(build).gate
            rows[name][dataset] = {key: gate[key] for key in ("verdict", "before", "after")}
            if dataset == "sample":
                rows[name]["sample, validation"] = percent(study.score([study.run(SERVED, build)]))
    return rows


def rewrites(encoder: Encoder, rewriters: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rewrites that help and harm most: the gate's of RestBench's examples, and the sample's validation."""
    found: dict[str, list[dict[str, Any]]] = {}
    for dataset, split in (("mtrb/restbench", "train"), ("sample", "validation")):
        study = Study(dataset, split, encoder, rewriters)
        build = build_in(rewriters / "qta" / dataset / "train" / "seed-0")
        if build is None:
            continue
        unseen: Mapping[str, str] = RewriterManifest.read(build).gate["rewrites"]
        queries = [
            query.rewritten(unseen[query.query_id]) for query in study.benchmark.queries if unseen.get(query.query_id)
        ] or study.rewritten(build)
        examples = Examples.of(load(dataset, "train"), study.benchmark.toolset)
        steps = TRUSTED if recipe_of(Aligned(build, examples), study.bench).trusted else STEPS
        retriever = HybridRetriever(study.bench.index, study.bench.encoder, replace(SERVED, steps=steps))
        found[dataset] = [vars(one) for one in best_and_worst(shifts(study.benchmark, queries, retriever))]
    return found


def examples_of(benchmark: Benchmark) -> list[Examples]:
    """Return the draws of a dataset's annotated examples."""
    return [Examples.of(one, benchmark.toolset) for one in load_examples(benchmark.dataset_id)]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--rewriters", type=click.Path(exists=True, path_type=Path), default=Path("rewriters"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(rewriters: Path, out: Path) -> None:
    """Measure, print the tables, and write them with a picture into the folder."""
    encoder = Encoder()
    studies = {name: Study(name, "test", encoder, rewriters) for name in DATASETS}
    figures: dict[str, Any] = {"command": "make evidence", "added": {}, "ablation": {}}
    for name, study in tqdm(studies.items(), desc="datasets"):
        draws = examples_of(study.benchmark)
        figures["added"][name] = added(study, draws, rewriters)
        figures["ablation"][name] = ablation(study, draws, rewriters)
    figures["curve"] = curve(studies["mtrb/restbench"], rewriters)
    figures["transfer"] = transfer({name: studies[name] for name in SUBSETS}, rewriters)
    figures["ranking_functions"] = ranking_functions(encoder, rewriters)
    figures["rewrites"] = rewrites(encoder, rewriters)
    publish(out, "evidence", figures, table(figures))
    plot(figures["curve"], out / "curve.png")


if __name__ == "__main__":
    run_command(main)
