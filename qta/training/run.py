"""The whole of `qta train dpo`: gate, align, and install a rewriter for a catalogue and its annotated requests."""

import resource
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtrb.files import sha256
from mtrb.types import Benchmark
from qta.encoder import Encoder
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever
from qta.lesson import Lesson
from qta.recipe import choose_recipe, describe
from qta.rewriting.local import DEFAULT_BASE, CausalGenerator, fingerprint, load_model
from qta.rewriting.manifest import RewriterManifest, building, check_folder, describe_prompt, describe_training
from qta.steps import TRUSTED
from qta.training.align import Report, align, read_rounds, rewrite, write_summary
from qta.training.config import AlignSettings
from qta.training.curves import write_curves
from qta.training.frozen import Frozen, FrozenHybrid, FrozenMiniLM, RememberingEncoder
from qta.training.gate import FEWEST, Verdict, cross_fit, judge
from qta.training.policy import Policy, Speed
from qta.workbench import Workbench

_LIBRARIES = ("trl", "transformers", "peft", "torch", "numpy", "onnxruntime")
_WORK = ".training"


@dataclass(frozen=True)
class Outcome:
    """What an alignment gave: where it is, whether it is served from now on, the lesson beside it, and the figures."""

    build: Path
    verdict: Verdict
    lesson: Lesson | None
    statistics: Mapping[str, Any]
    seconds: float
    peak_memory_mb: int
    speed: Speed


def train_dpo(annotated: Benchmark, settings: AlignSettings, out: Path, encoder: Encoder, report: Report) -> Outcome:
    """Align a rewriter with the served retriever on annotated requests, and install it if the gate lets it.

    With it comes what else the requests teach, chosen with the rewrites that the gate has judged by.

    An interrupted training goes on where it was when it is started again with the same data and settings.

    Raises:
        InputError: there is nothing to learn from, or the base cannot be trained.
        ArtefactError: the result cannot be written; what was installed is as it was.
    """
    bench = Workbench(annotated.toolset, RememberingEncoder(encoder.folder))
    retriever = HybridRetriever(bench.index, bench.encoder, replace(SERVED, steps=TRUSTED))
    return _train(annotated, settings, out, FrozenHybrid(retriever, encoder.identity), report, bench)


def train_paper(annotated: Benchmark, settings: AlignSettings, out: Path, report: Report, raw: float = 0) -> Outcome:
    """Align a rewriter as the paper does: frozen MiniLM over descriptions, the rewrite as the query, no gate.

    The request's own scores count by `raw` in the ranks that it is aligned for, the rewrite's by the rest.

    Raises:
        InputError: there is nothing to learn from, or the base cannot be trained.
        ArtefactError: the result cannot be written.
    """
    bench = Workbench(annotated.toolset, Encoder())
    return _train(annotated, settings, out, FrozenMiniLM(bench.minilm, list(annotated.toolset), raw), report)


def _train(
    annotated: Benchmark,
    settings: AlignSettings,
    out: Path,
    frozen: Frozen,
    report: Report,
    served: Workbench | None = None,
) -> Outcome:
    """Train; only for what is to be `served` is there a gate and a lesson."""
    start = time.perf_counter()
    check_folder(out)
    examples = Examples.of(annotated, annotated.toolset)
    # What was done with other tools, or another retriever, is nothing to go on from.
    work = out / _WORK / f"{frozen.identity}-{annotated.toolset.fingerprint()[:16]}"
    gated = served is not None and len(examples) >= FEWEST
    rewrites = cross_fit(settings.base, examples, frozen, settings, work / "gate", report) if gated else {}
    judging = FrozenHybrid(HybridRetriever(served.index, served.encoder), frozen.identity) if served else frozen
    verdict = judge(examples, rewrites, judging, _unaligned(settings, examples, frozen) if gated else None)
    policy = align(settings.base, examples, frozen, settings, work / "all", report)
    learnt = _learn(served, examples, verdict, report) if served else {}
    steps = vars(judging.steps) if judging.steps else None
    about = {
        "retriever": frozen.identity,
        "gate": {**verdict.to_json(), "steps": steps},
        **learnt,
        **describe_training(annotated, _LIBRARIES),
    }
    with building(out, serve=verdict.accepted) as build:
        statistics = _write(build, work / "all", policy, settings, about)
    shutil.rmtree(out / _WORK, ignore_errors=True)
    seconds = time.perf_counter() - start
    return Outcome(build, verdict, learnt.get("lesson"), statistics, seconds, peak_memory_mb(), policy.speed)


def _unaligned(settings: AlignSettings, examples: Examples, frozen: Frozen) -> dict[str, str]:
    """Return the rewrite of each example by the base as it is."""
    generator, prompt = CausalGenerator(*load_model(settings.base)), settings.prompt.prompt(settings.seed)
    texts = rewrite(generator, examples.queries, frozen, prompt, settings.candidates.max_new_tokens)
    return {query.query_id: text for query, text in zip(examples.queries, texts, strict=True)}


def _learn(bench: Workbench, examples: Examples, verdict: Verdict, report: Report) -> dict[str, Any]:
    """Return the manifest's fields on what stands beside the rewriter; beside none if the gate keeps it out."""
    report(f"leave-one-out: what {len(examples)} examples teach beside the rewriter")
    choice = choose_recipe(bench, examples, verdict.rewrites)
    return {"lesson": choice.value.lesson(examples, bench), "chosen": describe(choice)}


def _write(
    build: Path, rounds: Path, policy: Policy, settings: AlignSettings, about: Mapping[str, Any]
) -> Mapping[str, Any]:
    policy.save(build / "adapter")
    done = read_rounds(rounds, settings.rounds)
    statistics = write_summary(done, build)
    write_curves(build, [log for _, _, log in done], statistics)
    base, _ = load_model(settings.base)
    files = ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"]
    if settings.base == DEFAULT_BASE:
        from qta.export.rewriter import export

        files += export(policy.merged(), policy.tokenizer, build)
    RewriterManifest(
        kind="small" if settings.base == DEFAULT_BASE else "causal",
        base=_from_anywhere(settings.base),
        fingerprint=fingerprint(base),
        **describe_prompt(settings.prompt.prompt(settings.seed)),
        max_new_tokens=settings.candidates.max_new_tokens,
        no_repeat=settings.candidates.no_repeat,
        settings=settings.model_dump(mode="json"),
        sha256={name: sha256(build / name) for name in files},
        **about,
    ).write(build)
    return statistics


def _from_anywhere(base: str) -> str:
    """Return the name of a base that a server finds too, which runs in another folder."""
    return str(Path(base).resolve()) if base != DEFAULT_BASE and Path(base).exists() else base


def peak_memory_mb() -> int:
    """Return the most memory that was held: of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 1e6)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
