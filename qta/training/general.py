"""General alignment: DPO on retrieval ranks over requests of all public training catalogues, before any user's own.

    python -m qta.training.general --out DIR
    python -m qta.training.layers rewriter DIR --out qta/weights

DIR holds the base with the adapter in its weights, and the log of each round beside.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from mtrb.benchmarks import load_examples
from mtrb.benchmarks.training import NAMES
from mtrb.types import Benchmark, Query, Tool
from qta.examples import Examples
from qta.hybrid import SERVED, HybridRetriever
from qta.index import build_in_memory
from qta.rewriting.local import DEFAULT_BASE
from qta.rewriting.prompt import Prompt
from qta.steps import TRUSTED, StepRule
from qta.training.align import align
from qta.training.config import AlignSettings, load_settings
from qta.training.demonstrations import mixed, training_catalogues
from qta.training.frozen import FrozenHybrid, Ranks, RememberingEncoder

_FEWEST_GOLDEN = 2
_GROWN = 1000  # tools of a catalogue at most


@dataclass(frozen=True)
class FrozenCatalogues:
    """The served retriever over several catalogues; each request belongs to one."""

    catalogues: dict[str, FrozenHybrid]

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
    training: Sequence[Benchmark], count: int, encoder: RememberingEncoder, near: Sequence[Query], seed: int
) -> set[str]:
    """Return which requests are aligned on: of several tools; drawn, or the nearest to given ones.

    Nearest by the cosine to the nearest of them.
    """
    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    texts = [
        query.text
        for bench in training
        for query in bench.queries
        if len(bench.qrels[query.query_id]) >= _FEWEST_GOLDEN
    ]
    if not near:
        return set(rng.sample(texts, min(count, len(texts))))
    cosines = encoder.encode(texts) @ encoder.encode([query.text for query in near]).T
    return {texts[at] for at in np.argsort(-cosines.max(axis=1), kind="stable")[:count]}


def frozen_catalogues(
    training: Sequence[Benchmark], chosen: set[str], encoder: RememberingEncoder, seed: int
) -> tuple[Examples, FrozenCatalogues]:
    """Return the chosen requests as examples, and the catalogues that they are asked of, small ones mixed."""
    stages = replace(SERVED, steps=TRUSTED)
    queries: list[Query] = []
    golden: list[tuple[int, ...]] = []
    catalogues: dict[str, FrozenHybrid] = {}
    wanted = [
        replace(bench, queries=some)
        for bench in training
        if (some := tuple(query for query in bench.queries if query.text in chosen))
    ]
    for bench in mixed(wanted, random.Random(seed), _GROWN):  # noqa: S311
        retriever = HybridRetriever(build_in_memory(bench.toolset, encoder), encoder, stages)
        frozen = FrozenHybrid(retriever, encoder.identity)
        for query in bench.queries:
            queries.append(replace(query, query_id=f"{bench.dataset_id}/{query.query_id}"))
            golden.append(tuple(bench.toolset.positions[one] for one in bench.qrels[query.query_id]))
            catalogues[query.text] = frozen
    return Examples(tuple(queries), tuple(golden), "general"), FrozenCatalogues(catalogues)


def settings(base: str, rounds: int, samples: int, seed: int) -> AlignSettings:
    """Return the settings: those of an alignment, with fewer rewrites and pairs of each request, as there are many."""
    given = load_settings(base=base, rounds=rounds, seed=seed)
    return given.model_copy(
        update={
            "candidates": given.candidates.model_copy(update={"samples": samples}),
            "pairs": given.pairs.model_copy(update={"most": 2}),
            "dpo": given.dpo.model_copy(update={"batch": 32}),
        }
    )


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the model.")
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@click.option("--requests", default=300, show_default=True)
@click.option("--rounds", default=4, show_default=True)
@click.option("--samples", default=16, show_default=True, help="Rewrites of each request and round.")
@click.option("--near", help="A dataset, e.g. mtrb/restbench: take the requests nearest to its annotated examples.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, base: str, requests: int, rounds: int, samples: int, near: str | None, seed: int) -> None:
    """Align our base on public requests."""
    encoder = RememberingEncoder()
    training = training_catalogues(NAMES)
    targets = load_examples(near)[0].queries if near else ()
    chosen = chosen_requests(training, requests, encoder, targets, seed)
    examples, frozen = frozen_catalogues(training, chosen, encoder, seed)
    click.echo(f"{len(examples)} requests of {len(set(map(id, frozen.catalogues.values())))} catalogues")
    policy = align(base, examples, frozen, settings(base, rounds, samples, seed), out / "rounds", click.echo)
    policy.merged().save_pretrained(out)
    policy.tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
