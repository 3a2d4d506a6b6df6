"""What is asked of the engine, and what it answers, written in the form that was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

from mtrb.errors import InputError
from mtrb.formats.render import Detail, OutputFormat, renamed_parameters, render, search_output
from mtrb.identifiers import clean_tool_id, is_unicode
from mtrb.types import ScoredTool, Tool
from qta.budget import Budget
from qta.selection import ALL, Filter

RewriteMode = Literal["auto", "off", "always"]


@dataclass(frozen=True)
class Form:
    """How the tools of an answer are written.

    Attributes:
        format: whose shape.
        detail: how much of our own records; the vendors' are always whole.
        call_id: of the call that a `tool_search_output` answers.
        shared: names that several tools have, see `render`; the engine knows them.
    """

    format: OutputFormat = "native"
    detail: Detail = "full"
    call_id: str | None = None
    shared: frozenset[str] = frozenset()

    def write(self, tools: Sequence[Tool]) -> tuple[Any, dict[str, str]]:
        """Return the tools as they go to the vendor, and the id of the tool behind each name."""
        written, names = render(tools, self.format, self.detail, self.shared)
        return (search_output(written, self.call_id) if self.format == "tool_search_output" else written), names


NATIVE = Form()


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        query: the request.
        k: how many tools; `auto` as many as are enough with a stated probability; None as many as fit the budget.
        rewrite: `auto` leaves requests that name their tool as they are, `always` does not.
        wanted: what the request says of the tools.
        granted: the caller's namespaces; None grants all.
        always: ids of tools that are in the answer whatever the request and, but for `exclude`, the filter.
        explain: whether the answer says why each tool is in it.
        form: how the tools are written.
        budget: what they may take of the model's context, as they are written.
        keep: whether feedback may be given on the answer, for which the request's text is kept a while.
    """

    query: str
    k: int | Literal["auto"] | None = 5
    rewrite: RewriteMode = "auto"
    wanted: Filter = ALL
    granted: frozenset[str] | None = None
    always: tuple[str, ...] = ()
    explain: bool = False
    form: Form = NATIVE
    budget: Budget | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be answered.

        Raises:
            InputError: the request is empty or no text, or `k` is no number of tools.
        """
        if not isinstance(self.query, str) or not is_unicode(self.query):
            raise InputError(f"the request is {self.query!r}; expected a text")
        if not self.query.strip():
            raise InputError("the request is empty; say what is to be done")
        counted = isinstance(self.k, Integral) and not isinstance(self.k, bool) and self.k > 0
        if not (counted or self.k == "auto" or (self.k is None and self.budget)):
            raise InputError(f"k is {self.k!r}; expected how many tools, 1 or more, or 'auto'")
        object.__setattr__(self, "always", tuple(map(clean_tool_id, self.always)))  # as their owner wrote them


@dataclass(frozen=True)
class Answer:
    """What a request gets: ranked tools, timings, and what did not go as asked.

    Attributes:
        confidence: with `auto`, the probability that the tools are enough; where none fits, the p-value that says so.
        no_tool_fits: even the nearest tool is farther away than those of nearly all requests that some tool fits.
        whole_catalogue: all tools that the request may get are in the answer.
        tokens: of the tools as they are written, where there is a budget; and what all tools would take more.
        request_id: what feedback refers to.
    """

    query: str
    k: int
    ranking: Sequence[ScoredTool]
    tools: Sequence[Tool]
    index: dict[str, Any]
    rewritten_query: str | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)
    degraded: Sequence[dict[str, str]] = ()
    why: Sequence[dict[str, Any]] | None = None
    form: Form = NATIVE
    confidence: float | None = None
    no_tool_fits: bool = False
    whole_catalogue: bool = False
    tokens: int | None = None
    tokens_saved: int | None = None
    request_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer as `POST /retrieve` and `qta retrieve --json` give it.

        Our own records have rank and score in them; beside a vendor's, which go to the vendor as they are, they are a
        list of their own.
        """
        written, names = self.form.write(self.tools)
        places = [self.place(rank) for rank in range(1, len(self.tools) + 1)]
        if self.form.format == "native":
            return {"tools": [{**tool, **at} for tool, at in zip(written, places, strict=True)], **self.around()}
        mapped = any(name != tool.name for name, tool in zip(names, self.tools, strict=True))
        ranking = [{"tool_id": tool.tool_id, **at} for tool, at in zip(self.tools, places, strict=True)]
        behind: dict[str, Any] = {"names": names} if mapped else {}
        if self.form.format == "anthropic":
            renamed = zip(names, map(renamed_parameters, self.tools), strict=True)
            parameters = {name: own for name, own in renamed if own}
            behind |= {"parameters": parameters} if parameters else {}
        return {"tools": written, "ranking": ranking, **behind, **self.around()}

    def record(self, rank: int) -> dict[str, Any]:
        """Return the tool at a rank with its definition, its score, and why it is there where that was asked."""
        written, _ = render([self.tools[rank - 1]], "native")
        return {**written[0], **self.place(rank)}

    def place(self, rank: int) -> dict[str, Any]:
        """Return score and rank of the tool at a rank, and why it is there where that was asked."""
        why = {"why": self.why[rank - 1]} if self.why is not None else {}
        return {"score": round(self.ranking[rank - 1].score, 4), "rank": rank, **why}

    def around(self) -> dict[str, Any]:
        """Return everything but the tools; what was not asked for, or is not the case, is left out."""
        optional = {
            "confidence": self.confidence,
            "no_tool_fits": self.no_tool_fits or None,
            "whole_catalogue": self.whole_catalogue or None,
            "tokens": self.tokens,
            "tokens_saved": self.tokens_saved,
            "request_id": self.request_id,
        }
        return {
            "query": self.query,
            "rewritten_query": self.rewritten_query,
            "k": self.k,
            **{name: value for name, value in optional.items() if value is not None},
            "index": self.index,
            "timing_ms": self.timing_ms,
            "degraded": list(self.degraded),
        }
