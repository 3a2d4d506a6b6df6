"""Token budgets: how much of a model's context tools take, and how many of them fit.

What is counted is the compact JSON of the tools in the form in which they are sent to the model, without rank and
score, by the bundled tokenizer or by one that is named; models that are not open count a little differently.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mtrb.errors import ArtefactError
from mtrb.types import Tool
from qta.encoder import WEIGHTS

Write = Callable[[Sequence[Tool]], tuple[Any, dict[str, str]]]

_REMEMBERED = 20_000  # texts whose tokens are known
_COUNTED = 1000  # tools that are all counted
_SAMPLED = 200  # tools that stand for all of a larger catalogue


class TokenCounter:
    """Count tokens; safe to share between threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Open a `tokenizer.json` of Hugging Face's tokenizers, the bundled one unless another is named.

        Raises:
            ArtefactError: it cannot be read.
        """
        from tokenizers import Tokenizer

        path = path or WEIGHTS / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
        except Exception as error:  # the library raises nothing narrower
            raise ArtefactError(f"{path}: no tokenizer: {error}; name a tokenizer.json") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._count = lru_cache(_REMEMBERED)(self._tokens)

    def count(self, value: Any) -> int:
        """Return the tokens of a value's compact JSON."""
        return self._count(orjson.dumps(value).decode())

    def all_of(self, tools: Sequence[Tool], positions: Sequence[int], write: Write) -> int:
        """Return what all tools at these positions would take; of a large catalogue by a sample of evenly spaced ones.

        They are counted exactly up to 1,000 tools; above, 200 stand for all.
        """
        step = 1 if len(positions) <= _COUNTED else len(positions) / _SAMPLED
        sample = [positions[int(n * step)] for n in range(int(len(positions) / step))]
        frame = self.count(write([])[0])
        tokens = sum(self.count(write([tools[at]])[0]) - frame + 1 for at in sample)
        return frame + max(0, round(tokens * len(positions) / max(1, len(sample))) - 1)

    def _tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class Fitted(NamedTuple):
    """Which of some tools fit, by their place; the tokens they take; and which are larger than the whole budget."""

    kept: list[int]
    tokens: int
    too_large: list[int]


@dataclass(frozen=True)
class Budget:
    """How many tokens the tools of an answer may take, and who counts them."""

    tokens: int
    counter: TokenCounter

    def fit(self, tools: Sequence[Tool], first: Iterable[int], write: Write) -> Fitted:
        """Keep tools in their order while they fit, those of the places `first` before all others.

        A tool that is larger than the whole budget is passed over, so that it does not hide those behind it.
        """
        frame = self.counter.count(write([])[0])
        left = self.tokens - frame
        kept: list[int] = []
        too_large: list[int] = []
        early = list(first)
        for at in [*early, *(at for at in range(len(tools)) if at not in early)]:
            cost = self._cost(tools[at], write) - frame + bool(kept)  # and a comma
            if cost > self.tokens - frame:
                too_large.append(at)
            elif cost <= left:
                kept.append(at)
                left -= cost
            else:
                break
        while kept and (used := self._used(tools, kept, write)) > self.tokens:
            kept.pop()  # tokens across the border of two tools may be others than theirs
        return Fitted(sorted(kept), used if kept else 0, too_large)

    def _cost(self, tool: Tool, write: Write) -> int:
        return self.counter.count(write([tool])[0])

    def _used(self, tools: Sequence[Tool], kept: Iterable[int], write: Write) -> int:
        return self.counter.count(write([tools[at] for at in sorted(kept)])[0])
