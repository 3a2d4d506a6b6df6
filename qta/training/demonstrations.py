"""What the rewriter is taught by example: a request, the tools it is shown, and the steps that carry it out.

The prompts are those of serving: the tools that the served retriever finds, in catalogues of all sizes, so that some
golden tools are shown and have to be chosen, and others are not and have to be described.

    python -m qta.training.demonstrations --out FILE
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypedDict

import click

from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command
from qta.rewriting.prompt import Message, Prompt
from qta.steps import join_steps

_MERGED = 6  # small catalogues in one at most
_SMALL = 400  # tools; larger catalogues stay alone, and show a part of themselves
_LARGEST_PART = 2000
_SAMPLED = 0.15  # of the prompts show sampled tools, as the paper's do
_WITHOUT_GOLDEN = 0.1  # of the prompts hide what is looked for
_FEWEST = 5


class Demonstration(TypedDict):
    """A prompt and the answer that it should get, in the form of TRL's conversational data sets."""

    prompt: list[Message]
    completion: list[Message]


def demonstrate(
    training: Sequence[Benchmark], encoder: Encoder, prompt: Prompt, seed: int = 0
) -> Iterator[Demonstration]:
    """Yield one demonstration for each request, in catalogues mixed anew by the seed."""
    rng = random.Random(seed)  # noqa: S311 (a mixture, no secret)
    for bench in mixed(training, rng):
        retriever = HybridRetriever(build_in_memory(bench.toolset, encoder), encoder)
        run = retriever.retrieve(bench.queries, prompt.tools)
        for query in bench.queries:
            golden = [bench.toolset[bench.toolset.positions[one]] for one in bench.qrels[query.query_id]]
            nearest = [bench.toolset[bench.toolset.positions[one.tool_id]] for one in run[query.query_id]]
            yield demonstration(query, golden, _shown(nearest, golden, bench.toolset, prompt, rng), prompt)


def demonstration(query: Query, golden: Iterable[Tool], shown: Sequence[Tool], prompt: Prompt) -> Demonstration:
    """Return the prompt of a request, and its golden tools as the steps."""
    steps = join_steps(map(prompt.line, golden))
    return Demonstration(
        prompt=prompt.messages(query.text, shown), completion=[{"role": "assistant", "content": steps}]
    )


def _shown(
    nearest: Sequence[Tool], golden: Sequence[Tool], every: Toolset, prompt: Prompt, rng: random.Random
) -> list[Tool]:
    count = rng.randint(min(_FEWEST, prompt.tools), prompt.tools)
    if rng.random() < _SAMPLED:
        return rng.sample(list(every), min(count, len(every)))
    if rng.random() < _WITHOUT_GOLDEN:
        return [tool for tool in nearest if tool not in golden][:count]
    return list(nearest[: prompt.tools if rng.random() < 0.5 else count])


def mixed(training: Sequence[Benchmark], rng: random.Random, largest: int = _LARGEST_PART) -> Iterator[Benchmark]:
    """Yield the catalogues anew: small ones several at a time, of large ones a part."""
    small = [bench for bench in training if len(bench.toolset) <= _SMALL]
    rng.shuffle(small)
    while small:
        count = rng.choice([1, 1, 2, 3, _MERGED])
        yield _merged(small[:count])
        del small[:count]
    for bench in training:
        if len(bench.toolset) > _SMALL:
            yield from _parts(bench, rng, largest)


def _merged(benches: Sequence[Benchmark]) -> Benchmark:
    tools = {tool.tool_id: tool for bench in benches for tool in bench.toolset}
    queries = tuple(query for bench in benches for query in bench.queries)
    qrels = {query_id: golden for bench in benches for query_id, golden in bench.qrels.items()}
    return replace(benches[0], toolset=Toolset(tools.values()), queries=queries, qrels=qrels)


def _parts(bench: Benchmark, rng: random.Random, largest: int) -> Iterator[Benchmark]:
    """Yield a large catalogue in parts: a share of its requests, their tools, and others drawn beside them."""
    queries = list(bench.queries)
    rng.shuffle(queries)
    while queries:
        some = tuple(queries[:200])
        del queries[:200]
        golden = {tool_id for query in some for tool_id in bench.qrels[query.query_id]}
        wanted = rng.randint(len(golden), max(len(golden), min(largest, len(bench.toolset))))
        others = [tool for tool in bench.toolset if tool.tool_id not in golden]
        kept = {tool.tool_id for tool in rng.sample(others, min(len(others), wanted - len(golden)))} | golden
        toolset = Toolset(tool for tool in bench.toolset if tool.tool_id in kept)
        qrels = {query.query_id: bench.qrels[query.query_id] for query in some}
        yield replace(bench, toolset=toolset, queries=some, qrels=qrels)


def training_catalogues(names: Sequence[str], more: Iterable[Benchmark] = ()) -> list[Benchmark]:
    """Return the training catalogues, and more, without anything that tells of a held-out set."""
    from mtrb.benchmarks import held_out
    from mtrb.benchmarks.training import allowed, load_training

    return list(allowed(chain((bench for name in names for bench in load_training(name)), more), held_out()))


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON Lines to write.")
@click.option("--mixtures", default=4, show_default=True, help="Times each request is shown, among other tools.")
@click.option("--tools", default=10, show_default=True, help="Tools in a prompt.")
@click.option("--words", default=6, show_default=True, help="Words of each description.")
@click.option(
    "--synthetic",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Requests that `qta.training.requests` wrote; each is shown once.",
)
@click.option("--later", is_flag=True, help="With the requests too that were written after the shipped rewriter.")
def main(out: Path, mixtures: int, tools: int, words: int, synthetic: Path | None, later: bool) -> None:
    """Write the demonstrations of all training sets."""
    from rich.progress import track

    from mtrb.benchmarks.synthetic import load_synthetic
    from mtrb.benchmarks.training import LATER, NAMES
    from qta.training.frozen import RememberingEncoder

    encoder, prompt = RememberingEncoder(), Prompt(tools=tools, words=words)
    written = list(load_synthetic(synthetic)) if synthetic else []
    catalogues = training_catalogues((*NAMES, *(LATER if later else ())), written)
    once, often = catalogues[len(catalogues) - len(written) :], catalogues[: len(catalogues) - len(written)]
    with out.open("w", encoding="utf-8") as file:
        for seed in track(range(mixtures), "mixtures"):
            for one in demonstrate([*often, *(once if seed == 0 else [])], encoder, prompt, seed):
                file.write(json.dumps(one, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_command(main)
