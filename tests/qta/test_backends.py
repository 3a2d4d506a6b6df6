"""Every back end of storage and search holds to the same: the folder, and Milvus (Milvus Lite in this process)."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.server_manager import server_manager_instance
from pymilvus import MilvusClient

from mtrb.errors import ArtefactError, InputError, QTAError
from mtrb.types import Tool, Toolset
from qta import shared
from qta.catalogue import Catalogue
from qta.embeddings import embedded_text
from qta.encoder import Encoder
from qta.engine import Engine, Request
from qta.index import build_index
from qta.lesson import Lesson
from qta.live import LiveCatalogue, Written
from qta.location import COLLECTION, Location
from qta.selection import Filter
from qta.shared import SharedCatalogue, index_in_milvus


def tool(name: str, description: str, source: str = "shop") -> Tool:
    parameters = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    return Tool(f"{source}/{name}", name, description, parameters, ("x",), source)


FIRST = [
    tool("request_refund", "Ask for the money back for goods that never arrived."),
    tool("cancel_order", "Cancel an order that has not been sent yet."),
    tool("track_parcel", "Tell where a parcel is."),
    tool("feed_animals", "Feed the animals of the zoo.", "zoo"),
    tool("buy_ticket", "Buy a ticket for the zoo.", "zoo"),
    tool("send_mail", "Send a letter by electronic mail.", "@team-a/mail"),
    tool("wetter", "Wettervorhersage für morgen, 天気予報", "world"),
]
NEW = tool("stop_lift", "Stop the lift of the ski resort.", "ski")


@dataclass
class Backend:
    """How a store is opened, what lets go of it in this process, and how it is taken away."""

    open: Callable[[], Catalogue]
    release: Callable[[], None]
    destroy: Callable[[], None]


def _embedded(path: Path, encoder: Encoder) -> Backend:
    build_index(Toolset(FIRST), path / "index", encoder)
    folder = path / "index"
    return Backend(lambda: LiveCatalogue(folder, encoder, merge_at=4), lambda: None, lambda: shutil.rmtree(folder))


def _milvus(path: Path, encoder: Encoder) -> Backend:
    uri = str(path / "tools.db")
    location = Location.of(uri)
    index_in_milvus(Toolset(FIRST), location, path / "index", encoder)
    return Backend(
        lambda: SharedCatalogue(location, path / "index", encoder, merge_at=4),
        lambda: server_manager_instance.release_server(uri),  # the file is this process's until then
        lambda: MilvusClient(uri).drop_collection(COLLECTION),
    )


@pytest.fixture(params=[_embedded, _milvus], ids=["embedded", "milvus"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, encoder: Encoder) -> Iterator[Backend]:
    made = request.param(tmp_path, encoder)
    opened: list[Catalogue] = []

    def open_() -> Catalogue:
        opened.append(plain())
        return opened[-1]

    plain, made.open = made.open, open_
    yield made
    for catalogue in opened:
        catalogue.settle()
        if isinstance(catalogue, SharedCatalogue):
            catalogue.close()
    made.release()


def ids(catalogue: Catalogue) -> list[str]:
    return catalogue.now.living


def search(catalogue: Catalogue, encoder: Encoder, text: str, n: int = 3, **allowed: np.ndarray) -> list[str]:
    now = catalogue.now
    mask = allowed.get("allowed", now.alive)
    return [now.ids[at] for at in now.dense.search(encoder.encode_one(text).vector, n, mask)[0]]


def test_what_is_stored_comes_back_whole(backend: Backend) -> None:
    now = backend.open().now
    assert now.living == sorted(one.tool_id for one in FIRST)
    assert [now.tool(one.tool_id) for one in FIRST] == FIRST
    with pytest.raises(KeyError):
        now.tool("shop/nothing")


def test_put_replace_and_remove_are_searchable_at_once(backend: Backend, encoder: Encoder) -> None:
    catalogue = backend.open()
    assert catalogue.put([NEW]) == Written(added=1)
    assert search(catalogue, encoder, "halt the ski lift")[0] == "ski/stop_lift"
    changed = tool("stop_lift", "Water the flowers in the garden.", "ski")
    assert catalogue.put([changed, FIRST[0]]) == Written(changed=1, unchanged=1)
    assert catalogue.now.tool("ski/stop_lift") == changed
    assert search(catalogue, encoder, "give the plants water")[0] == "ski/stop_lift"
    assert catalogue.remove(["ski/stop_lift", "zoo/feed_animals", "no/such", "ski/stop_lift"]) == Written(removed=2)
    assert {"ski/stop_lift", "zoo/feed_animals"}.isdisjoint(search(catalogue, encoder, "feed the lift", 20))
    assert {"ski/stop_lift", "zoo/feed_animals"}.isdisjoint(ids(catalogue))
    assert catalogue.put([FIRST[3]]) == Written(added=1)
    assert search(catalogue, encoder, "feed the animals")[0] == "zoo/feed_animals"


def test_words_and_names_follow_the_changes(backend: Backend, encoder: Encoder) -> None:
    catalogue = backend.open()
    engine = Engine(catalogue, encoder)
    assert engine.about["tools"] == len(FIRST)
    catalogue.put([tool("xq_17", "Quetzalcoatlus inventory.", "museum")])
    assert engine.retrieve("quetzalcoatlus", 1).tools[0].tool_id == "museum/xq_17"
    assert engine.retrieve("call xq_17 with order 5", 1).tools[0].tool_id == "museum/xq_17"
    catalogue.remove(["museum/xq_17"])
    assert "museum/xq_17" not in [found.tool_id for found in engine.retrieve("call xq_17", 50).tools]


def test_changes_survive_reopening_also_after_a_merge(backend: Backend, encoder: Encoder) -> None:
    catalogue = backend.open()
    many = [tool(f"t{n}", f"Does thing number {n}.", "many") for n in range(6)]  # more than are merged at once
    for one in many:
        catalogue.put([one])
    catalogue.remove(["shop/cancel_order", "many/t3"])
    catalogue.settle()
    expected = sorted({one.tool_id for one in [*FIRST, *many]} - {"shop/cancel_order", "many/t3"})
    assert ids(catalogue) == expected
    backend.release()
    again = backend.open()
    assert ids(again) == expected
    assert again.now.tool("many/t5") == many[5]
    assert search(again, encoder, "t5: Does thing number 5")[0] == "many/t5"
    assert "many/t3" not in search(again, encoder, "t3: Does thing number 3", 20)


def test_all_tools_may_go_and_come_back(backend: Backend, encoder: Encoder) -> None:
    catalogue = backend.open()
    catalogue.remove([one.tool_id for one in FIRST])
    catalogue.settle()
    backend.release()
    catalogue = backend.open()
    for opened in (catalogue, backend.open()):
        assert ids(opened) == []
        assert search(opened, encoder, "feed the animals") == []
        assert Engine(opened, encoder).answer(Request("feed the animals")).tools == []
    catalogue.put([NEW])
    assert search(catalogue, encoder, "anything") == ["ski/stop_lift"]


def test_two_readers_see_each_others_changes_within_a_second(backend: Backend, encoder: Encoder) -> None:
    one, other = backend.open(), backend.open()
    assert ids(one) == ids(other)
    one.put([NEW])
    changed = tool("track_parcel", "Paint the fence green.")
    other.put([changed])
    one.remove(["zoo/buy_ticket"])
    time.sleep(1)
    expected = sorted({found.tool_id for found in [*FIRST, NEW]} - {"zoo/buy_ticket"})
    for reader in (one, other):
        assert ids(reader) == expected
        assert reader.now.tool("shop/track_parcel") == changed
        assert search(reader, encoder, "halt the ski lift")[0] == "ski/stop_lift"
        assert search(reader, encoder, "paint a fence")[0] == "shop/track_parcel"


def test_a_write_goes_by_what_others_wrote_a_moment_before(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LOOK_EVERY", 60.0)
    one, other = backend.open(), backend.open()
    changed = tool("track_parcel", "Paint the fence green.")
    assert one.put([changed, NEW]) == Written(added=1, changed=1)
    assert other.put([FIRST[2]]) == Written(changed=1), "it is not what this one last saw"
    assert other.remove([NEW.tool_id]) == Written(removed=1)
    again = backend.open().now
    assert again.tool("shop/track_parcel") == FIRST[2]
    assert NEW.tool_id not in again.living


def test_a_view_stays_as_it_is_until_something_changes(backend: Backend) -> None:
    catalogue = backend.open()
    before = catalogue.now
    time.sleep(0.6)
    assert catalogue.now is before
    catalogue.put([NEW])
    assert catalogue.now is not before
    assert "ski/stop_lift" not in before.living
    assert catalogue.now.revision > before.revision


def test_filters_hold_before_ranking(backend: Backend, encoder: Encoder) -> None:
    engine = Engine(backend.open(), encoder)

    def found(text: str, **asked: object) -> set[str]:
        return {one.tool_id for one in engine.answer(Request(text, 50, **asked)).tools}  # type: ignore[arg-type]

    assert found("send a letter", granted=frozenset([""])) == {
        one.tool_id for one in FIRST if not one.tool_id.startswith("@")
    }
    assert found("send a letter", granted=frozenset(["team-a"])) == {"@team-a/mail/send_mail"}
    assert found("send a letter", granted=frozenset(["team-b"])) == set()
    assert found("anything", wanted=Filter(namespaces=("team-a",))) == {"@team-a/mail/send_mail"}
    assert found("anything", wanted=Filter(sources=("zoo",))) == {"zoo/feed_animals", "zoo/buy_ticket"}
    assert found("anything", wanted=Filter(include=("zoo/buy_ticket",))) == {"zoo/buy_ticket"}


def test_the_ranking_is_that_of_brute_force(
    backend: Backend, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_FEW", 3)  # so that both ways of filtering are gone
    catalogue = backend.open()
    things = ("order", "parcel", "animal", "ticket", "letter", "lift", "garden", "fence", "movie", "flight")
    deeds = ("find", "send", "cancel", "count", "paint", "sell", "repair")
    catalogue.put([tool(f"{deed}_{thing}", f"{deed} the {thing}", "all") for thing in things for deed in deeds])
    catalogue.remove(["all/paint_fence", "shop/cancel_order"])
    catalogue.settle()
    now = catalogue.now
    living = [now.tool(tool_id) for tool_id in now.living]
    vectors = encoder.encode([embedded_text(one) for one in living])
    for text in ("sell a ticket", "repair the garden fence", "where is my parcel", "ein Brief"):
        vector = encoder.encode_one(text).vector
        cosines = dict(zip(now.living, (vectors @ vector).tolist(), strict=True))
        positions, scores = now.dense.search(vector, 10, now.alive)
        best = sorted(cosines.values(), reverse=True)[:10]
        np.testing.assert_allclose(scores, best, atol=1e-3)  # vectors are held in half precision
        np.testing.assert_allclose([cosines[now.ids[at]] for at in positions], best, atol=1e-3)
        for kept in (2, 20):
            mask = np.zeros(len(now.ids), np.bool_)
            mask[[now.position(tool_id) for tool_id in now.living[:kept]]] = True
            positions, scores = now.dense.search(vector, 5, mask)
            best = sorted([cosines[tool_id] for tool_id in now.living[:kept]], reverse=True)[:5]
            np.testing.assert_allclose(scores, best, atol=1e-3)
            assert {now.ids[at] for at in positions} <= set(now.living[:kept])


def test_bad_input_changes_nothing(backend: Backend) -> None:
    catalogue = backend.open()
    with pytest.raises(InputError, match="shop/request_refund"):
        catalogue.put([NEW, FIRST[0], FIRST[0]])
    assert ids(catalogue) == sorted(one.tool_id for one in FIRST)
    assert catalogue.put([]) == catalogue.remove([]) == Written()


def test_a_store_that_is_gone_is_an_error(backend: Backend) -> None:
    catalogue = backend.open()
    backend.destroy()
    with pytest.raises((QTAError, OSError)):
        catalogue.put([NEW])
    with pytest.raises(ArtefactError):
        backend.open()


def test_a_lesson_follows_a_changing_catalogue_and_shows_nobody_more(backend: Backend, encoder: Encoder) -> None:
    asked, theirs = "who has eaten my sandwich", "@team-a/mail/send_mail"
    taught = ["zoo/buy_ticket", theirs]
    lesson = Lesson(
        requests=dict.fromkeys(taught, encoder.encode_one(asked).vector),
        prior={theirs: 9.0},
        partners={"zoo/buy_ticket": (theirs, "world/wetter")},
    )
    catalogue = backend.open()
    engine = Engine(catalogue, encoder, lesson=lesson)

    def found(*namespaces: str) -> dict[str, dict[str, object]]:
        answer = engine.answer(Request(asked, 20, granted=frozenset({"", *namespaces}), explain=True)).to_json()
        return {one["tool_id"]: one["why"] for one in answer["tools"]}

    assert next(iter(found("team-a"))) == theirs
    others = found()
    assert next(iter(others)) == "zoo/buy_ticket"
    assert others["world/wetter"]["used_with"] == "zoo/buy_ticket"
    assert theirs not in str(others)
    catalogue.put([NEW, tool("buy_ticket", "Buy a season ticket.", "zoo")])
    catalogue.remove(["shop/request_refund", theirs])
    assert "examples" in found()["zoo/buy_ticket"]
    assert [one for one, why in found("team-a").items() if "examples" in why] == ["zoo/buy_ticket"]
