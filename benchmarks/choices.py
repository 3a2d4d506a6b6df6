"""Compare what the defaults could have been, on the public validation halves: what they were chosen by.

    python -m benchmarks.choices [--out results]

Nothing here reads a test half, MTRB or the sample. Figures are means over the eight sets, each set counting the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.published import publish
from eval import Sufficiency, evaluate
from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from mtrb.types import Benchmark, Query, Run, ScoredTool, Tool
from qta.baselines import FloatDenseRetriever
from qta.completion import CompletionRule
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import LEXICAL_WEIGHT, SERVED, HybridRetriever, Stages
from qta.index import ToolIndex, build_in_memory
from qta.lexical import LexicalIndex, lexical_text
from qta.refusals import run_command
from qta.retrievers import best
from qta.rewriting import open_rewriter
from qta.rewriting.rewriter import CatalogueRewriter
from qta.steps import UNBOUNDED, StepRule
from qta.tokens import tokenize
from qta.training.frozen import RememberingEncoder

S5, S10 = Sufficiency @ 5, Sufficiency @ 10
Scores = NDArray[np.float32]
Figures = dict[str, dict[str, dict[str, float]]]  # choice -> set -> measure


class Study:
    """Score every tool of a set for every query, in the ways that are compared."""

    def __init__(self, bench: Benchmark, encoder: Encoder) -> None:
        self.bench = bench
        self._encoder = encoder

    @cached_property
    def _queries(self) -> Scores:
        return self._encoder.encode([query.text for query in self.bench.queries])

    def dense(self, text: Callable[[Tool], str]) -> Scores:
        """Return cosines by the served encoder over a text of each tool."""
        return self._queries @ self._encoder.encode([text(tool) for tool in self.bench.toolset]).T

    def dense_float32(self) -> Scores:
        """Return cosines by the original weights, over the text that is indexed."""
        limit = self._encoder.manifest.max_tokens
        return FloatDenseRetriever(self.bench.toolset, Tool.default_text, limit).scores(self.bench.queries)

    def lexical(self, text: Callable[[Tool], str] = lexical_text, stop: bool = True, stem: bool = True) -> Scores:
        """Return BM25 scores."""
        tokens = partial(tokenize, stop=stop, stem=stem)
        index = LexicalIndex.build([text(tool) for tool in self.bench.toolset], tokens)
        return np.stack([index.scores(tokens(query.text)) for query in self.bench.queries])

    @cached_property
    def _index(self) -> ToolIndex:
        return build_in_memory(self.bench.toolset, self._encoder)

    def run(self, stages: Stages, rewrite: bool = False) -> Run:
        """Return the rankings of the hybrid in these stages, for the requests or for their rewrites."""
        queries = self._rewritten if rewrite else self.bench.queries
        return HybridRetriever(self._index, self._encoder, stages).retrieve(queries, 10)

    @cached_property
    def _rewritten(self) -> list[Query]:
        shows = HybridRetriever(self._index, self._encoder)
        return CatalogueRewriter(open_rewriter(WEIGHTS), shows).rewrite(self.bench.queries)

    def ranked(self, scores: Scores) -> Run:
        """Return the rankings by these scores, ties as everywhere in catalogue order."""
        ids = self.bench.toolset.ids
        return {
            query.query_id: [ScoredTool(ids[at], float(row[at])) for at in best(row, 10)]
            for query, row in zip(self.bench.queries, scores, strict=True)
        }

    def measure(self, run: Run) -> dict[str, float]:
        """Return the Sufficiency of rankings."""
        result = evaluate(self.bench.qrels, run, [S5, S10])
        return {str(measure): result.mean(measure) for measure in (S5, S10)}


def variants(study: Study) -> Iterator[tuple[str, str, Scores]]:
    """Yield each choice: what is chosen, its name, and the scores it gives."""
    dense, lexical = study.dense(Tool.default_text), study.lexical()
    yield "encoder file, alone", "int8 (served)", dense
    yield "encoder file, alone", "float32", study.dense_float32()
    yield "text that is embedded, dense alone", "name as words: description", dense
    yield "text that is embedded, dense alone", "name: description", study.dense(lambda t: f"{t.name}: {t.description}")
    yield "text that is embedded, dense alone", "description", study.dense(lambda tool: tool.description)
    for stop in (True, False):
        for stem in (True, False):
            name = f"{'without' if stop else 'with'} stop words, {'stemmed' if stem else 'not stemmed'}"
            words = study.lexical(stop=stop, stem=stem)
            yield "tokens, BM25 alone", name, words
            yield "tokens, fused", name, dense + LEXICAL_WEIGHT * words
    for name, text in LEXICAL_TEXTS.items():
        yield "text of the lexical index, fused", name, dense + LEXICAL_WEIGHT * study.lexical(text)
    for weight in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.4):
        yield "weight of BM25 in cosine + weight x BM25", f"{weight}", dense + np.float32(weight) * lexical
    for k in (1, 10, 60):
        yield (
            "other fusions",
            f"reciprocal ranks, constant {k}",
            reciprocal_ranks(dense, k) + reciprocal_ranks(lexical, k),
        )
    for share in (0.3, 0.5):
        yield (
            "other fusions",
            f"minimum to maximum, BM25 {share}",
            (1 - share) * spread(dense) + share * spread(lexical),
        )
        yield (
            "other fusions",
            f"standard scores, BM25 {share}",
            (1 - share) * standard(dense) + share * standard(lexical),
        )


LEXICAL_TEXTS: dict[str, Callable[[Tool], str]] = {
    "name, description, parameters, tags": lexical_text,
    "name, description, parameters": Tool.full_text,
    "name, description": lambda tool: f"{tool.name}\n{tool.description}",
}


def completions(study: Study) -> Iterator[tuple[str, str, Run]]:
    """Yield the ways to bring providers of ids along."""
    rules = [(10, lead, 0.05) for lead in (-0.03, -0.01, 0.0, 0.01, 0.03)]
    rules += [(first, 0.01, 0.05) for first in (3, 5, 20)] + [(10, 0.01, strength) for strength in (0.0, 0.1)]
    yield "completion", "none", study.run(Stages())
    for first, lead, strength in rules:
        name = f"the first {first}, lead {lead}, strength {strength}"
        yield "completion", name, study.run(Stages(completion=CompletionRule(first, lead, strength)))


def clauses(study: Study) -> Iterator[tuple[str, str, Run]]:
    """Yield the ways to give each clause's best tool a place."""
    yield "clauses, with completion", "none", study.run(replace(SERVED, clauses=None))
    for least in (0.0, 0.4, 0.5, 0.6, 0.7, 0.8):
        name = f"at least {least}"
        yield "clauses, with completion", name, study.run(replace(SERVED, clauses=StepRule(least)))


