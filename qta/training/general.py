"""General alignment: DPO on retrieval ranks over requests of all public training catalogues, before any user's own.

    python -m qta.training.general --out DIR
    python -m qta.training.layers rewriter DIR --out qta/weights

DIR holds the base with the adapter in its weights, and the log of each round beside. With --paper the retriever is the
paper's, and the rewrite alone the query.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click
import numpy as np

from mtrb.benchmarks import load_examples
from mtrb.benchmarks.training import NAMES
from mtrb.errors import InputError
from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command
from qta.rewriting.generator import Decoding
from qta.rewriting.local import DEFAULT_BASE, CausalGenerator, load_model
from qta.rewriting.prompt import Prompt
from qta.steps import TRUSTED, StepRule
from qta.training.align import align
from qta.training.config import AlignSettings, load_settings
from qta.training.demonstrations import mixed, training_catalogues
from qta.training.frozen import Frozen, FrozenHybrid, FrozenMiniLM, Ranks, RememberingEncoder
from qta.workbench import Workbench

_FEWEST_GOLDEN = 2
_GROWN = 1000  # tools of a catalogue at most


@dataclass(frozen=True)
class FrozenCatalogues:
    """A frozen retriever over several catalogues; each request, by its text, belongs to one."""

    catalogues: dict[str, Frozen]

    @property
    def identity(self) -> str:
        """Return the encoder's identity, which all share."""
        return next(iter(self.catalogues.values())).identity

    @property
    def steps(self) -> StepRule | None:
        """Return the rule for steps, which all share."""
        return next(iter(self.catalogues.values())).steps

    def show(self, requests: Sequence[str], prompt: Prompt) -> list[list[Tool]]:
        """Return the tools that each request's own catalogue shows."""
        return [self.catalogues[request].show([request], prompt)[0] for request in requests]

    def ranks(self, query: Query, golden: Sequence[int], rewrites: Sequence[str]) -> list[Ranks]:
        """Return the ranks of the golden tools in the request's own catalogue."""
        return self.catalogues[query.text].ranks(query, golden, rewrites)


def chosen_requests(
    training: Sequence[Benchmark],
    count: int,
    encoder: RememberingEncoder,
    near: Sequence[Query],
    seed: int,
    fewest_golden: int = _FEWEST_GOLDEN,
) -> set[str]:
    """Return which requests are aligned on: of so many tools; drawn, or the nearest to given ones.

    Nearest by the cosine to the nearest of them.
    """
    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    found = {
        query.text: None
        for bench in training
        for query in bench.queries
        if len(bench.qrels[query.query_id]) >= fewest_golden
    }
    texts = list(found)
    if not near:
        return set(rng.sample(texts, min(count, len(texts))))
    cosines = encoder.encode(texts) @ encoder.encode([query.text for query in near]).T
    return {texts[at] for at in np.argsort(-cosines.max(axis=1), kind="stable")[:count]}


def frozen_catalogues(
    training: Sequence[Benchmark], chosen: set[str], freeze: Callable[[Toolset], Frozen], seed: int
) -> tuple[Examples, FrozenCatalogues]:
    """Return the chosen requests as examples, and the catalogues that they are asked of, small ones mixed.

    A text that is a request in several catalogues is one in the first.
    """
    queries: list[Query] = []
    golden: list[tuple[int, ...]] = []
    catalogues: dict[str, Frozen] = {}
    wanted = [
        replace(bench, queries=some)
        for bench in training
        if (some := tuple(query for query in bench.queries if query.text in chosen))
    ]
    for bench in mixed(wanted, random.Random(seed), _GROWN):  # noqa: S311
        frozen = freeze(bench.toolset)
        for query in bench.queries:
            if query.text in catalogues:
                continue
            queries.append(replace(query, query_id=f"{bench.dataset_id}/{query.query_id}"))
            golden.append(tuple(bench.toolset.positions[one] for one in bench.qrels[query.query_id]))
            catalogues[query.text] = frozen
    return Examples(tuple(queries), tuple(golden), "general"), FrozenCatalogues(catalogues)


def served(encoder: RememberingEncoder) -> Callable[[Toolset], Frozen]:
    """Return what freezes the served retriever over a catalogue."""
    stages = replace(SERVED, steps=TRUSTED)
    return lambda tools: FrozenHybrid(
        HybridRetriever(build_in_memory(tools, encoder), encoder, stages), encoder.identity
    )


def paper(encoder: RememberingEncoder) -> Callable[[Toolset], Frozen]:
    """Return what freezes the paper's retriever over a catalogue."""
    return lambda tools: FrozenMiniLM(Workbench(tools, encoder).minilm, list(tools))


def settings(
    base: str, rounds: int, samples: int, seed: int, selection: Literal["nearest", "sampled"] = "nearest"
) -> AlignSettings:
    """Return the settings: those of an alignment, with fewer rewrites and pairs of each request, as there are many."""
    given = load_settings(base=base, rounds=rounds, seed=seed)
    return given.model_copy(
        update={
            "prompt": given.prompt.model_copy(update={"selection": selection}),
            "candidates": given.candidates.model_copy(update={"samples": samples}),
            "pairs": given.pairs.model_copy(update={"most": 2}),
            "dpo": given.dpo.model_copy(update={"batch": 32}),
        }
    )


def fitting(examples: Examples, frozen: Frozen, base: str, given: AlignSettings) -> Examples:
    """Return the examples whose prompts leave the base room for a rewrite."""
    generator, prompt = CausalGenerator(*load_model(base)), given.prompt.prompt(given.seed)
    decoding = Decoding(max_new_tokens=given.candidates.max_new_tokens)
    texts = [query.text for query in examples.queries]
    asked = [prompt.messages(*one) for one in zip(texts, frozen.show(texts, prompt), strict=True)]
    return examples.part(number for number, one in enumerate(asked) if generator.fits(one, decoding))


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the model.")
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@click.option("--requests", default=300, show_default=True)
@click.option("--rounds", default=4, show_default=True)
@click.option("--samples", default=16, show_default=True, help="Rewrites of each request and round.")
@click.option("--near", help="A dataset, e.g. mtrb/restbench: take the requests nearest to its annotated examples.")
@click.option("--paper", "as_paper", is_flag=True, help="Frozen MiniLM, sampled tools, requests of one tool too.")
@click.option("--seed", default=0, show_default=True)
def main(  # noqa: PLR0913, PLR0917 (options of a command)
    out: Path, base: str, requests: int, rounds: int, samples: int, near: str | None, as_paper: bool, seed: int
) -> None:
    """Align our base on public requests."""
    encoder = RememberingEncoder()
    training = training_catalogues(NAMES)
    chosen = chosen_requests(training, requests, encoder, _targets(near), seed, 1 if as_paper else _FEWEST_GOLDEN)
    examples, frozen = frozen_catalogues(training, chosen, (paper if as_paper else served)(encoder), seed)
    given = settings(base, rounds, samples, seed, "sampled" if as_paper else "nearest")
    examples = fitting(examples, frozen, base, given)
    click.echo(f"{len(examples)} requests of {len(set(map(id, frozen.catalogues.values())))} catalogues")
    policy = align(base, examples, frozen, given, out / "rounds", click.echo)
    policy.merged().save_pretrained(out)
    policy.tokenizer.save_pretrained(out)


def _targets(dataset: str | None) -> Sequence[Query]:
    draws = load_examples(dataset) if dataset else []
    if dataset and not draws:
        raise InputError(f"--near {dataset}: it has no annotated examples; name one that has, e.g. mtrb/restbench")
    return draws[0].queries if draws else ()


if __name__ == "__main__":
    run_command(main)
