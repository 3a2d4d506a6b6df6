"""Steps: what a request of several clauses, or a rewrite of it, consists of; each step's tool gets its place."""

from collections.abc import Iterable
from dataclasses import dataclass

import regex

_MOST = 8
_FEWEST_WORDS = 3
_SEPARATOR = regex.compile(r"[;\n；]")  # noqa: RUF001
_NUMBERING = regex.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):]|step\s+\d+:)\s*", regex.IGNORECASE)
_ITEM = regex.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")
_NUMBERED = regex.compile(r"(?:^|\s)\(?(\d{1,2})[.)]\s+")
_THINKING = regex.compile(r"<think>.*?(?:</think>|\Z)", regex.DOTALL)
# After "Dr." nothing new begins; and "also" or "next" begins something only where a clause does.
_CLAUSE = regex.compile(
    r"(?<!\b(?:Dr|Mr|Mrs|Ms|Prof|vs|e\.g|i\.e)\.)(?<=[.!?;])\s+|(?<=[。！？；])|; |, and "  # noqa: RUF001
    r"|\b(?:and then|then|after that|afterwards)\b,?"
    r"|(?<=^|[\n,.;:!?(]\s*|\s[\u2013-]\s+|\band\s+)(?:next|also|additionally|furthermore|finally)\b,?"
)


UNBOUNDED = 1e3
"""More than any score differs from another."""


@dataclass(frozen=True)
class StepRule:
    """When a part's best tool gets a place beside the best of all; chosen on the public validation halves.

    Attributes:
        least: what the tool must score for the part alone, see results/validation.md.
        lift: how much it may rise above its score for the whole request.
        fewest: parts there must be; a single one tells little that the request does not.
    """

    least: float = 0.0
    lift: float = UNBOUNDED
    fewest: int = 1


CLAUSES = StepRule(least=0.6)
"""For the clauses of the request itself."""

STEPS = StepRule(least=0.6, lift=0.15, fewest=2)
"""For the steps of a rewrite, which may be wrong: a tool that has little to do with the request stays where it is."""

TRUSTED = StepRule(least=0.6)
"""For those of a rewriter that is being aligned, so that what a rewrite is worth shows in the ranks; and of one that
the gate, which judges by it, has let in."""


def split_clauses(request: str) -> list[str]:
    """Return the clauses of a request that asks for several things, else nothing."""
    parts = [part.strip() for item in _items(request) for part in _CLAUSE.split(item)]
    clauses = _distinct(part for part in parts if len(part.split()) >= _FEWEST_WORDS or not part.isascii())
    return clauses if len(clauses) > 1 else []


def _items(request: str) -> list[str]:
    """Return the items of a request that is a list, bulleted or numbered, a line each or in a row; else the request."""
    lines = request.splitlines()
    if sum(bool(_ITEM.match(line)) for line in lines) > 1:
        items: list[str] = []
        for line in lines:
            if _ITEM.match(line) or not items:
                items.append(_ITEM.sub("", line))
            else:
                items[-1] += f" {line.strip()}"
        return items
    in_row: list[regex.Match[str]] = []
    for found in _NUMBERED.finditer(request):
        if int(found[1]) == len(in_row) + 1:
            in_row.append(found)
    if len(in_row) < 2 or request[: in_row[0].start()].strip():
        return [request]
    ends = [*(found.start() for found in in_row[1:]), len(request)]
    return [request[found.end() : end] for found, end in zip(in_row, ends, strict=True)]


def split_steps(rewrite: str) -> list[str]:
    """Return the steps of a rewrite in order, none twice, without numbering, at most eight."""
    return _distinct(_NUMBERING.sub("", part) for part in _SEPARATOR.split(_THINKING.sub("", rewrite)))


def join_steps(steps: Iterable[str]) -> str:
    """Return steps as the one text that `split_steps` takes apart again."""
    return "; ".join(steps)


def _distinct(parts: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for part in parts:
        step = " ".join(part.split()).strip(" .,")
        if any(character.isalnum() for character in step):
            found.setdefault(step.lower(), step)
    return list(found.values())[:_MOST]
