"""The recipe: how much is made of annotated examples, chosen by leave-one-out over them."""

from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from mtrb.types import Query, Toolset
from qta.examples import PRIOR_WEIGHTS, Choice, Examples, leave_one_out
from qta.hybrid import HybridRetriever
from qta.index import Advance
from qta.lesson import Lesson
from qta.reading import Reading
from qta.steps import STEPS, TRUSTED
from qta.workbench import Workbench

DEPTH = 1000
"""How deep golden tools are looked for where something is chosen."""


class Recipe(NamedTuple):
    """What is chosen for a catalogue.

    The weight of the prior, whether clauses get places, whether tools used together bring each other along, and
    whether a rewrite's steps are trusted.
    """

    prior: float
    clauses: bool = True
    partners: bool = False
    trusted: bool = False

    def lesson(self, known: Examples, toolset: Toolset) -> Lesson:
        """Return what examples teach by it, whose golden tools are positions in this catalogue."""
        partners = known.partners if self.partners else {}
        return Lesson(
            prior={toolset[at].tool_id: bonus for at, bonus in known.prior(self.prior).items()},
            partners={
                toolset[at].tool_id: tuple(toolset[other].tool_id for other in others)
                for at, others in partners.items()
            },
            clauses=self.clauses,
            steps=TRUSTED if self.trusted else STEPS,
        )


RECIPES = tuple(
    Recipe(prior, clauses, partners)
    for partners, clauses, prior in product((False, True), (True, False), PRIOR_WEIGHTS)
)


def choose_recipe(
    bench: Workbench,
    examples: Examples,
    rewrites: Mapping[str, str] | None = None,
    advance: Advance = lambda _: None,
) -> Choice[Recipe]:
    """Choose by leave-one-out, each example with its rewrite by a rewriter that has not seen it where there is one."""
    trust = (False, True) if rewrites else (False,)  # one aligned with the catalogue may be trusted more
    recipes = [recipe._replace(trusted=trusted) for trusted in trust for recipe in RECIPES]
    toolset = bench.toolset

    @cache
    def read(query: Query) -> Reading:
        rewrite = (rewrites or {}).get(query.query_id)
        [reading] = HybridRetriever(bench.index, bench.encoder).read([query.rewritten(rewrite) if rewrite else query])
        return reading

    def rank(recipe: Recipe, known: Examples, query: Query) -> list[int]:
        stages = recipe.lesson(known, toolset).stages(toolset.positions.get)
        ranking = HybridRetriever(bench.index, bench.encoder, stages).rank(read(query), min(DEPTH, len(toolset)))
        return [toolset.positions[scored.tool_id] for scored in ranking]

    return leave_one_out(examples, recipes, rank, Recipe(0.1), advance)


def describe(choice: Choice[Recipe]) -> dict[str, Any]:
    """Return what was chosen and how, for reports and manifests."""
    return {name: {"value": value, "by": choice.by} for name, value in choice.value._asdict().items()}
