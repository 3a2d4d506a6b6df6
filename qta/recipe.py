"""The recipe: how much is made of annotated examples, by leave-one-out over them where that is plain."""

from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from mtrb.types import Query
from qta.examples import Choice, Examples, leave_one_out
from qta.hybrid import HybridRetriever
from qta.index import Advance
from qta.lesson import Lesson, Vector
from qta.reading import Reading
from qta.steps import STEPS, TRUSTED
from qta.workbench import Workbench

DEPTH = 1000
"""How deep golden tools are looked for where something is chosen."""

SURELY = 3
"""Examples that another recipe than the default must rank better, and none worse: what leave-one-out over ten examples
says beyond that is noise, see results/fewshot.md."""

_WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8)  # of the prior


class Recipe(NamedTuple):
    """What is chosen for a catalogue; the default was chosen on the public validation halves, see results/fewshot.md.

    The weight of the prior, whether tools used together bring each other along, and whether a rewrite's steps are
    trusted. Used tools come nearer to the requests that use them in any case.
    """

    prior: float = 0.05
    partners: bool = False
    trusted: bool = False

    def lesson(self, known: Examples, bench: Workbench) -> Lesson:
        """Return what examples teach by it, whose golden tools are positions in this catalogue."""
        ids, partners = bench.toolset.ids, known.partners if self.partners else {}
        return Lesson(
            prior={ids[at]: bonus for at, bonus in known.prior(self.prior).items()},
            requests={ids[at]: vector for at, vector in mean_requests(known, bench).items()},
            partners={ids[at]: tuple(ids[other] for other in others) for at, others in partners.items()},
            steps=TRUSTED if self.trusted else STEPS,
        )


@lru_cache(maxsize=2)
def mean_requests(known: Examples, bench: Workbench) -> Mapping[int, Vector]:
    """Return for each used tool the mean of the vectors of its requests; without those whose words are unknown."""
    requests: dict[int, list[Vector]] = {}
    for query, golden in zip(known.queries, known.golden, strict=True):
        vector = bench.read(query.text).vector
        for position in golden if vector.any() else ():
            requests.setdefault(position, []).append(vector)
    return {position: np.mean(vectors, axis=0) for position, vectors in requests.items()}


def choose_recipe(
    bench: Workbench,
    examples: Examples,
    rewrites: Mapping[str, str] | None = None,
    advance: Advance = lambda _: None,
) -> Choice[Recipe]:
    """Choose by leave-one-out, each example with its rewrite by a rewriter that has not seen it where there is one."""
    trust = (False, True) if rewrites else (False,)  # one aligned with the catalogue may be trusted more
    recipes = [Recipe(*one) for one in product(_WEIGHTS, (False, True), trust)]
    positions, depth = bench.toolset.positions, min(DEPTH, len(bench.toolset))

    @cache
    def read(query: Query) -> Reading:
        rewrite = (rewrites or {}).get(query.query_id)
        [reading] = HybridRetriever(bench.index, bench.encoder).read([query.rewritten(rewrite) if rewrite else query])
        return reading

    def rank(recipe: Recipe, known: Examples, query: Query) -> list[int]:
        stages = recipe.lesson(known, bench).stages(positions.get)
        ranking = HybridRetriever(bench.index, bench.encoder, stages).rank(read(query), depth)
        return [positions[scored.tool_id] for scored in ranking]

    return leave_one_out(examples, recipes, rank, Recipe(), SURELY, advance)


def describe(choice: Choice[Recipe]) -> dict[str, Any]:
    """Return what was chosen and how, for reports and manifests."""
    return {name: {"value": value, "by": choice.by} for name, value in choice.value._asdict().items()}
