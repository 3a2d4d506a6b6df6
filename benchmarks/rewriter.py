"""Measure the small rewriter as it is served, beside plain transformers, on prompts of 256 tokens and 40 new ones.

    python -m benchmarks.rewriter [--out results]

Both write exactly 40 tokens a rewrite (the end token is forbidden), one request at a time, in alternating rounds.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks.published import describe_machine, publish
from mtrb.benchmarks import load
from qta.encoder import WEIGHTS
from qta.refusals import run_command
from qta.rewriting.generator import Decoding
from qta.rewriting.local import DEFAULT_BASE, CausalGenerator, load_model
from qta.rewriting.prompt import Prompt
from qta.rewriting.small import SmallGenerator

PROMPT_TOKENS, NEW_TOKENS, REQUESTS, ROUNDS = 256, 40, 40, 5


def prompts(tokenizer: Any) -> list[list[int]]:
    """Return prompts of exactly 256 tokens, cut from requests of the sample with many tools shown."""
    bench, prompt = load("sample", "validation"), Prompt(tools=24)
    found = []
    for number, query in enumerate(bench.queries[:REQUESTS]):
        tools = [bench.toolset[(number * 7 + at) % len(bench.toolset)] for at in range(prompt.tools)]
        ids = tokenizer.encode(prompt.messages(query.text, tools)[-1]["content"]).ids
        found.append([*ids[: PROMPT_TOKENS - 1], ids[-1]])
    return found


def served(generator: SmallGenerator) -> Callable[[list[int]], object]:
    """Return what writes 40 tokens with the served file."""
    return lambda ids: generator.continued(ids, Decoding(max_new_tokens=NEW_TOKENS), ends=False)


def plain(generator: CausalGenerator) -> Callable[[list[int]], object]:
    """Return what writes 40 tokens with transformers."""
    import torch

    def write(ids: list[int]) -> object:
        with torch.inference_mode():
            return generator.model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                no_repeat_ngram_size=6,
                do_sample=False,
            )

    return write


def measure() -> dict[str, Any]:
    """Return median and 99th percentile of both, in milliseconds."""
    small, causal = SmallGenerator(WEIGHTS), CausalGenerator(*load_model(DEFAULT_BASE))
    asked = prompts(small.tokenizer)
    ways = {"served (ONNX Runtime, int8)": served(small), "transformers (float32)": plain(causal)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for write in ways.values():
        write(asked[0])
    for _ in tqdm(range(ROUNDS), desc="rounds"):
        for name, write in ways.items():
            for ids in asked:
                start = time.perf_counter()
                write(ids)
                taken[name].append(1000 * (time.perf_counter() - start))
    return {
        name: {"median_ms": statistics.median(times), "p99_ms": statistics.quantiles(times, n=100)[98]}
        for name, times in taken.items()
    }


def table(figures: dict[str, Any], machine: str) -> str:
    """Return the figures as Markdown."""
    first, second = figures.values()
    lines = [
        f"A rewrite of {NEW_TOKENS} tokens at a prompt of {PROMPT_TOKENS}; {machine}; one request at a time, "
        f"{ROUNDS * REQUESTS} rewrites each in alternating rounds. Made by `make bench-rewriter`.",
        "",
        "| | median, ms | 99th percentile, ms |",
        "|---|--:|--:|",
        *(f"| {name} | {one['median_ms']:.0f} | {one['p99_ms']:.0f} |" for name, one in figures.items()),
        f"| ratio | {second['median_ms'] / first['median_ms']:.1f}x | {second['p99_ms'] / first['p99_ms']:.1f}x |",
    ]
    return "\n".join(lines) + "\n"


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(out: Path) -> None:
    """Measure, print the table, and write it into the folder."""
    figures = measure()
    machine = describe_machine()
    content = {"command": "make bench-rewriter", "machine": machine, "figures": figures}
    publish(out, "rewriter", content, table(figures, machine))


if __name__ == "__main__":
    run_command(main)
