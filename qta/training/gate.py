"""The gate: a rewriter is served only when it serves requests it has not seen no worse than no rewriter does.

And aligned only when that is no worse than unaligned. The examples are cut into two halves; a rewriter aligned on each
rewrites the other, so that every example gets one by a rewriter that has not seen it. Judged is by the ranking that is
served. What stands beside the rewriter is chosen with these rewrites too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtrb.types import Query
from qta.examples import Examples, criterion
from qta.rewriting.rewriter import ToolRewriter
from qta.steps import join_steps
from qta.training.align import Report, align, rewrite
from qta.training.config import AlignSettings
from qta.training.frozen import Frozen

FEWEST = 4
"""Below so many examples half of them teaches too little; the rewriter is installed ungated, and says so."""


def rewritten(rewriter: ToolRewriter, queries: Sequence[Query], frozen: Frozen) -> list[str]:
    """Return the rewrite of each query by a rewriter that is shown what it was trained with, "" where there is none."""
    texts = [query.text for query in queries]
    return [join_steps(one.steps) for one in rewriter.steps(texts, frozen.show(texts, rewriter.prompt))]


@dataclass(frozen=True)
class Criterion:
    """How well rankings serve requests: Sufficiency@5 and @10, then the mean log rank of the worst golden tool."""

    sufficiency: float
    log_rank: float

    @classmethod
    def of(cls, ranks: Sequence[Sequence[int]]) -> "Criterion":
        """Measure the ranks of each request's golden tools."""
        sufficiency, depth = criterion([max(places) for places in ranks])
        return cls(sufficiency, -depth)

    def at_least(self, other: "Criterion") -> bool:
        """Tell whether this is no worse: more requests served, or as many and no deeper."""
        return (self.sufficiency, -self.log_rank) >= (other.sufficiency, -other.log_rank)


@dataclass(frozen=True)
class Verdict:
    """What the gate found on examples that no rewriter had seen.

    Attributes:
        decision: `accepted` serves the aligned rewriter, `unaligned` its base, which is better, `rejected` neither;
            `ungated` serves the aligned one, as there are too few examples to tell.
        before: how well requests are served as they are.
        unaligned: with the base's rewrites.
        after: with those of the aligned rewriters.
        rewrites: of each example, by what is served.
    """

    decision: Literal["accepted", "unaligned", "rejected", "ungated"]
    before: Criterion | None = None
    unaligned: Criterion | None = None
    after: Criterion | None = None
    rewrites: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Tell whether a rewriter is served."""
        return self.decision != "rejected"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict for the manifest."""
        measured = {"before": self.before, "unaligned": self.unaligned, "after": self.after}
        criteria = {name: vars(one) if one else None for name, one in measured.items()}
        return {"verdict": self.decision, **criteria, "rewrites": dict(self.rewrites)}


def cross_fit(
    base: str, examples: Examples, frozen: Frozen, settings: AlignSettings, folder: Path, report: Report
) -> dict[str, str]:
    """Return a rewrite of each example by a rewriter aligned on the half that it is not in."""
    rewrites: dict[str, str] = {}
    prompt = settings.prompt.prompt(settings.seed)
    for name, (half, other) in {"even": (0, 1), "odd": (1, 0)}.items():
        taught, asked = (examples.part(range(start, len(examples), 2)) for start in (half, other))
        report(f"gate: aligned on {len(taught)} examples, asked the other {len(asked)}")
        policy = align(base, taught, frozen, settings, folder / name, report, require=False)
        texts = rewrite(policy.generator(), asked.queries, frozen, prompt, settings.candidates.max_new_tokens)
        rewrites |= {query.query_id: text for query, text in zip(asked.queries, texts, strict=True)}
    return rewrites


def judge(
    examples: Examples, aligned: Mapping[str, str], frozen: Frozen, unaligned: Mapping[str, str] | None = None
) -> Verdict:
    """Compare the rankings with the aligned rewriters' rewrites, with their base's where that is a choice, and without.

    Of equals the aligned rewriter is served.
    """
    if not aligned:
        return Verdict("ungated")
    before, after = (_measured(examples, rewrites, frozen) for rewrites in ({}, aligned))
    base = _measured(examples, unaligned, frozen) if unaligned else None
    if after.at_least(before) and (base is None or after.at_least(base)):
        return Verdict("accepted", before, base, after, aligned)
    if unaligned and base and base.at_least(before):
        return Verdict("unaligned", before, base, after, unaligned)
    return Verdict("rejected", before, base, after)


def _measured(examples: Examples, rewrites: Mapping[str, str], frozen: Frozen) -> Criterion:
    ranks = []
    for query, golden in zip(examples.queries, examples.golden, strict=True):
        ranks += frozen.ranks(query, golden, [rewrites.get(query.query_id) or query.text])
    return Criterion.of(ranks)
