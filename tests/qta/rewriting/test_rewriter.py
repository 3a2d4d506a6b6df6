"""The rewriter: steps of a request, and the request itself whenever there are none."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtrb.types import Query, Tool, Toolset
from qta.encoder import Encoder
from qta.engine import Engine
from qta.hybrid import SERVED, HybridRetriever
from qta.index import build_in_memory, build_index
from qta.lesson import Lesson
from qta.live import LiveCatalogue
from qta.pipeline import IdentityRewriter, Pipeline
from qta.rewriting.generator import DeadlineError, Decoding, GenerationError
from qta.rewriting.prompt import Message, Prompt
from qta.rewriting.rewriter import CatalogueRewriter, ToolRewriter
from qta.steps import STEPS, TRUSTED, StepRule
from qta.training.frozen import FrozenHybrid

TOOLS = [Tool("shop/cancel_order", "cancel_order", "Cancel an order."), Tool("shop/list", "listOrders", "List orders.")]


class Scripted:
    """A language model that says what it is told, or fails as it is told."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def generate(
        self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
    ) -> list[list[str]]:
        found = []
        for conversation in conversations:
            self.asked.append(conversation[-1]["content"])
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            found.append([answer])
        return found


def steps(rewriter: ToolRewriter, *requests: str) -> list[tuple[tuple[str, ...], str | None]]:
    return [(one.steps, one.failure) for one in rewriter.steps(requests, [TOOLS] * len(requests))]


def test_an_answer_becomes_steps() -> None:
    model = Scripted("1. list orders: List orders.; cancel order", "one thing")
    assert steps(ToolRewriter(model), "cancel my order", "do it") == [
        (("list orders: List orders", "cancel order"), None),
        (("one thing",), None),
    ]
    assert model.asked[0] == "cancel my order\nTools:\n- cancel order: Cancel an order.\n- list Orders: List orders."


def test_equal_requests_are_asked_once() -> None:
    model = Scripted("a", "b")
    rewriter = ToolRewriter(model)
    assert steps(rewriter, "x", "y", "x") == [(("a",), None), (("b",), None), (("a",), None)]
    assert steps(rewriter, "y") == [(("b",), None)]
    assert rewriter.steps(["x"], [TOOLS])[0].cached
    assert len(model.asked) == 2


def test_a_tool_that_says_something_else_is_asked_about_anew() -> None:
    rewriter = ToolRewriter(Scripted("a", "b"))
    assert rewriter.steps(["x"], [TOOLS])[0].steps == ("a",)
    changed = [replace(TOOLS[0], description="Cancel a booking."), *TOOLS[1:]]
    assert rewriter.steps(["x"], [changed])[0].steps == ("b",)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "rewrite_empty"),
        (" ;; . ", "rewrite_empty"),
        ("<think>what could it be", "rewrite_empty"),
        (GenerationError("broken"), "rewrite_failed"),
        (DeadlineError("late"), "rewrite_timeout"),
        (RuntimeError("out of memory"), "rewrite_failed"),
    ],
)
def test_whatever_happens_the_request_goes_through(answer: str | Exception, reason: str) -> None:
    rewriter = ToolRewriter(Scripted(answer, "later"))
    assert steps(rewriter, "cancel it") == [((), reason)]
    assert rewriter.failures == {reason: 1}


def test_a_failure_is_not_remembered() -> None:
    rewriter = ToolRewriter(Scripted(GenerationError("broken"), "fine"))
    assert steps(rewriter, "cancel it") == [((), "rewrite_failed")]
    assert steps(rewriter, "cancel it") == [(("fine",), None)]


def test_the_deadline_reaches_the_model() -> None:
    class Patient(Scripted):
        def generate(
            self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
        ) -> list[list[str]]:
            assert deadline is not None
            assert 0 < deadline - time.monotonic() < 5
            return super().generate(conversations, decoding, deadline)

    assert steps(ToolRewriter(Patient("a"), timeout=5), "x") == [(("a",), None)]


def test_prompts_differ_in_their_digest_and_show_requests_in_english() -> None:
    assert Prompt().digest == Prompt().digest
    assert len({Prompt().digest, Prompt(tools=3).digest, Prompt(words=2).digest, Prompt(seed=1).digest}) == 4
    shown = Prompt().messages("删除发票", TOOLS)[-1]["content"]
    assert shown.startswith("删除发票\nIn English: delete invoice\nTools:\n- cancel order")
    assert Prompt().messages("cancel it", [])[-1]["content"] == "cancel it"
    long = Prompt().messages("word " * 500, TOOLS)[-1]["content"]
    assert len(long.split()) < 150


