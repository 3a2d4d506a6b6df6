"""A catalogue in Milvus (Lite): what is refused, and what is left after a kill; the rest is in test_backends.py."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_lite.server_manager import server_manager_instance

from mtrb.errors import ArtefactError, InputError, UnavailableError
from mtrb.types import Tool, Toolset
from qta import milvus, shared
from qta.encoder import Encoder
from qta.engine import Engine
from qta.location import Location
from qta.milvus import now_us
from qta.shared import SharedCatalogue, index_in_milvus
from tests.conftest import ROOT

NEW = Tool("ski/stop_lift", "stop_lift", "Stop the lift of the ski resort.", {}, (), "ski")
FIRST = [
    Tool("zoo/feed_animals", "feed_animals", "Feed the animals of the zoo.", {}, (), "zoo"),
    Tool("zoo/buy_ticket", "buy_ticket", "Buy a ticket for the zoo.", {}, (), "zoo"),
]


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location.of(str(tmp_path / "tools.db"))


def test_a_milvus_that_is_gone_leaves_the_tools_as_they_were(
    location: Location, tmp_path: Path, encoder: Encoder
) -> None:
    index_in_milvus(Toolset(FIRST), location, tmp_path, encoder)
    catalogue = SharedCatalogue(location, tmp_path, encoder)
    engine = Engine(catalogue, encoder)
    assert engine.retrieve("feed the animals", 1).degraded == []
    server_manager_instance.release_server(location.uri)
    answer = engine.retrieve("feed the animals", 1)
    assert [tool.tool_id for tool in answer.tools] == ["zoo/feed_animals"]
    assert [entry["reason"] for entry in answer.degraded] == ["index_outdated"]
    assert catalogue.trouble is not None
    for write in (lambda: catalogue.put([NEW]), lambda: catalogue.remove(["zoo/buy_ticket"])):
        with pytest.raises(UnavailableError, match=r"tools\.db \(qta_tools\): Milvus did not answer"):
            write()
    assert catalogue.now.living == ["zoo/buy_ticket", "zoo/feed_animals"]
    catalogue.close()


def test_milvus_says_what_is_wrong(location: Location, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9 \(qta_tools\)"):
        SharedCatalogue(Location.of("http://127.0.0.1:9"), tmp_path, encoder)
    with pytest.raises(ArtefactError, match="no catalogue; make one"):
        SharedCatalogue(location, tmp_path, encoder)
    with pytest.raises(InputError, match="no tool"):
        index_in_milvus(Toolset([]), location, tmp_path, encoder)
    noise = np.random.default_rng(0).bytes(100_000).hex()
    huge = Toolset([NEW, Tool("shop/huge", "huge", noise)])
    with pytest.raises(InputError, match=r"shop/huge: the definition has [\d,]+ bytes packed, Milvus takes 65,535"):
        index_in_milvus(huge, location, tmp_path, encoder)
    assert not list(tmp_path.glob("*.json")), "no folder says that there is something"


def test_milvus_refuses_vectors_of_another_encoder(
    location: Location, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_in_milvus(Toolset(FIRST), location, tmp_path, encoder)
    monkeypatch.setattr(Encoder, "identity", "another@1")
    for attempt in (
        lambda: SharedCatalogue(location, tmp_path, encoder),
        lambda: index_in_milvus(Toolset(FIRST), location, tmp_path, encoder),
    ):
        with pytest.raises(ArtefactError, match=r"another@1.*drop the collection"):
            attempt()


def test_writes_that_take_long_are_seen_by_others(
    location: Location, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_in_milvus(Toolset(FIRST), location, tmp_path, encoder)
    clock = [now_us()]
    for module in (milvus, shared):
        monkeypatch.setattr(module, "now_us", lambda: clock[0])
    monkeypatch.setattr(shared, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(milvus, "_BATCH", 1)
    one, other = (SharedCatalogue(location, tmp_path, encoder) for _ in range(2))
    store: Any = one._store
    plain = store._client.upsert

    def slow(*arguments: Any, **options: Any) -> None:
        clock[0] += 20_000_000
        assert other.now.living, "it looks while the write is under way"
        plain(*arguments, **options)

    monkeypatch.setattr(store._client, "upsert", slow)
    many = [Tool(f"ski/lift_{n}", f"lift_{n}", f"Stop lift number {n}.", {}, (), "ski") for n in range(3)]
    one.put(many)
    assert other.now.living == sorted(tool.tool_id for tool in [*FIRST, *many])
    one.remove([tool.tool_id for tool in many])
    assert other.now.living == sorted(tool.tool_id for tool in FIRST)
    for catalogue in (one, other):
        catalogue.close()


_KILLED = """
import os, signal, sys
from pathlib import Path
from mtrb.types import Tool
from qta.encoder import Encoder
from qta.catalogue import open_catalogue

catalogue = open_catalogue(Path(sys.argv[1]), Encoder())
catalogue.put([Tool("ski/stop_lift", "stop_lift", "Stop the lift.", {}, (), "ski")])
catalogue.remove(["zoo/buy_ticket"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_milvus_lite_acknowledged_survives_a_kill(location: Location, tmp_path: Path, encoder: Encoder) -> None:
    index_in_milvus(Toolset(FIRST), location, tmp_path, encoder)
    server_manager_instance.release_server(location.uri)
    done = subprocess.run([sys.executable, "-c", _KILLED, tmp_path], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    catalogue = SharedCatalogue(location, tmp_path, encoder)
    assert catalogue.now.living == ["ski/stop_lift", "zoo/feed_animals"]
    catalogue.close()
