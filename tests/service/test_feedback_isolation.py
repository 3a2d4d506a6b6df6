"""What one team says of its answers is its own: no other team's ranking, scores or ids tell of it."""

import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.index import build_index
from qta.keys import KeyStore
from service import Settings, create_app

QUERY = "send a mail"
TOOLS = [
    *(Tool(f"mail/send_{n}", f"send_{n}", f"Send a mail by way {n}.", {}) for n in range(4)),
    *(Tool(f"@{team}/desk/book", "book", "Book a desk.", {}) for team in ("team-a", "team-b")),
]
SHARED = "mail/send_3"


class Teams:
    """Callers of one service, each with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._app = create_app(Settings(index=folder))

    def key(self, name: str, namespaces: list[str] | None, shared: bool = True) -> FlaskClient:
        _, token = KeyStore(self._folder).create(name, "retrieve", namespaces, shared)
        client = self._app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return client


@pytest.fixture
def teams(tmp_path: Path, encoder: Encoder) -> Teams:
    build_index(Toolset(TOOLS), tmp_path / "index", encoder)
    return Teams(tmp_path / "index")


def ask(client: FlaskClient) -> Any:
    return client.post("/retrieve", json={"query": QUERY, "k": 10, "explain": True}).get_json()


def told(client: FlaskClient) -> Any:
    """Return all that an answer tells, but for what differs each time."""
    answer = ask(client)
    return {name: value for name, value in answer.items() if name not in ("request_id", "timing_ms")}


def say(client: FlaskClient, request_id: str, used: list[str]) -> int:
    return client.post("/feedback", json={"request_id": request_id, "used": used}).status_code


def priors(client: FlaskClient) -> dict[str, float]:
    return {tool["tool_id"]: tool["why"]["prior"] for tool in ask(client)["tools"] if "prior" in tool["why"]}


def test_feedback_of_a_team_changes_nothing_for_another(teams: Teams) -> None:
    ours, theirs, all_seeing = teams.key("a", ["team-a"]), teams.key("b", ["team-b"]), teams.key("all", None)
    before = told(theirs), told(all_seeing)
    for _ in range(20):
        assert say(ours, ask(ours)["request_id"], [SHARED, "@team-a/desk/book"]) == 200
    time.sleep(0.3)
    assert set(priors(ours)) == {SHARED, "@team-a/desk/book"}
    assert ask(ours)["tools"][0]["tool_id"] == SHARED
    assert (told(theirs), told(all_seeing)) == before


def test_keys_of_the_same_namespaces_are_one_team(teams: Teams) -> None:
    one, colleague = teams.key("one", ["team-a", "team-b"]), teams.key("colleague", ["team-b", "team-a"])
    alone, part = teams.key("alone", ["team-b", "team-a"], shared=False), teams.key("part", ["team-a"])
    assert say(one, ask(one)["request_id"], ["@team-a/desk/book"]) == 200
    time.sleep(0.3)
    assert priors(colleague) == priors(alone) == priors(one) != {}
    assert priors(part) == {}


def test_feedback_on_the_request_of_another_team_is_as_on_none(teams: Teams) -> None:
    ours, theirs, all_seeing = teams.key("a", ["team-a"]), teams.key("b", ["team-b"]), teams.key("all", None)
    request_id = ask(ours)["request_id"]
    for _ in range(2):  # before and after there is feedback on it
        answers = [
            client.post("/feedback", json={"request_id": one, "used": [SHARED]})
            for client in (theirs, all_seeing)
            for one in (request_id, "0" * 32)
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.get_json()["detail"] for answer in answers}) == 1
        assert say(ours, request_id, [SHARED]) == 200
    assert say(ours, request_id, []) == 200, "what was said is taken back by who said it"
    time.sleep(0.3)
    assert priors(ours) == {}


def test_a_batch_goes_by_the_teams_own_feedback_too(teams: Teams) -> None:
    ours, theirs = teams.key("a", ["team-a"]), teams.key("b", ["team-b"])
    assert say(ours, ask(ours)["request_id"], [SHARED]) == 200
    time.sleep(0.3)
    for client, expected in ((ours, {SHARED}), (theirs, set())):
        body = {"queries": [QUERY, QUERY], "k": 10, "explain": True}
        for answer in client.post("/retrieve", json=body).get_json()["results"]:
            assert {tool["tool_id"] for tool in answer["tools"] if "prior" in tool["why"]} == expected
