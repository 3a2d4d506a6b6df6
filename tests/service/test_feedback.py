"""Feedback: it counts at once and in every worker, survives a kill, and is bounded."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qta import feedback
from qta.asking import Request
from qta.encoder import Encoder
from qta.engine import Engine
from qta.feedback import ALL, FILE, MOST, FeedbackStore, annotated_requests
from qta.index import build_index
from service import Settings, create_app
from tests.conftest import Reply, Server, serving
from tests.service.test_retrieve import problem

QUERY = "refund order 8841"
RAISED = "shop/cancel_order"


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(sample_folder, tmp_path / "index", ignore=shutil.ignore_patterns("*.db*"))
    return tmp_path / "index"


@pytest.fixture(scope="module")
def workers(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("feedback") / "index"
    shutil.copytree(sample_folder, folder)
    with serving(folder, "--workers", "3") as running:
        yield running


def ask(server: Server, query: str = QUERY) -> Any:
    return server.ask("/retrieve", {"query": query, "k": 8, "explain": True}).json


def prior(answer: Any, tool_id: str = RAISED) -> float:
    [tool] = [tool for tool in answer["tools"] if tool["tool_id"] == tool_id]
    return float(tool["why"].get("prior", 0.0))


def say(server: Server, request_id: str, used: Any) -> Reply:
    return server.ask("/feedback", {"request_id": request_id, "used": used})


def test_what_is_used_all_the_time_is_not_in_every_answer(folder: Path, encoder: Encoder) -> None:
    engine = Engine.open(folder)
    for _ in range(300):
        assert engine.feedback.add(engine.feedback.record("mail the report to Ann", ALL), ["mail/send_message"], ALL)
    answer = engine.answer(Request("what is the weather in Oslo", 3, explain=True))
    assert "mail/send_message" not in [tool.tool_id for tool in answer.tools]
    [why] = engine.answer(Request("use mail/send_message", 1, explain=True)).why or ()
    assert why["prior"] == MOST


def test_what_was_used_ranks_higher_in_every_worker_within_a_second(workers: Server) -> None:
    before = ask(workers)
    for _ in range(3):
        request_id = ask(workers)["request_id"]
        reply = say(workers, request_id, [RAISED, RAISED])
        assert (reply.status, reply.json) == (200, {"request_id": request_id, "used": [RAISED]})
    time.sleep(1)
    answers = [ask(workers) for _ in range(30)]  # of three workers
    assert {prior(answer) for answer in answers} == {round(0.05 * 1.3863, 4)}, "0.05 x log(1 + 3)"
    score = {tool["tool_id"]: tool["score"] for tool in answers[0]["tools"]}
    for tool in before["tools"]:
        if tool["tool_id"] in score and tool["tool_id"] != RAISED:
            assert score[tool["tool_id"]] == pytest.approx(tool["score"], abs=0.05)
    [old] = [tool["score"] for tool in before["tools"] if tool["tool_id"] == RAISED]
    assert score[RAISED] > old


def test_each_answer_has_an_id_of_its_own(workers: Server) -> None:
    batch = workers.ask("/retrieve", {"queries": [QUERY] * 5}).json["results"]
    assert len({answer["request_id"] for answer in batch}) == 5
    assert say(workers, batch[3]["request_id"], []).status == 200


def test_it_is_there_after_a_kill(folder: Path) -> None:
    with serving(folder, "--workers", "2") as server:
        request_id = ask(server)["request_id"]
        assert say(server, request_id, [RAISED]).status == 200
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for process in (server.process.pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        server.process.wait(30)
    with serving(folder, "--workers", "1") as server:
        assert prior(ask(server)) > 0
        assert say(server, request_id, ["shop/request_return"]).status == 200, "what was said is replaced"
        assert prior(ask(server)) == 0


INVALID: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "request_id"),
    "no tools": ({"request_id": "a"}, "used"),
    "id is empty": ({"request_id": "", "used": []}, "request_id"),
    "id is a number": ({"request_id": 7, "used": []}, "request_id"),
    "a long id": ({"request_id": "a" * 101, "used": []}, "request_id"),
    "tools are a text": ({"request_id": "a", "used": "shop/cancel_order"}, "used"),
    "tools are null": ({"request_id": "a", "used": None}, "used"),
    "a tool is a number": ({"request_id": "a", "used": [1]}, "used.0"),
    "101 tools": ({"request_id": "a", "used": [RAISED] * 101}, "used"),
    "unknown tool": ({"request_id": "a", "used": [RAISED, "shop/nothing"]}, "used.1"),
    "unknown field": ({"request_id": "a", "used": [], "score": 1}, "score"),
    "a list": ([], "body"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_field_is_named(workers: Server, case: str) -> None:
    body, field = INVALID[case]
    content = problem(workers.ask("/feedback", body), 422)
    assert field in [entry["field"] for entry in content["errors"]]


def test_an_unknown_request_is_not_found(workers: Server) -> None:
    problem(say(workers, "0" * 32, [RAISED]), 404)
    problem(workers.ask("/feedback", b"{"), 400)
    problem(workers.ask("/feedback", {"request_id": "a", "used": []}, content_type="text/plain"), 415)


def test_switched_off_nothing_is_kept(folder: Path) -> None:
    client = create_app(Settings(index=folder, feedback=False)).test_client()
    answer = client.post("/retrieve", json={"query": QUERY})
    assert "request_id" not in answer.json
    assert client.post("/feedback", json={"request_id": "a", "used": []}).status_code == 404
    assert not (folder / FILE).exists()


def test_a_locked_file_degrades_the_answer_and_refuses_the_feedback(folder: Path) -> None:
    client = create_app(Settings(index=folder)).test_client()
    request_id = client.post("/retrieve", json={"query": QUERY}).json["request_id"]
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.perf_counter()
    answer = client.post("/retrieve", json={"query": QUERY}).json
    assert time.perf_counter() - start < 2
    assert "request_id" not in answer
    assert [entry["reason"] for entry in answer["degraded"]] == ["feedback_unavailable"]
    assert len(answer["tools"]) == 5
    refused = client.post("/feedback", json={"request_id": request_id, "used": [RAISED]})
    assert refused.status_code == 503
    assert "locked" in refused.json["detail"]
    other.close()
    assert client.post("/feedback", json={"request_id": request_id, "used": [RAISED]}).status_code == 200


def test_a_file_that_was_deleted_and_one_that_was_put_back_are_noticed(folder: Path, tmp_path: Path) -> None:
    store = FeedbackStore(folder)
    assert store.add(store.record("one"), ["a"])
    shutil.copy(folder / FILE, tmp_path)
    for path in folder.glob(f"{FILE}*"):
        path.unlink()
    assert store.add(store.record("two"), ["b"])
    assert [one.query for one in FeedbackStore(folder).all()] == ["two"]
    for path in folder.glob(f"{FILE}*"):
        path.unlink()
    shutil.copy(tmp_path / FILE, folder)
    assert store.add(store.record("three"), ["c"])
    assert [one.query for one in FeedbackStore(folder).all()][-1] == "three"


def test_a_damaged_file_is_refused_at_the_start(folder: Path) -> None:
    (folder / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(Exception, match=r"feedback\.db: file is not a database"):
        Engine.open(folder)


def test_no_more_is_kept_than_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "KEPT", 10)
    monkeypatch.setattr(feedback, "_PRUNE_EVERY", 50)
    store = FeedbackStore(folder)
    first = store.record("the first")
    assert store.add(first, [RAISED])
    kept = [store.record(f"request {n}") for n in range(49)]
    assert not store.add(kept[0], [RAISED]), "of the requests the last ten are kept"
    assert store.add(kept[-1], [RAISED])
    assert store.add(first, [RAISED]), "feedback is counted by itself"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400)
    assert not store.add(kept[-2], [RAISED]), "a request is kept for a day"
    monkeypatch.setattr(time, "time", lambda: now + 366 * 86_400)
    for n in range(51):
        store.record(f"request {n}")
    assert store.all() == []
    time.sleep(0.3)
    assert dict(store.uses) == {}


def test_feedback_becomes_annotated_requests(folder: Path, encoder: Encoder) -> None:
    engine = Engine.open(folder)
    store = engine.feedback
    for query, used in (
        ("call it off", ["shop/list_orders"]),
        ("call it off", ["shop/cancel_order", "shop/list_orders"]),
        ("nothing helped", []),
        ("a tool that is gone", ["mail/search_messages"]),
    ):
        assert store.add(store.record(query), used)
    engine.catalogue.remove(["mail/search_messages"])
    found = annotated_requests(folder, engine.catalogue.now.toolset())
    assert [query.text for query in found.queries] == ["call it off"]
    assert list(found.qrels.values()) == [{"shop/cancel_order": 1, "shop/list_orders": 1}]
    assert engine.answer(engine_request()).tools, "a used tool that is gone does no harm"
    build_index(engine.catalogue.now.toolset(), folder, encoder)
    assert FeedbackStore(folder).uses[ALL]["shop/list_orders"] == 2, "a new index of the folder keeps it"


def test_a_file_of_before_there_were_tenants_is_read(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as old:
        old.executescript("""
            CREATE TABLE requests (request_id TEXT UNIQUE NOT NULL, at REAL NOT NULL, query TEXT NOT NULL);
            CREATE TABLE feedback (request_id TEXT UNIQUE NOT NULL, at REAL NOT NULL, query TEXT NOT NULL);
            CREATE TABLE used (request_id TEXT NOT NULL, tool_id TEXT NOT NULL, PRIMARY KEY (request_id, tool_id));
            CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
            INSERT INTO state VALUES ('revision', 1);
            INSERT INTO feedback VALUES ('old', 1e12, 'call it off');
            INSERT INTO used VALUES ('old', 'shop/cancel_order');
        """)
    store = FeedbackStore(folder)
    assert store.uses == {ALL: {"shop/cancel_order": 1}}
    assert store.add(store.record("again"), [RAISED])
    assert FeedbackStore(folder).uses == {ALL: {"shop/cancel_order": 2}}


def engine_request() -> Any:
    from qta.asking import Request

    return Request("search my mail")
