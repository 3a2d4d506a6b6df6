"""The time of an answer tells nothing of another team's tools: as much is done for one that there is as for none.

Seconds differ from run to run; the calls that are made do not.
"""

import json
import math
import sys
from collections import Counter
from types import FrameType

import pytest
from flask.testing import FlaskClient

from qta import feedback
from tests.conftest import ROOT
from tests.service.test_isolation import ATTEMPTS, NONE, NONE_NAME, REAL, REAL_NAME, Attempt, asks_by_id, filled
from tests.service.test_isolation import asking as asking  # noqa: PLC0414 (fixtures)
from tests.service.test_isolation import folder as folder  # noqa: PLC0414

OURS = tuple(f"{ROOT / package}/" for package in ("mtrb", "qta", "service"))


def done(client: FlaskClient, attempt: Attempt, tool_id: str, name: str) -> Counter[str]:
    """Return how often each function of ours is called for an answer."""
    calls: Counter[str] = Counter()
    body = filled(attempt.body, tool_id, name)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            calls[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        client.open(
            filled(attempt.path, tool_id, name),
            method=attempt.method,
            data=data,
            headers=attempt.headers,
            content_type="application/json",
        )
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("case", [case for case in ATTEMPTS if asks_by_id(ATTEMPTS[case])])
def test_as_much_is_done_for_a_tool_that_there_is_as_for_none(
    asking: FlaskClient, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "_LOOK_EVERY", math.inf)  # it goes by the clock, not by the request
    for tool_id, name in ((REAL, REAL_NAME), (NONE, NONE_NAME)):
        done(asking, ATTEMPTS[case], tool_id, name)  # what is done once is done
    real, none = (done(asking, ATTEMPTS[case], *sought) for sought in ((REAL, REAL_NAME), (NONE, NONE_NAME)))
    assert real
    assert real == none
