"""Which of the ranked tools are in an answer: those that are always wanted, whatever else there is room for."""

import pytest

from mtrb.types import ScoredTool, Tool
from qta.asking import Request
from qta.calibration import read_calibration
from qta.choosing import Choice
from qta.encoder import WEIGHTS, Encoder

RANKED = ["a", "b", "c", "d", "e"]


def chosen(k: int, *pinned: str) -> list[str]:
    choice = Choice(
        asked=Request("x", k, always=pinned),
        rank=lambda n: [ScoredTool(name, 1.0 - at / 10) for at, name in enumerate(RANKED[:n])],
        tool=lambda tool_id: Tool(tool_id, tool_id),
        available=len(RANKED),
        pinned=pinned,
        calibration=read_calibration(WEIGHTS / "calibration.json", Encoder().identity),
    )
    return [scored.tool_id for scored in choice.choose().ranking]


@pytest.mark.parametrize(
    ("k", "pinned", "expected"),
    [
        (3, (), ["a", "b", "c"]),
        (3, ("a",), ["a", "b", "c"]),
        (3, ("e",), ["a", "b", "e"]),
        (3, ("c", "e"), ["a", "c", "e"]),  # the last place is of one that is wanted, and stays
        (3, ("b", "c", "e"), ["b", "c", "e"]),
        (1, ("a", "d", "e"), ["a", "d", "e"]),  # more than k, since each was asked for
    ],
)
def test_what_is_always_wanted_is_in_the_answer(k: int, pinned: tuple[str, ...], expected: list[str]) -> None:
    assert chosen(k, *pinned) == expected
