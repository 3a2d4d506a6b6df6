"""`qta train`: learn from annotated requests, with a rewriter or without, and go back to what was there before."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qta.commands import given

if TYPE_CHECKING:
    from mtrb.types import Benchmark
    from qta.lesson import Lesson

_folder = click.Path(file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, exists=True, path_type=Path)

_WHEN = {"before": "without a rewriter", "unaligned": "with the base", "after": "aligned"}
_SAID = {"unaligned": "unaligned, as its base serves unseen requests better"}

_REQUESTS = (
    click.argument("dataset", required=False),
    click.option("--tools", multiple=True, help="A catalogue of your own, as for `qta index`; may be given again."),
    click.option("--queries", help="Its annotated requests: JSON Lines with id, query and tools."),
    click.option("--from-feedback", is_flag=True, help="Learn from what was fed back to the service of --index."),
    click.option("--index", "folder", type=_folder, help="The index folder with that feedback."),
    click.option(
        "--split", default="train", show_default=True, help="All of your own requests, where none has a split."
    ),
    click.option("--examples", type=click.IntRange(1), help="Learn from the first so many requests only."),
)


def _from_requests(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which requests are learnt from, and `load`, which loads them."""

    @wraps(command)
    def run(
        dataset: str | None,
        tools: tuple[str, ...],
        queries: str | None,
        from_feedback: bool,
        folder: Path | None,
        split: str,
        examples: int | None,
        **own: Any,
    ) -> None:
        def load() -> "Benchmark":
            if from_feedback:
                return _first(_fed_back(folder, dataset or " ".join(tools) or queries), examples)
            if folder:
                raise click.UsageError("--index is for --from-feedback; name a catalogue of your own with --tools")
            return _first(_annotated(dataset, tools, queries, split), examples)

        command(load=load, **own)

    for option in reversed(_REQUESTS):
        run = option(run)
    return run


@click.group()
def train() -> None:
    """Learn from annotated requests which tools serve them, and align a rewriter with your tools."""


@train.command()
@_from_requests
@click.option("--base", help="A model of the Hugging Face hub, a folder or a GGUF file.  [default: our own small one]")
@click.option("--config", type=_file, help="Settings in YAML; qta/training/align.yaml lists them all.")
@click.option("--seed", type=click.IntRange(0), help="Of sampling and training.")
@click.option("--out", type=_folder, required=True, help="Folder of the rewriter, for `qta serve --rewriter`.")
def dpo(load: "Callable[[], Benchmark]", base: str | None, config: Path | None, seed: int | None, out: Path) -> None:
    """Align a rewriter with DPO on annotated requests of DATASET, of a catalogue of your own, or on feedback.

    With it comes what else they teach, see `qta train examples`. It is installed in the folder only if requests that it
    has not seen are served no worse with it, which takes four to tell, and works unaligned where that is better;
    what was there is kept, see `qta train restore`. Interrupted, it goes on where it was when it is started again.
    """
    from tqdm import tqdm

    from qta.encoder import Encoder
    from qta.training.config import load_settings
    from qta.training.run import train_dpo

    settings = load_settings(config, base=base, seed=seed)
    annotated = load()
    with tqdm(total=None, desc="align", unit=" steps", delay=1, leave=False) as bar:
        outcome = train_dpo(annotated, settings, out, Encoder(), lambda line: (bar.update(), tqdm.write(line)))
    gate = outcome.verdict.to_json()
    click.echo(
        f"{outcome.seconds:,.0f} s, at most {outcome.peak_memory_mb:,} MB, DPO at {outcome.speed}; pairs, log and "
        f"curves in {outcome.build}"
    )
    measured = {name: gate[name]["sufficiency"] for name in ("before", "unaligned", "after") if gate[name]}
    if measured:
        told = ", ".join(f"{100 * served:.1f} {_WHEN[name]}" for name, served in measured.items())
        click.echo(f"unseen examples, mean of Sufficiency@5 and @10: {told}")
    else:
        click.echo("fewer than four examples: whether it serves unseen requests better is not known")
    if not outcome.verdict.accepted:
        click.echo("rewriter rejected; `qta train examples` learns the rest from the same requests, without a rewriter")
        sys.exit(1)
    if outcome.lesson:
        click.echo(f"beside it: {_told(outcome.lesson)}")
    click.echo(f"rewriter {_SAID.get(gate['verdict'], gate['verdict'])}; serve it with --rewriter {out}")


@train.command("examples")
@_from_requests
@click.option("--out", type=_folder, required=True, help="Folder of what was learnt, for `qta serve --rewriter`.")
def without_rewriter(load: "Callable[[], Benchmark]", out: Path) -> None:
    """Learn all but a rewriter, in seconds: which tools are used, which together, and what that is worth.

    It is learnt from annotated requests of DATASET, of a catalogue of your own, or from feedback, and what helps is
    chosen by leaving them out one at a time, which takes four to tell. It is installed in the folder; what was there is
    kept, see `qta train restore`.
    """
    from tqdm import tqdm

    from qta.encoder import Encoder
    from qta.examples import HELD_OUT
    from qta.training.lesson import train_examples

    annotated = load()
    tools, held_out = len(annotated.toolset), min(len(annotated.queries), HELD_OUT)
    with (
        tqdm(total=tools, desc="embed", unit="tool", delay=2, leave=False) as embedded,
        tqdm(total=held_out, desc="leave one out", unit="example", delay=2, leave=False) as left_out,
    ):
        lesson, chosen = train_examples(annotated, out, Encoder(), embedded.update, left_out.update)
    if not chosen:
        click.echo("fewer than four examples: what of it serves unseen requests better is not known")
    click.echo(f"{len(annotated.queries)} examples: {_told(lesson)}; serve it with --rewriter {out}")


def _told(lesson: "Lesson") -> str:
    counts = {
        "nearer to the requests they are used for": len(lesson.requests),
        "raised": len(lesson.prior),
        "bringing others along": len(lesson.partners),
    }
    return "tools " + ", ".join(f"{what}: {count}" for what, count in counts.items())


@train.command()
@click.argument("folder", type=_folder)
def restore(folder: Path) -> None:
    """Serve the rewriter that was in FOLDER before the current one; again, and the current one returns."""
    from qta.rewriting.manifest import restore as serve_the_one_before

    click.echo(f"{folder} serves {serve_the_one_before(folder).name} again")


def _annotated(dataset: str | None, tools: tuple[str, ...], queries: str | None, split: str) -> "Benchmark":
    from mtrb.benchmarks import DATASETS, load, load_files

    if bool(tools) != bool(queries):
        raise click.UsageError("--tools and --queries go together")
    if bool(tools) == bool(dataset):
        raise click.UsageError(f"name a dataset ({', '.join(DATASETS)}), or give --tools and --queries")
    if dataset is not None:
        return load(dataset, split)
    return load_files(tools, str(queries), None if split == "all" else split, given("split"))


def _fed_back(folder: Path | None, other: str | None) -> "Benchmark":
    from qta.catalogue import open_catalogue
    from qta.encoder import Encoder
    from qta.feedback import annotated_requests

    if other:
        raise click.UsageError(f"--from-feedback learns from what was fed back, not from {other}; give one of them")
    if folder is None:
        raise click.UsageError("--from-feedback needs --index DIR, the index that was served")
    return annotated_requests(folder, open_catalogue(folder, Encoder()).now.toolset())


def _first(annotated: "Benchmark", examples: int | None) -> "Benchmark":
    from dataclasses import replace

    return annotated if examples is None else replace(annotated, queries=annotated.queries[:examples])
