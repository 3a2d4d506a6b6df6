"""A catalogue that changes: what is put is found, what is removed is gone, and nothing acknowledged is lost."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrb.errors import ArtefactError, InputError
from mtrb.types import Query, Tool, Toolset
from qta import changes
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import MANIFEST, build_in_memory, build_index, load_index
from qta.live import LiveCatalogue, Written
from tests.conftest import ROOT


def tool(n: int, text: str = "Does a thing") -> Tool:
    return Tool(f"s/t{n}", f"thing_{n}", f"{text} number {n}.", {"type": "object", "properties": {}}, ("x",), "s")


FIRST = [tool(n) for n in range(20)]


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    build_index(Toolset(FIRST), tmp_path / "index", encoder)
    return tmp_path / "index"


def ask(catalogue: LiveCatalogue, encoder: Encoder, text: str, k: int = 3) -> list[str]:
    now = catalogue.now
    retriever = HybridRetriever(now, encoder)
    return [scored.tool_id for scored in retriever.rank(retriever.reader.read(text), k, now.alive)]


NEW = Tool("zoo/feed", "feed_animals", "Feed the animals of the zoo.", {}, (), "zoo")


def test_what_is_put_is_found_and_what_is_removed_is_gone(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    assert catalogue.put([NEW]) == Written(added=1)
    assert ask(catalogue, encoder, "give food to the tigers")[0] == "zoo/feed"
    assert catalogue.now.tool("zoo/feed") == NEW
    changed = Tool("zoo/feed", "feed_animals", "Stop the lift of the ski resort.", {}, (), "zoo")
    assert catalogue.put([changed, tool(3)]) == Written(changed=1, unchanged=1)
    assert ask(catalogue, encoder, "halt the ski lift")[0] == "zoo/feed"
    assert catalogue.now.tool("zoo/feed") == changed
    assert catalogue.remove(["zoo/feed", "s/t3", "s/nothing", "s/t3"]) == Written(removed=2)
    assert {"zoo/feed", "s/t3"}.isdisjoint(ask(catalogue, encoder, "thing_3 ski lift", 50))
    with pytest.raises(KeyError):
        catalogue.now.tool("s/t3")
    assert catalogue.put([tool(3)]) == Written(added=1)
    assert ask(catalogue, encoder, "thing_3")[0] == "s/t3"


def test_a_write_goes_by_what_others_wrote_also_while_the_index_cannot_be_read(folder: Path, encoder: Encoder) -> None:
    one, other = LiveCatalogue(folder, encoder), LiveCatalogue(folder, encoder)
    (folder / MANIFEST).write_text("{")
    for catalogue in (one, other):
        assert catalogue.now.living
        assert catalogue.trouble is not None
    assert one.put([tool(3, "Paints a fence"), NEW]) == Written(added=1, changed=1)
    assert other.put([tool(3)]) == Written(changed=1), "it is not what this one last saw"
    assert one.put([tool(3)]) == Written(unchanged=1)
    assert other.remove([NEW.tool_id]) == Written(removed=1)


def test_a_name_is_found_the_same_before_and_after_a_merge(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    names = ["GET /thing/{thing_id}", "send_thing", "GET /thing/{thing_id}/parts", "send_thing"]
    tools = [Tool(f"s/n{n}", name, "", {}, (), "s") for n, name in enumerate(names)]
    catalogue.put(tools[:2])
    catalogue.merge()
    catalogue.put(tools[2:])
    texts = ["call GET /thing/{thing_id}/parts", "use send_thing", "use GET /thing/{thing_id} and send_thing"]

    def named() -> list[list[list[str]]]:
        now = catalogue.now
        found = [now.finder.find(text, now.alive) for text in texts]
        return [[sorted(now.ids[at] for at in group) for group in groups] for groups in found]

    before = named()
    assert before == [[["s/n2"]], [["s/n1", "s/n3"]], [["s/n0"], ["s/n1", "s/n3"]]]
    catalogue.merge()
    assert named() == before


def test_only_changed_texts_are_embedded(folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    asked: list[str] = []
    plain = encoder.encode_one
    monkeypatch.setattr(encoder, "encode_one", lambda text: (asked.append(text), plain(text))[1])
    other_schema = Tool("s/t4", "thing_4", "Does a thing number 4.", {"type": "object"}, ("y",), "s")
    assert catalogue.put([tool(1), other_schema, tool(2, "Undoes a thing")]) == Written(changed=2, unchanged=1)
    assert asked == ["thing 2: Undoes a thing number 2."]
    np.testing.assert_array_equal(
        catalogue.now.dense.vector(catalogue.now.position("s/t4") or 0), load_index(folder, encoder).dense.vector(4)
    )


def test_two_tools_of_one_id_are_refused(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    with pytest.raises(InputError, match="occurs twice"):
        catalogue.put([NEW, NEW])
    assert catalogue.put([]) == Written()
    assert catalogue.remove([]) == Written()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["put", "change", "remove", "merge", "reopen"])), max_size=12
    )
)
def test_it_answers_as_an_index_built_anew(
    tmp_path_factory: pytest.TempPathFactory, encoder: Encoder, actions: list[tuple[int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("live") / "index"
    build_index(Toolset(FIRST), folder, encoder)
    catalogue, expected = LiveCatalogue(folder, encoder), {one.tool_id: one for one in FIRST}
    for n, action in actions:
        if action == "remove":
            catalogue.remove([f"s/t{n}"])
            expected.pop(f"s/t{n}", None)
        elif action == "merge":
            catalogue.merge()
        elif action == "reopen":
            catalogue = LiveCatalogue(folder, encoder)
        else:
            catalogue.put([tool(n, "Changes a thing" if action == "change" else "Does a thing")])
            expected[f"s/t{n}"] = tool(n, "Changes a thing" if action == "change" else "Does a thing")
    now = catalogue.now
    assert {now.ids[at]: now.tools[int(at)] for at in np.flatnonzero(now.alive)} == expected
    if expected:
        fresh = HybridRetriever(build_in_memory(Toolset(expected.values()), encoder), encoder)
        for text in ("changes a thing number 7", "thing_12", "does it"):
            found = ask(catalogue, encoder, text, 5)
            wanted = [scored.tool_id for scored in fresh.retrieve([Query("q", text)], 5)["q"]]
            assert found[0] == wanted[0] or set(found) & set(wanted)


def test_scores_are_those_of_a_built_index(encoder: Encoder, folder: Path) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.put([tool(n) for n in range(20, 40)])
    now = catalogue.now
    built = build_in_memory(Toolset([*FIRST, *(tool(n) for n in range(20, 40))]), encoder)
    rare, common = now.lexical.scores(["23"]), now.lexical.scores(["thing"])
    assert rare.argmax() == built.lexical.scores(["23"]).argmax() == 23
    assert common.std() < 0.05
    vector = encoder.encode_one("does a thing number 33").vector
    positions, cosines = now.dense.search(vector, 10)
    expected, exact = built.dense.search(vector, 10)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(cosines, exact, atol=2e-3)


def test_all_tools_can_be_removed(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    catalogue.remove([one.tool_id for one in FIRST])
    assert ask(catalogue, encoder, "thing_1") == []
    assert not catalogue.merge()
    catalogue.put([NEW])
    assert ask(LiveCatalogue(folder, encoder), encoder, "anything at all") == ["zoo/feed"]


def test_other_processes_see_a_change(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder)
    code = (
        "import sys; from pathlib import Path\n"
        "from mtrb.types import Tool; from qta.encoder import Encoder; from qta.live import LiveCatalogue\n"
        "catalogue = LiveCatalogue(Path(sys.argv[1]), Encoder())\n"
        "catalogue.put([Tool('zoo/feed', 'feed_animals', 'Feed the animals of the zoo.', {}, (), 'zoo')])\n"
        "if sys.argv[2] == 'merge': catalogue.merge()\n"
    )
    for how in ("put", "merge"):
        catalogue.remove(["zoo/feed"])
        subprocess.run([sys.executable, "-c", code, str(folder), how], check=True, cwd=ROOT)
        assert ask(catalogue, encoder, "give food to the tigers")[0] == "zoo/feed"


def test_readers_are_answered_while_others_write_and_merge(folder: Path, encoder: Encoder) -> None:
    catalogue = LiveCatalogue(folder, encoder, merge_at=4)
    errors: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert len(ask(catalogue, encoder, "thing_1", 5)) == 5
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(200, 220):
        catalogue.put([tool(n)])
        catalogue.remove([f"s/t{n - 3}"])
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []


def test_indexing_anew_replaces_the_changes(folder: Path, encoder: Encoder) -> None:
    LiveCatalogue(folder, encoder).put([NEW])
    build_index(Toolset(FIRST[:5]), folder, encoder)
    catalogue = LiveCatalogue(folder, encoder)
    assert int(catalogue.now.alive.sum()) == 5
    assert catalogue.now.position("zoo/feed") is None


def test_a_damaged_log_is_refused(folder: Path, encoder: Encoder) -> None:
    LiveCatalogue(folder, encoder).put([NEW])
    for path in folder.glob("changes.db*"):
        path.write_bytes(b"garbage" * 1000)
    with pytest.raises(ArtefactError, match=r"changes\.db"):
        LiveCatalogue(folder, encoder)


def test_a_lock_that_is_not_released_changes_nothing(
    folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_WAIT", 0.1)
    catalogue = LiveCatalogue(folder, encoder)
    blocker = sqlite3.connect(folder / "changes.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(ArtefactError, match="database is locked; nothing was changed"):
        catalogue.put([NEW])
    assert catalogue.now.position("zoo/feed") is None
    blocker.execute("ROLLBACK")
    assert catalogue.put([NEW]) == Written(added=1)


WRITER = """
import sys
from pathlib import Path
from mtrb.types import Tool
from qta.encoder import Encoder
from qta.live import LiveCatalogue
catalogue = LiveCatalogue(Path(sys.argv[1]), Encoder(), merge_at=25)
for n in range(int(sys.argv[2]), 1000):
    text = f"Does a thing number {n}."
    catalogue.put([Tool(f"new/a{n}", f"a_{n}", text, {}, (), "new"), Tool(f"new/b{n}", f"b_{n}", text, {}, (), "new")])
    print(n, flush=True)
"""


def test_a_kill_loses_nothing_that_was_acknowledged(folder: Path, encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    acknowledged = -1
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(folder), str(acknowledged + 1)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            time.sleep(rng.random() * 0.5)
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        now = LiveCatalogue(folder, encoder).now
        alive = {now.ids[int(at)] for at in np.flatnonzero(now.alive)}
        assert {f"new/{kind}{n}" for n in range(acknowledged + 1) for kind in "ab"} <= alive
        assert all((f"new/a{n}" in alive) == (f"new/b{n}" in alive) for n in range(1000)), "half a change"
