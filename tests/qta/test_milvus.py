"""A catalogue in Milvus (Lite): what is refused, and what is left after a kill; the rest is in test_backends.py."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.server_manager import server_manager_instance

from mtrb.errors import ArtefactError, InputError, StorageError
from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.engine import Engine
from qta.shared import SharedCatalogue
from tests.conftest import ROOT

NEW = Tool("ski/stop_lift", "stop_lift", "Stop the lift of the ski resort.", {}, (), "ski")
FIRST = [
    Tool("zoo/feed_animals", "feed_animals", "Feed the animals of the zoo.", {}, (), "zoo"),
    Tool("zoo/buy_ticket", "buy_ticket", "Buy a ticket for the zoo.", {}, (), "zoo"),
]


def test_a_milvus_server_that_is_gone_is_said_at_every_turn(tmp_path: Path, encoder: Encoder) -> None:
    uri = str(tmp_path / "tools.db")
    catalogue = SharedCatalogue.create(uri, Toolset(FIRST), encoder)
    engine = Engine(catalogue, encoder)
    server_manager_instance.release_server(uri)
    for attempt in (
        lambda: engine.retrieve("feed the animals"),
        lambda: catalogue.put([NEW]),
        lambda: catalogue.remove(["zoo/buy_ticket"]),
    ):
        with pytest.raises(StorageError, match=r"tools\.db \(qta_tools\): Milvus did not answer"):
            attempt()


def test_milvus_says_what_is_wrong(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9 \(qta_tools\)"):
        SharedCatalogue("http://me:secret@127.0.0.1:9", encoder)
    uri = str(tmp_path / "tools.db")
    with pytest.raises(ArtefactError, match="no catalogue; make one"):
        SharedCatalogue(uri, encoder)
    with pytest.raises(InputError, match="no tool"):
        SharedCatalogue.create(uri, Toolset([]), encoder)
    noise = np.random.default_rng(0).bytes(100_000).hex()
    with pytest.raises(InputError, match=r"shop/huge: the definition has [\d,]+ bytes packed, Milvus takes 65,535"):
        SharedCatalogue.create(uri, Toolset([NEW, Tool("shop/huge", "huge", noise)]), encoder)
    SharedCatalogue.create(uri, Toolset(FIRST), encoder).close()
    with pytest.raises(InputError, match="there is a collection of that name"):
        SharedCatalogue.create(uri, Toolset(FIRST), encoder)


def test_milvus_refuses_vectors_of_another_encoder(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "tools.db")
    SharedCatalogue.create(uri, Toolset(FIRST), encoder).close()
    monkeypatch.setattr(Encoder, "identity", "another@1")
    with pytest.raises(ArtefactError, match="another@1"):
        SharedCatalogue(uri, encoder)


_KILLED = """
import os, signal, sys
from mtrb.types import Tool
from qta.encoder import Encoder
from qta.shared import SharedCatalogue

catalogue = SharedCatalogue(sys.argv[1], Encoder())
catalogue.put([Tool("ski/stop_lift", "stop_lift", "Stop the lift.", {}, (), "ski")])
catalogue.remove(["zoo/buy_ticket"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_milvus_lite_acknowledged_survives_a_kill(tmp_path: Path, encoder: Encoder) -> None:
    uri = str(tmp_path / "tools.db")
    SharedCatalogue.create(uri, Toolset(FIRST), encoder).close()
    server_manager_instance.release_server(uri)
    done = subprocess.run([sys.executable, "-c", _KILLED, uri], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    catalogue = SharedCatalogue(uri, encoder)
    assert catalogue.now.living == ["ski/stop_lift", "zoo/feed_animals"]
    catalogue.close()