def test_a_pipeline_ranks_by_the_rewrite(encoder: Encoder) -> None:
    tools = [*TOOLS, *(Tool(f"x/{n}", f"thing_{n}", f"Does a thing number {n}.") for n in range(8))]
    stages = replace(SERVED, steps=StepRule(least=STEPS.least))
    retriever = HybridRetriever(build_in_memory(Toolset(tools), encoder), encoder, stages)
    query = Query("q", "cancel order 5")
    plain = Pipeline(IdentityRewriter(), retriever).retrieve([query], 3)["q"]
    rewriter = CatalogueRewriter(ToolRewriter(Scripted("thing 7: Does a thing number 7.")), retriever)
    [rewritten] = rewriter.rewrite([query])
    assert (rewritten.query_id, rewritten.original, rewritten.text) == (
        "q",
        "cancel order 5",
        "thing 7: Does a thing number 7",
    )
    assert "x/7" not in [scored.tool_id for scored in plain]
    again = CatalogueRewriter(ToolRewriter(Scripted("thing 7: Does a thing number 7.")), retriever)
    ranked = [scored.tool_id for scored in Pipeline(again, retriever).retrieve([query], 3)["q"]]
    assert ranked[:2] == [plain[0].tool_id, "x/7"]
    silent = CatalogueRewriter(ToolRewriter(Scripted("")), retriever)
    assert Pipeline(silent, retriever).retrieve([query], 3)["q"] == plain


def test_steps_take_part_as_the_lesson_says(encoder: Encoder, tmp_path: Path) -> None:
    tools = [*TOOLS, *(Tool(f"x/{n}", f"thing_{n}", f"Does a thing number {n}.") for n in range(8))]
    build_index(Toolset(tools), tmp_path / "index", encoder)

    def second(rule: StepRule) -> str:
        rewriter = ToolRewriter(Scripted("", "thing 7: Does a thing number 7."))  # the first warms up
        engine = Engine(LiveCatalogue(tmp_path / "index", encoder), encoder, rewriter, Lesson(steps=rule))
        return engine.retrieve("cancel order 5", 2, "always").tools[1].tool_id

    assert second(TRUSTED) == "x/7" != second(STEPS)


def test_a_rewriter_that_learnt_with_sampled_tools_is_served_with_the_same(encoder: Encoder) -> None:
    tools = Toolset([*TOOLS, *(Tool(f"x/{n}", f"thing_{n}", f"Does a thing number {n}.") for n in range(40))])
    retriever = HybridRetriever(build_in_memory(tools, encoder), encoder)
    prompt, request = Prompt(tools=4, selection="sampled", seed=5), "cancel order 5"
    rewriter, reading = ToolRewriter(Scripted(), prompt), retriever.reader.read(request)
    [learnt_with] = FrozenHybrid(retriever, encoder.identity).show([request], prompt)
    assert rewriter.show(retriever, reading) == learnt_with != retriever.nearest(request, 4)
    allowed = np.arange(len(tools)) < 3
    assert {tool.tool_id for tool in rewriter.show(retriever, reading, allowed)} == set(tools.ids[:3])
    model = Scripted("thing 7")
    CatalogueRewriter(ToolRewriter(model, prompt), retriever).rewrite([Query("q", request)])
    assert model.asked == [prompt.messages(request, learnt_with)[-1]["content"]]


def test_a_step_lifts_its_tool_by_so_much_and_no_more(encoder: Encoder) -> None:
    tools = [*TOOLS, *(Tool(f"x/{n}", f"thing_{n}", f"Does a thing number {n}.") for n in range(8))]
    retriever = HybridRetriever(build_in_memory(Toolset(tools), encoder), encoder)
    query, step = Query("q", "cancel order 5"), "thing 7: Does a thing number 7"

    def scores(asked: Query) -> dict[str, float]:
        return {one.tool_id: one.score for one in retriever.retrieve([asked], 12)["q"]}

    before, after = scores(query), scores(query.rewritten(f"{step}; nothing that a tool does"))
    assert after == pytest.approx(before | {"x/7": before["x/7"] + STEPS.lift}, abs=1e-5)
    assert scores(query.rewritten(step)) == before  # a single step says little that the request does not
