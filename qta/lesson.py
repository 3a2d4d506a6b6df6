"""The lesson: what annotated examples teach beside a rewriter. An evaluation and a service rank by the same one.

It goes by the ids of tools, so that it holds for a catalogue that has changed since.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from qta.hybrid import SERVED, Stages
from qta.steps import STEPS, StepRule

Value = TypeVar("Value")
Vector = NDArray[np.float32]


def _unpacked(value: Any) -> Vector:
    if not isinstance(value, str | np.ndarray):
        raise ValueError("a vector must be base64 of half-precision numbers")
    written = np.frombuffer(b64decode(value, validate=True), np.float16) if isinstance(value, str) else value
    packed = written.astype(np.float16)
    if packed.ndim != 1 or not np.isfinite(packed).all():
        raise ValueError("a vector must be finite numbers in a row")
    return packed.astype(np.float32)  # as it is after it was written, so that what is served is what was evaluated


def _packed(vector: Vector) -> str:
    return b64encode(vector.astype(np.float16).tobytes()).decode()


class Lesson(BaseModel):
    """Say what was learnt; the default is what is served where nothing was.

    Attributes:
        prior: what a tool's score is raised by.
        requests: the mean of the vectors of the requests that examples use a tool for; it comes nearer to them.
        partners: the tools that a tool brings along, because examples need them beside it.
        steps: when the best tool of a rewrite's step gets a place.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )

    prior: dict[str, float] = {}
    requests: dict[str, Annotated[Vector, BeforeValidator(_unpacked), PlainSerializer(_packed, when_used="json")]] = {}
    partners: dict[str, tuple[str, ...]] = {}
    steps: StepRule = STEPS

    def fits(self, dimension: int) -> bool:
        """Tell whether all vectors have so many numbers."""
        return all(len(vector) == dimension for vector in self.requests.values())

    def stages(self, position: Callable[[str], int | None]) -> Stages:
        """Return the stages of a ranking, by where the catalogue has a tool now; tools that are gone are left out."""

        def there(taught: Mapping[str, Value]) -> dict[int, Value]:
            places = {tool_id: position(tool_id) for tool_id in taught}
            return {at: taught[tool_id] for tool_id, at in places.items() if at is not None}

        partners = {at: list(there(dict.fromkeys(others))) for at, others in there(self.partners).items()}
        return replace(
            SERVED, prior=there(self.prior), requests=there(self.requests), partners=partners, steps=self.steps
        )


UNTAUGHT = Lesson()
"""Of what nobody has taught."""
