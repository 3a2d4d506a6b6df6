"""Steps: how requests and rewrites are taken apart, and that each step's tool gets its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtrb.types import Query, Tool, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever, Stages
from qta.index import build_in_memory
from qta.steps import CLAUSES, StepRule, join_steps, split_clauses, split_steps

CLAUSE_CASES = {
    "Refund the last order and then mail the customer.": ["Refund the last order", "mail the customer"],
    "Book a flight to Oslo, and find a hotel there": ["Book a flight to Oslo", "find a hotel there"],
    "Find the cheapest flight. Book it for two people!": ["Find the cheapest flight", "Book it for two people!"],
    "refund order 8841": [],
    "salt and pepper prices": [],
    "Also refund the order": [],
    "请查找航班。然后预订酒店。": ["请查找航班", "然后预订酒店"],
    "1. Book a flight to Rome\n2. Reserve a room for two": ["Book a flight to Rome", "Reserve a room for two"],
    "- Book a flight to Rome\n- Reserve a room for two": ["Book a flight to Rome", "Reserve a room for two"],
    "1) book a flight to Rome 2) reserve a room for two": ["book a flight to Rome", "reserve a room for two"],
    "Start it at level 29. Then count the birds.": ["Start it at level 29", "Then count the birds"],
    "refund order 8841\nand do it again for Bob": [],
    "Schedule a meeting with Bob next Monday at 10am": [],
    "Also send the report to Dr. Smith at the office": [],
    "find the order that was also sent to Bob": [],
    "Find the order 8841, also refund it to Bob": ["Find the order 8841", "refund it to Bob"],
    "9:30 call Bob at home\n10:15 meet Ann at work": [],
    "-5 degrees in Oslo\n-3 degrees in Rome": [],
    "Plan a trip for\nthe whole family:\n- find a hotel\n  near the old city\n- book a train to it": [
        "Plan a trip for the whole family:",
        "find a hotel near the old city",
        "book a train to it",
    ],
    "1. Set the thermostat to 21. 2. Dim the kitchen lights": ["Set the thermostat to 21", "Dim the kitchen lights"],
    "": [],
}


@pytest.mark.parametrize("request_", CLAUSE_CASES)
def test_a_request_is_taken_apart_into_clauses(request_: str) -> None:
    assert [clause.strip("。") for clause in split_clauses(request_)] == CLAUSE_CASES[request_]


REWRITES = {
    "search movie; get credits": ["search movie", "get credits"],
    "1. search movie\n2) get credits\n- rate it": ["search movie", "get credits", "rate it"],
    "<think>hm; hm</think>search movie": ["search movie"],
    "<think>never closed; ": [],
    "search movie; Search  Movie.; ;": ["search movie"],
    " ; .. ; ": [],
    "; ".join(f"step {n} of many" for n in range(30)): [f"step {n} of many" for n in range(8)],
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_rewrite_is_taken_apart_into_steps(rewrite: str) -> None:
    assert split_steps(rewrite) == REWRITES[rewrite]


@given(st.text(max_size=200))
def test_steps_survive_being_joined(text: str) -> None:
    steps = split_steps(text)
    again = split_steps(join_steps(steps))
    assert split_steps(join_steps(again)) == again
    assert len(steps) <= 8
    assert len({step.lower() for step in steps}) == len(steps)


TOOLS = Toolset(
    [
        Tool("bank/transfer", "transfer_money", "Transfer money between two accounts"),
        Tool("bank/balance", "account_balance", "Show the balance of an account"),
        Tool("bank/account", "open_account", "Open an account at the bank"),
        Tool("bank/close", "close_account", "Close an account at the bank"),
        Tool("mail/send", "send_mail", "Send an e-mail message"),
        Tool("zoo/feed", "feed_animals", "Feed the animals of the zoo"),
    ]
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def ids(retriever: HybridRetriever, query: Query, k: int = 2) -> list[str]:
    return [scored.tool_id for scored in retriever.retrieve([query], k)["q"]]


def test_the_tool_of_a_small_clause_gets_its_place(encoder: Encoder) -> None:
    index = build_in_memory(TOOLS, encoder)
    text = "Show the balance of my account at the bank before I close the account at the bank. Then feed the animals."
    query = Query("q", text)
    assert "zoo/feed" not in ids(HybridRetriever(index, encoder, Stages()), query)
    assert "zoo/feed" in ids(HybridRetriever(index, encoder, Stages(clauses=CLAUSES)), query)


def test_the_steps_of_a_rewrite_get_their_places_behind_the_best_tool(encoder: Encoder) -> None:
    index = build_in_memory(TOOLS, encoder)
    query = Query("q", "transfer money").rewritten("feed animals: Feed the animals of the zoo; send mail")
    plain = ids(HybridRetriever(index, encoder, Stages()), query, 6)
    placed = ids(HybridRetriever(index, encoder, Stages(steps=StepRule())), query, 6)
    assert placed[:3] == [plain[0], "zoo/feed", "mail/send"]
    assert placed[3:] == [tool_id for tool_id in plain if tool_id not in placed[:3]]


def test_a_step_that_fits_no_tool_changes_nothing(encoder: Encoder) -> None:
    index = build_in_memory(TOOLS, encoder)
    query = Query("q", "transfer money").rewritten("photosynthesis in deep sea algae")
    strict = HybridRetriever(index, encoder, Stages(steps=StepRule(least=0.6)))
    assert ids(strict, query, 6) == ids(HybridRetriever(index, encoder, Stages()), query, 6)
