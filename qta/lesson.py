"""The lesson: what annotated examples teach beside a rewriter. An evaluation and a service rank by the same one.

It goes by the ids of tools, so that it holds for a catalogue that has changed since.
"""

from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from qta.hybrid import SERVED, Stages
from qta.steps import STEPS, StepRule


class Lesson(BaseModel):
    """Say what was learnt; the default is what is served where nothing was.

    Attributes:
        prior: what a tool's score is raised by.
        partners: the tools that a tool brings along, because examples need them beside it.
        clauses: whether the clauses of a request get places.
        steps: when the best tool of a rewrite's step does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prior: dict[str, float] = {}
    partners: dict[str, tuple[str, ...]] = {}
    clauses: bool = True
    steps: StepRule = STEPS

    def stages(self, position: Callable[[str], int | None]) -> Stages:
        """Return the stages of a ranking, by where the catalogue has a tool now; tools that are gone are left out."""
        places = {
            tool_id: position(tool_id) for tool_id in {*self.prior, *self.partners}.union(*self.partners.values())
        }
        there = {tool_id: at for tool_id, at in places.items() if at is not None}
        return replace(
            SERVED,
            prior={there[tool_id]: bonus for tool_id, bonus in self.prior.items() if tool_id in there},
            partners={
                there[tool_id]: [there[other] for other in others if other in there]
                for tool_id, others in self.partners.items()
                if tool_id in there
            },
            clauses=SERVED.clauses if self.clauses else None,
            steps=self.steps,
        )


UNTAUGHT = Lesson()
"""Of what nobody has taught."""
