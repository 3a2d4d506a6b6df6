"""The whole of `qta train dpo`: gate, align, and install a rewriter for a catalogue and its annotated requests."""

import platform
import resource
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mtrb.errors import ArtefactError
from mtrb.files import sha256
from mtrb.types import Benchmark
from qta.encoder import Encoder
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever
from qta.index import build_in_memory
from qta.rewriting.local import DEFAULT_BASE, fingerprint, load_model
from qta.rewriting.manifest import RewriterManifest, describe_prompt, install, new_build
from qta.steps import TRUSTED
from qta.training.align import Report, align, read_rounds, write_summary
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
    """What an alignment gave: where it is, whether it is served from now on, and the figures."""

    build: Path
    verdict: Verdict
    statistics: Mapping[str, Any]
    seconds: float
    peak_memory_mb: int
    speed: Speed


def train_dpo(annotated: Benchmark, settings: AlignSettings, out: Path, encoder: Encoder, report: Report) -> Outcome:
    """Align a rewriter with the served retriever on annotated requests, and install it if the gate lets it.

    An interrupted training goes on where it was when it is started again with the same data and settings.

    Raises:
        InputError: there is nothing to learn from, or the base cannot be trained.
        ArtefactError: the result cannot be written; what was installed is as it was.
    """
    stages = replace(SERVED, steps=TRUSTED)
    remembering = RememberingEncoder(encoder.folder)
    retriever = HybridRetriever(build_in_memory(annotated.toolset, encoder), remembering, stages)
    return _train(annotated, settings, out, FrozenHybrid(retriever, encoder.identity), report)


def train_paper(annotated: Benchmark, settings: AlignSettings, out: Path, report: Report) -> Outcome:
    """Align a rewriter as the paper does: frozen MiniLM over descriptions, the rewrite alone as the query, no gate.

    Raises:
        InputError: there is nothing to learn from, or the base cannot be trained.
        ArtefactError: the result cannot be written.
    """
    bench = Workbench(annotated.toolset, Encoder())
    return _train(annotated, settings, out, FrozenMiniLM(bench.minilm, list(annotated.toolset)), report, gated=False)


def _train(
    annotated: Benchmark, settings: AlignSettings, out: Path, frozen: Frozen, report: Report, gated: bool = True
) -> Outcome:
    start = time.perf_counter()
    examples = Examples.of(annotated, annotated.toolset)
    # What was done with other tools, or another retriever, is nothing to go on from.
    work = out / _WORK / f"{frozen.identity}-{annotated.toolset.fingerprint()[:16]}"
    gated = gated and len(examples) >= FEWEST
    rewrites = cross_fit(settings.base, examples, frozen, settings, work / "gate", report) if gated else {}
    verdict = judge(examples, rewrites, frozen)
    policy = align(settings.base, examples, frozen, settings, work / "all", report)
    about = {
        "dataset": f"{annotated.dataset_id}/{annotated.split}",
        "queries": [query.query_id for query in examples.queries],
        "toolset": annotated.toolset.fingerprint()[:16],
    }
    try:
        build = new_build(out)
        try:
            statistics = _write(build, work / "all", policy, settings, verdict, about, frozen)
        except BaseException:
            shutil.rmtree(build, ignore_errors=True)
            raise
        if verdict.accepted:
            install(build)
    except OSError as error:
        raise ArtefactError(
            f"{out}: cannot be written: {error.strerror or error}; a rewriter that was installed is as it was"
        ) from None
    shutil.rmtree(out / _WORK, ignore_errors=True)
    return Outcome(build, verdict, statistics, time.perf_counter() - start, peak_memory_mb(), policy.speed)


def _write(
    build: Path,
    rounds: Path,
    policy: Policy,
    settings: AlignSettings,
    verdict: Verdict,
    about: Mapping[str, Any],
    frozen: Frozen,
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
        retriever=frozen.identity,
        gate={**verdict.to_json(), "steps": vars(frozen.steps) if frozen.steps else None, "rewrites": verdict.rewrites},
        trained_on=dict(about),
        settings=settings.model_dump(mode="json"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        sha256={name: sha256(build / name) for name in files},
    ).write(build)
    return statistics


def _from_anywhere(base: str) -> str:
    """Return the name of a base that a server finds too, which runs in another folder."""
    return str(Path(base).resolve()) if base != DEFAULT_BASE and Path(base).is_dir() else base


def peak_memory_mb() -> int:
    """Return the most memory that was held: of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 1e6)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
