"""What a key of a namespace may write: its namespaces' tools, and nothing that it does not see or that is shared."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.index import build_index
from qta.keys import KeyStore
from service import Settings, create_app

OWN, SHARED, THEIRS = "@team-a/book", "mail/send", "@team-b/open"


@pytest.fixture
def clients(tmp_path: Path, encoder: Encoder) -> tuple[FlaskClient, FlaskClient]:
    """Return who writes the tools of one team, and who writes all."""
    tools = [Tool(tool_id, tool_id.rpartition("/")[2], f"It is {tool_id}.", {}) for tool_id in (OWN, SHARED, THEIRS)]
    build_index(Toolset(tools), tmp_path / "index", encoder)
    app, store = create_app(Settings(index=tmp_path / "index")), KeyStore(tmp_path / "index")
    keys = [store.create("a", "write", ["team-a"])[1], store.create("all", "write")[1]]
    found = [app.test_client() for _ in keys]
    for client, key in zip(found, keys, strict=True):
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return found[0], found[1]


def record(tool_id: str) -> dict[str, str]:
    return {"id": tool_id, "name": "new", "description": "It is new."}


def test_a_team_writes_its_own_tools(clients: tuple[FlaskClient, FlaskClient]) -> None:
    team, everybody = clients
    written = team.put("/tools", json={"tools": [record(OWN), record("x/y")], "namespace": "team-a"}).get_json()
    assert (written["added"], written["changed"], written["ids"]) == (1, 1, [OWN, "@team-a/x/y"])
    assert written["revision"] is None, "it counts what others change"
    assert everybody.get(f"/tools/{OWN}").get_json()["name"] == "new"
    removed = team.delete(f"/tools/{OWN}").get_json()
    assert removed == {"removed": 1, "missing": [], "revision": None}
    assert everybody.put("/tools", json={"tools": [record(SHARED)]}).get_json()["revision"] >= 3


@pytest.mark.parametrize("tool_id", [SHARED, "new/one", THEIRS, "@team-b/new"])
def test_a_team_writes_no_other_tool_nor_what_stands_beside_it(
    clients: tuple[FlaskClient, FlaskClient], tool_id: str
) -> None:
    team, everybody = clients
    before = everybody.get("/tools").get_json()
    refused = team.put("/tools", json={"tools": [record(OWN), record(tool_id)]})
    assert refused.status_code == 403
    detail = refused.get_json()["detail"]
    assert detail == f"the key 'a' writes only tools of its namespaces, @team-a/..., not {tool_id!r}"
    assert everybody.get("/tools").get_json() == before


def test_a_team_removes_no_other_tool(clients: tuple[FlaskClient, FlaskClient]) -> None:
    team, everybody = clients
    assert team.delete(f"/tools/{SHARED}").status_code == 403
    assert team.delete("/tools", json={"ids": [OWN, SHARED]}).status_code == 403
    assert team.delete(f"/tools/{THEIRS}").status_code == 404
    assert everybody.get("/tools").get_json()["total"] == 3
    removed = team.delete("/tools", json={"ids": [OWN, THEIRS, "@team-b/none"]}).get_json()
    assert (removed["removed"], removed["missing"]) == (1, [THEIRS, "@team-b/none"])
    assert [tool["id"] for tool in everybody.get("/tools").get_json()["tools"]] == [THEIRS, SHARED]


def test_who_may_only_ask_writes_nothing(clients: tuple[FlaskClient, FlaskClient], tmp_path: Path) -> None:
    team, _ = clients
    reading = {"Authorization": f"Bearer {KeyStore(tmp_path / 'index').create('reader', 'retrieve')[1]}"}
    for refused in (
        team.put("/tools", json={"tools": [record(OWN)]}, headers=reading),
        team.delete("/tools", json={"ids": [OWN]}, headers=reading),
        team.delete(f"/tools/{OWN}", headers=reading),
    ):
        assert refused.status_code == 403
        assert "needs the scope 'write'" in refused.get_json()["detail"]
    assert team.get(f"/tools/{OWN}", headers=reading).status_code == 200