def served(study: Study) -> Iterator[tuple[str, str, Run]]:
    """Yield all stages together, without the unaligned rewriter and with it."""
    for weight in (0.03, 0.05, 0.08, 0.12):
        yield "weight of BM25, all stages", f"{weight}", study.run(replace(SERVED, weight=weight))
    yield "steps of the unaligned rewriter", "no rewriter", study.run(SERVED)
    for least in (0.5, 0.6, 0.7):
        for lift in (0.06, 0.15, 0.3, UNBOUNDED):
            name = f"at least {least}, lift {'without limit' if lift == UNBOUNDED else lift}"
            for fewest, of in ((1, "any rewrite"), (2, "rewrites of several steps")):
                rules = replace(SERVED, steps=StepRule(least, lift, fewest))
                yield "steps of the unaligned rewriter", f"{name}, {of}", study.run(rules, rewrite=True)


def reciprocal_ranks(scores: Scores, constant: int) -> Scores:
    """Return 1 / (constant + rank) by row (Cormack et al. 2009)."""
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1
    return (1 / (constant + ranks)).astype(np.float32)


def spread(scores: Scores) -> Scores:
    """Return scores moved to 0 to 1 by row."""
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    return np.asarray((scores - low) / np.maximum(high - low, 1e-9))


def standard(scores: Scores) -> Scores:
    """Return scores with mean 0 and deviation 1 by row."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(scores.std(axis=1, keepdims=True), 1e-9))


def table(choices: dict[str, Figures]) -> str:
    """Return the means over the sets as Markdown, a table a choice."""
    parts = ["Per cent, mean over the validation halves of the eight public sets. Made by `make choices`."]
    for choice, figures in choices.items():
        lines = [f"## {choice}\n", "| | Sufficiency@5 | Sufficiency@10 | mean |", "|---|--:|--:|--:|"]
        for name, sets in figures.items():
            s5, s10 = (100 * np.mean([values[str(measure)] for values in sets.values()]) for measure in (S5, S10))
            lines.append(f"| {name} | {s5:.2f} | {s10:.2f} | {(s5 + s10) / 2:.2f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(out: Path) -> None:
    """Measure, print the tables, and write them into the folder."""
    choices: dict[str, Figures] = {}
    for name in tqdm(NAMES, desc="sets"):
        study = Study(load(f"public/{name}", "validation"), RememberingEncoder())
        for choice, variant, scores in variants(study):
            choices.setdefault(choice, {}).setdefault(variant, {})[name] = study.measure(study.ranked(scores))
        for choice, variant, run in (*completions(study), *clauses(study), *served(study)):
            choices.setdefault(choice, {}).setdefault(variant, {})[name] = study.measure(run)
    publish(out, "validation", {"command": "make choices", "choices": choices}, table(choices))


if __name__ == "__main__":
    run_command(main)
