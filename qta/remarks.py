"""What an answer says of itself: what did not go as asked, and why each tool is in it."""

from collections.abc import Sequence
from typing import Any

from qta.asking import Request
from qta.hybrid import Trace
from qta.overlay import Overlay
from qta.selection import ALL

_DETAILS = {
    "query_truncated": "the encoder read the first {max_tokens} tokens; words after them counted in the lexical "
    "ranking only",
    "query_not_understood": "the encoder and the glossaries know hardly a word of the request; the ranking goes by "
    "what words, names and numbers it shares with the tools",
    "rewrite_timeout": "the rewriter did not answer in time; the request was ranked as it is",
    "rewrite_failed": "the rewriter failed; the request was ranked as it is",
    "rewrite_empty": "the rewriter had nothing to say; the request was ranked as it is",
    "no_rewriter": "no rewriter is installed; the request was ranked as it is",
    "index_outdated": "what was changed last cannot be read; the tools as they were before answered",
    "filter_unknown": "the filter names what no tool has: {named}",
    "filter_leaves_nothing": "the filter leaves no tool to choose from",
    "always_unknown": "'always' names tools that there are not, or that the filter excludes: {named}",
    "always_over_budget": "'always' names more than fits into the token_budget; left out: {named}",
    "larger_than_budget": "left out, each being larger than the whole token_budget: {named}",
    "budget_too_small": "not even the best tool fits into the token_budget; raise it, or ask for less detail",
    "feedback_unavailable": "the request could not be kept, so that there is no request_id to give feedback on",
}

REASONS = tuple(_DETAILS)
"""What `reason` may be."""

NOTHING_FITS = "no tool seems to fit the request; these are the nearest"

_SHOWN, _LONGEST = 5, 100  # names in a detail, and characters of each


def remark(reason: str, named: Sequence[str] = (), max_tokens: int = 0) -> dict[str, str]:
    """Return an entry of `degraded`."""
    shown = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in named[:_SHOWN]]
    shown += [f"and {len(named) - _SHOWN} more"] if len(named) > _SHOWN else []
    return {"reason": reason, "detail": _DETAILS[reason].format(named=", ".join(shown), max_tokens=max_tokens)}


def why(now: Overlay, position: int, trace: Trace, asked: Request, prior: float, passed: bool) -> dict[str, Any]:
    """Return what put a tool into the answer, each with what it counted; one of `always` need not pass the filter."""
    reasons: dict[str, Any] = {}
    if position in trace.cosines:
        reasons["meaning"] = round(trace.cosines[position], 4)
        reasons["words"] = round(trace.words[position], 4)
    if position in trace.taught:
        reasons["examples"] = round(trace.taught[position], 4)
    if position in trace.named:
        reasons["named"] = True
    if position in trace.places:
        kind, text = trace.places[position]
        reasons[kind] = text
    if prior:
        reasons["prior"] = round(prior, 4)
    if position in trace.brought:
        kind, by = trace.brought[position]
        reasons[kind] = now.ids[by]
    if now.ids[position] in asked.always:
        reasons["always"] = True
    filtered = [name for name, value in vars(asked.wanted).items() if value != getattr(ALL, name)]
    if passed and filtered:
        reasons["filter"] = filtered
    return reasons
