"""What a conversation asks for, where its last turn is long."""

import pytest

from qta.conversation import request_of

LOG = "ERROR at line 5. " * 700
ASKED = "Please create an issue about this log."


@pytest.mark.parametrize("turn", [f"{LOG}\n{ASKED}", f"{ASKED}\n{LOG}", f"{LOG[:3000]}\n{ASKED}"])
def test_what_is_asked_of_something_pasted_is_read_first(turn: str) -> None:
    request = request_of([{"role": "user", "content": turn}]) or ""
    assert len(request) <= 10_000
    assert ASKED in request[:2000]
    blocks = [{"type": "text", "text": part} for part in turn.split("\n")]
    assert request_of([{"role": "user", "content": blocks}]) == request


@pytest.mark.parametrize("turn", [f"Hi!\n{ASKED} {LOG[:3000]}", f"{ASKED} {LOG[:3000]}"])
def test_nothing_of_a_long_line_is_lost(turn: str) -> None:
    assert request_of([{"role": "user", "content": turn}]) == turn.strip()


def test_a_turn_that_was_typed_is_left_as_it_is() -> None:
    assert (
        request_of([{"role": "user", "content": "refund order 8841\nand tell Bob"}])
        == "refund order 8841\nand tell Bob"
    )
