"""The shipped rewriter, aligned with nothing, is no worse than the request as it is, on every validation set."""

import pytest

from eval import Sufficiency, evaluate
from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from qta.encoder import WEIGHTS
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.pipeline import Pipeline
from qta.rewriting import open_rewriter
from qta.rewriting.rewriter import CatalogueRewriter, ToolRewriter
from qta.training.frozen import RememberingEncoder


@pytest.fixture(scope="module")
def rewriter() -> ToolRewriter:
    return open_rewriter(WEIGHTS)


@pytest.mark.parametrize(
    "name", ["sample", *(pytest.param(f"public/{name}", marks=pytest.mark.benchmark) for name in NAMES)]
)
def test_a_rewrite_never_makes_a_validation_set_worse(name: str, rewriter: ToolRewriter) -> None:
    bench, encoder = load(name, "validation"), RememberingEncoder()
    retriever = HybridRetriever(build_in_memory(bench.toolset, encoder), encoder)
    rewriting = Pipeline(CatalogueRewriter(rewriter, retriever), retriever)
    measures = [Sufficiency @ 5, Sufficiency @ 10]
    raw, rewritten = (
        evaluate(bench.qrels, system.retrieve(bench.queries, 10), measures) for system in (retriever, rewriting)
    )
    assert sum(map(rewritten.mean, measures)) >= sum(map(raw.mean, measures)) - 1e-9
