"""Keys: who needs one, what each may do, and that creating and revoking one is seen by all workers at once."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mtrb.errors import ArtefactError, InputError
from qta.encoder import Encoder
from qta.engine import Engine
from qta.keys import FILE, KeyStore
from service import Settings, create_app
from service.auth import scope
from tests.conftest import Finished, Server, serving
from tests.service.test_degradation import children

ASK = {"query": "refund order 8841"}


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "served"))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def asking(folder: Path) -> Callable[[str, str | None], int]:
    app = create_app(Settings(index=folder))
    app.add_url_rule("/undeclared", view_func=lambda: "secret")
    app.add_url_rule("/written", "written", scope("write")(lambda: "written"))

    def ask(path: str, token: str | None = None) -> int:
        headers = bearer(token) if token else {}
        client = app.test_client()
        reply = (
            client.post(path, json=ASK, headers=headers) if path == "/retrieve" else client.get(path, headers=headers)
        )
        return reply.status_code

    return ask


def test_each_scope_does_what_it_may_and_no_more(folder: Path, asking: Callable[..., int]) -> None:
    store = KeyStore(folder)
    tokens = {name: store.create(name, name)[1] for name in ("retrieve", "write", "admin")}  # type: ignore[arg-type]
    paths = ("/retrieve", "/written", "/undeclared", "/metrics")
    assert {name: [asking(path, token) for path in paths] for name, token in tokens.items()} == {
        "retrieve": [200, 403, 403, 403],
        "write": [200, 200, 403, 403],
        "admin": [200, 200, 200, 200],
    }
    assert [asking(path) for path in paths] == [401] * 4
    assert [asking(path) for path in ("/healthz", "/readyz")] == [200, 200]
    assert asking("/healthz", "no-such-key") == 401


def test_a_refusal_says_what_is_missing(folder: Path) -> None:
    app = create_app(Settings(index=folder))
    _, token = KeyStore(folder).create("reader", "retrieve")
    client = app.test_client()
    none = client.post("/retrieve", json=ASK)
    assert none.status_code == 401
    assert none.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert "Authorization: Bearer KEY" in none.get_json()["detail"]
    denied = client.get("/metrics", headers=bearer(token))
    assert denied.status_code == 403
    assert "'admin'" in denied.get_json()["detail"]
    for header in ("Bearer", "Bearer ", "Basic abc", token, f"Token {token}", "Bearer \xe9", f"Bearer {token[:-1]}"):
        assert client.post("/retrieve", json=ASK, headers={"Authorization": header}).status_code == 401
    assert client.post("/retrieve", json=ASK, headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_without_keys_only_this_machine_is_let_in(folder: Path, encoder: Encoder) -> None:
    engine = Engine.open(folder)
    app = create_app(Settings(index=folder), engine)
    client = app.test_client()
    for address, status in (("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("203.0.113.7", 401)):
        reply = client.post("/retrieve", json=ASK, environ_overrides={"REMOTE_ADDR": address})
        assert reply.status_code == status, address
    behind = create_app(Settings(index=folder, allow_open=True), engine).test_client()
    assert behind.post("/retrieve", json=ASK, environ_overrides={"REMOTE_ADDR": "203.0.113.7"}).status_code == 200
    KeyStore(folder).create("one", "retrieve")
    assert behind.post("/retrieve", json=ASK).status_code == 401, "once there is a key, it is asked for"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("tools.localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("tools.example:8000", 401),
        ("127.0.0.1.evil.example", 401),
        ("localhost.evil.example", 401),
        ("203.0.113.7", 401),
        ("[::1", 401),
    ],
)
def test_without_keys_a_web_page_cannot_let_its_name_point_here(
    sample_engine: Engine, sample_folder: Path, host: str, status: int
) -> None:
    client = create_app(Settings(index=sample_folder), sample_engine).test_client()
    assert client.post("/retrieve", json=ASK, headers={"Host": host}).status_code == status
    assert client.get("/tools", headers={"Host": host}).status_code == status
    assert client.get("/healthz", headers={"Host": host}).status_code == 200
    assert ("index" in client.get("/readyz", headers={"Host": host}).get_json()) is (status == 200)


@pytest.fixture(scope="module")
def sample_engine(sample_folder: Path) -> Engine:
    return Engine.open(sample_folder)


def test_the_file_holds_no_key(folder: Path) -> None:
    key, token = KeyStore(folder).create("one", "retrieve", ["team-a"])
    assert len(token) >= 43 + len("qta_")
    stored = (folder / FILE).read_text()
    assert token not in stored
    assert token[4:] not in stored
    assert KeyStore(folder).find(token) == key
    assert KeyStore(folder).find(key.sha256) is None


def test_what_cannot_be_done_is_refused(folder: Path) -> None:
    store = KeyStore(folder)
    store.create("one", "write")
    with pytest.raises(InputError, match="there is a key 'one' already"):
        store.create("one", "write")
    with pytest.raises(InputError, match="no key 'two' to revoke; there are: one"):
        store.revoke("two")
    for name in ("", "a/b", "a b", "x" * 65, "-x"):
        with pytest.raises(InputError, match="letters, digits"):
            store.create(name, "write")
        with pytest.raises(InputError, match="the namespace"):
            store.create("three", "write", [name])
    store.revoke("one")
    store.create("one", "write")
    assert [key.revoked is None for key in store.known()] == [False, True]


def test_keys_that_are_damaged_or_gone_let_nobody_in(folder: Path) -> None:
    client = create_app(Settings(index=folder)).test_client()
    _, token = KeyStore(folder).create("one", "admin")
    assert client.post("/retrieve", json=ASK, headers=bearer(token)).status_code == 200
    kept = (folder / FILE).read_text()
    for damage in (lambda: (folder / FILE).write_text(kept[:-10]), (folder / FILE).unlink):
        damage()
        for headers in ({}, bearer(token)):
            reply = client.post("/retrieve", json=ASK, headers=headers)
            assert reply.status_code == 503
            assert "restore" in reply.get_json()["detail"]
            assert str(folder) not in reply.get_data(as_text=True)
        assert client.get("/healthz").status_code == 200
    (folder / FILE).write_text(kept)
    assert client.post("/retrieve", json=ASK, headers=bearer(token)).status_code == 200
    (folder / FILE).write_text("[]x")
    with pytest.raises(ArtefactError, match="damaged"):
        KeyStore(folder).known()


def test_a_worker_that_starts_after_the_keys_are_gone_lets_nobody_in(folder: Path) -> None:
    with serving(folder, "--workers", "1") as server:
        _, token = KeyStore(folder).create("one", "retrieve")
        assert server.ask("/retrieve", ASK, headers=bearer(token)).status == 200
        (folder / FILE).unlink()
        [worker] = children(server)
        os.kill(worker, signal.SIGKILL)
        assert server.ask("/retrieve", ASK).status == 503
        assert children(server) != [worker]


def test_keys_that_were_never_whole_leave_nothing_open(folder: Path) -> None:
    client = create_app(Settings(index=folder)).test_client()
    (folder / FILE).write_text("{")
    assert client.post("/retrieve", json=ASK).status_code == 503
    (folder / FILE).unlink()
    assert client.post("/retrieve", json=ASK).status_code == 503, "a file that was damaged and is gone is no open door"


def test_all_workers_see_a_key_and_its_end_at_once(folder: Path, qta: Callable[..., Finished]) -> None:
    with serving(folder, "--workers", "2") as server:
        assert statuses(server, {}) == {200}
        token = qta("keys", "create", "agent", "--index", folder).out.strip()
        assert statuses(server, {}) == {401}
        assert statuses(server, bearer(token)) == {200}
        assert "revoked agent" in qta("keys", "revoke", "agent", "--index", folder).out
        assert statuses(server, bearer(token)) == {401}
        assert statuses(server, {}) == {401}, "a service that had keys stays closed"
        time.sleep(0.2)
        assert {line.get("key") for line in server.log} >= {"agent", None}
        assert token not in json.dumps(server.log)


def statuses(server: Server, headers: dict[str, str]) -> set[int]:
    return {server.ask("/retrieve", ASK, headers=headers).status for _ in range(20)}


def test_the_command_line(folder: Path, tmp_path: Path, qta: Callable[..., Finished]) -> None:
    created = qta("keys", "create", "team", "--index", folder, "--scope", "write", "--namespace", "a", "--no-shared")
    assert created.out.startswith("qta_")
    assert "only time" in created.err
    assert "team  write  a  created" in qta("keys", "list", "--index", folder).out
    [listed] = json.loads(qta("keys", "list", "--index", folder, "--json").out)
    assert (listed["name"], listed["namespaces"], listed["shared"]) == ("team", ["a"], False)
    assert "sha256" not in listed
    for arguments, message in (
        (["create", "team", "--index", folder], "there is a key 'team' already"),
        (["create", "x", "--index", folder, "--no-shared"], "--no-shared needs --namespace"),
        (["create", "x", "--index", tmp_path / "nothing"], "no index"),
        (["revoke", "nobody", "--index", folder], "no key 'nobody'"),
        (["create", "x", "--index", folder, "--scope", "root"], "'root' is not one of"),
    ):
        refused = qta("keys", *arguments)
        assert (refused.status, refused.out) == (2, "")
        assert message in refused.err
        assert len(refused.err.splitlines()) <= 2


def test_another_address_without_keys_is_refused(folder: Path, qta: Callable[..., Finished]) -> None:
    refused = qta("serve", "--index", folder, "--host", "0.0.0.0", "--port", 0)
    assert refused.status == 2
    assert "can be reached from other machines" in refused.err
    assert "qta keys create NAME" in refused.err
    assert "--allow-open" in refused.err
    with serving(folder, "--host", "0.0.0.0", "--workers", "1", "--allow-open") as server:
        assert server.ask("/retrieve", ASK).status == 200
    KeyStore(folder).create("one", "retrieve")
    with serving(folder, "--host", "0.0.0.0", "--workers", "1") as server:
        assert server.ask("/retrieve", ASK).status == 401


def test_an_index_is_built_anew_around_its_keys(folder: Path, qta: Callable[..., Finished]) -> None:
    _, token = KeyStore(folder).create("one", "retrieve")
    assert qta("index", "sample:", "--out", folder).status == 0
    found = KeyStore(folder).find(token)
    assert found is not None
    assert found.name == "one"
