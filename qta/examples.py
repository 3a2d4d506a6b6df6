"""What annotated examples teach without a language model: which tools are used, and how much to make of it.

A choice is made by leave-one-out: each example is ranked with what the others teach, so that a weight is only taken
when it helps on requests it has not seen.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Generic, TypeVar

from mtrb.errors import InputError
from mtrb.types import Benchmark, Query, Toolset

Key = TypeVar("Key")
Value = TypeVar("Value")

PRIOR_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""What the logarithm of a tool's uses may count beside a cosine."""

_TOGETHER = 2  # examples that two tools share; once may be chance
_GREAT_MANY = 0.3  # of the examples; on public validation sets chance alone never made so many
_FEWEST = 4  # below that leave-one-out tells nothing

HELD_OUT = 100
"""Examples that leave-one-out holds out at most, evenly drawn; there may be thousands, and all of them teach."""


@dataclass(frozen=True)
class Examples:
    """Hold annotated requests, golden tools as positions in the catalogue, and which split they are."""

    queries: tuple[Query, ...]
    golden: tuple[tuple[int, ...], ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.queries)

    @classmethod
    def of(cls, annotated: Benchmark, toolset: Toolset) -> "Examples":
        """Take the requests of a benchmark's split.

        Raises:
            InputError: there is none, or a golden tool is not in the catalogue.
        """
        if not annotated.queries:
            raise InputError("there are no examples to learn from")
        golden = [annotated.qrels[query.query_id] for query in annotated.queries]
        unknown = [tool_id for tools in golden for tool_id in tools if tool_id not in toolset.positions]
        if unknown:
            raise InputError(
                f"the examples' golden tool {unknown[0]!r} is not in the catalogue of {len(toolset)} tools"
            )
        positions = tuple(tuple(toolset.positions[tool_id] for tool_id in tools) for tools in golden)
        return cls(annotated.queries, positions, f"{annotated.dataset_id}/{annotated.split}")

    def part(self, numbers: Iterable[int]) -> "Examples":
        """Return some of the examples."""
        kept = list(numbers)
        return Examples(tuple(self.queries[n] for n in kept), tuple(self.golden[n] for n in kept), self.source)

    def without(self, held_out: int) -> "Examples":
        """Return all examples but one."""
        return self.part(number for number in range(len(self)) if number != held_out)

    @cached_property
    def uses(self) -> Counter[int]:
        """Count in how many examples each tool is golden; the most used first, equals in catalogue order."""
        counts = Counter(position for golden in self.golden for position in golden)
        return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))

    @cached_property
    def partners(self) -> dict[int, list[int]]:
        """Return for each tool those that were needed beside it in most of its examples, and in two at least."""
        uses, together = self.uses, Counter(pair for golden in self.golden for pair in permutations(set(golden), 2))
        found: dict[int, list[int]] = {}
        for (tool, other), count in sorted(together.items()):
            if count >= _TOGETHER and 2 * count > uses[tool]:
                found.setdefault(tool, []).append(other)
        return found

    def prior(self, weight: float) -> dict[int, float]:
        """Return what each used tool's score is raised by: weight x log(1 + uses)."""
        return usage_prior(self.uses, weight)


def usage_prior(uses: Mapping[Key, int], weight: float) -> dict[Key, float]:
    """Return what each tool's score is raised by: weight x log(1 + uses)."""
    return {tool: weight * math.log1p(count) for tool, count in uses.items()} if weight else {}


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """A value chosen by leave-one-out, and what the criterion was for each: Sufficiency, then the log of ranks."""

    value: Value
    scores: dict[Value, tuple[float, float]]
    from_examples: bool

    @property
    def by(self) -> str:
        """Return what it was chosen by."""
        return "leave-one-out" if self.from_examples else "default"


def leave_one_out(
    examples: Examples,
    values: Sequence[Value],
    rank: Callable[[Value, Examples, Query], Sequence[int]],
    default: Value,
    surely: int = 0,
    advance: Callable[[int], object] = lambda _: None,
) -> Choice[Value]:
    """Choose the value whose rankings of held-out examples are best; of equals the first.

    Better is a higher mean of Sufficiency@5 and @10, then a lower mean log rank of the worst golden tool. Below four
    examples the default is taken.

    Args:
        examples: what is learnt from and held out.
        values: what there is to choose from, the most careful first.
        rank: given a value, the other examples and a request, returns the positions of the tools, best first.
        default: taken where there are too few examples, or where no other value is surely better.
        surely: how many held-out examples must get their worst golden tool sooner than by the default, and none later,
            for another value to be taken; or as many, and three in ten, must be served that were not. 0 lets the best
            win.
        advance: told of each example that was held out.
    """
    if len(examples) < _FEWEST:
        return Choice(default, {}, from_examples=False)
    worst: dict[Value, list[int]] = {value: [] for value in values}
    count = min(len(examples), HELD_OUT)
    for number in (place * len(examples) // count for place in range(count)):
        query, golden, known = examples.queries[number], examples.golden[number], examples.without(number)
        for value in values:
            ranking = list(rank(value, known, query))
            places = {position: place for place, position in enumerate(ranking, start=1)}
            worst[value].append(max(places.get(position, len(ranking) + 1) for position in golden))
        advance(1)
    scores = {value: criterion(ranks) for value, ranks in worst.items()}
    better = [value for value in values if not surely or _is_surely_better(worst[value], worst[default], surely)]
    return Choice(max([*better, *([default] if surely else [])], key=lambda value: scores[value]), scores, True)


def _is_surely_better(worst: Sequence[int], by_default: Sequence[int], surely: int) -> bool:
    """Tell whether some get their worst tool sooner and none later, or a great many more are served."""
    gains = [before - after for before, after in zip(by_default, worst, strict=True)]
    more = len(worst) * (criterion(worst)[0] - criterion(by_default)[0])
    many = max(surely, _GREAT_MANY * len(worst)) - 1e-9
    return (min(gains) >= 0 and sum(gain > 0 for gain in gains) >= surely) or more >= many


def criterion(worst: Sequence[int]) -> tuple[float, float]:
    """Return Sufficiency and the log of ranks, the higher the better, by the rank of each request's worst tool."""
    sufficiency = sum((place <= 5) + (place <= 10) for place in worst) / (2 * len(worst))
    return sufficiency, -sum(map(math.log, worst)) / len(worst)
