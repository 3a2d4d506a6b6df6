"""What examples teach beside a rewriter: served as it is evaluated, without torch, and never beyond what a caller sees."""

import json
import math
import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtrb.errors import ArtefactError
from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.asking import Request
from qta.dense import TaughtDense
from qta.encoder import Encoder
from qta.engine import Engine
from qta.examples import Examples
from qta.feedback import WEIGHT, FeedbackStore, tenant_of
from qta.index import build_index
from qta.lesson import UNTAUGHT, Lesson
from qta.live import LiveCatalogue
from qta.rewriting import RewriterChoice
from qta.rewriting.manifest import MANIFEST, RewriterManifest, building, current_build
from qta.selection import Filter
from qta.taught import rewriting
from qta.training.run import train_dpo
from qta.workbench import Workbench
from tests.aligning import settings
from tests.conftest import ROOT, Finished, serving

# No request tells of the second tool, nor of the one that every request needs.
TOGETHER = {
    "archive an invoice": ("invoice/archive", "odd/ping"),
    "crop a photo": ("photo/crop", "odd/gong"),
    "play a song": ("song/play", "odd/lamp"),
    "book a taxi": ("taxi/book", "odd/boot"),
}
ALONE = {"mow the lawn": "lawn/mow", "paint a fence": "fence/paint", "feed the cat": "cat/feed"}
LEDGER = "ledger/write"
TOOLS = Toolset(
    [
        *(Tool(first, "_".join(text.split()[::2]), f"{text}.") for text, (first, _) in TOGETHER.items()),
        *(Tool(one, "_".join(text.split()[::2]), f"{text}.") for text, one in ALONE.items()),
        *(Tool(other, other[4:], "Wake the janitor.") for _, other in TOGETHER.values()),
        Tool(LEDGER, "write_line", "Keep the books."),
        *(Tool(f"thing/{n}", f"thing_{n}", f"Does a thing of number {n} to something.") for n in range(24)),
    ]
)
ASKED = {
    **{f"{text} of {month}": [*pair, LEDGER] for text, pair in TOGETHER.items() for month in ("May", "June", "July")},
    **{text: [one, LEDGER] for text, one in ALONE.items()},
}
UNSEEN = ["archive an invoice of August", "feed the cat. Then book a taxi for two", "do a thing of number 7"]


def annotated(asked: dict[str, list[str]] = ASKED) -> Benchmark:
    queries = tuple(Query(f"q{n}", text) for n, text in enumerate(asked))
    return Benchmark(
        "own", "train", TOOLS, queries, {query.query_id: dict.fromkeys(asked[query.text], 1) for query in queries}
    )


@pytest.fixture
def own(tmp_path: Path) -> tuple[object, ...]:
    """Write the catalogue and its requests, and return the options that name them."""
    rows = [{"id": f"q{n}", "query": text, "tools": golden} for n, (text, golden) in enumerate(ASKED.items())]
    (tmp_path / "tools.jsonl").write_text("\n".join(json.dumps(tool.to_json()) for tool in TOOLS))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "--tools", tmp_path / "tools.jsonl", "--queries", tmp_path / "queries.jsonl"


def engine(tmp_path: Path, encoder: Encoder, lesson: Lesson, tools: Toolset = TOOLS) -> Engine:
    build_index(tools, tmp_path / "index", encoder)
    return Engine(LiveCatalogue(tmp_path / "index", encoder), encoder, lesson=lesson)


def reasons(answer: Any) -> dict[str, dict[str, Any]]:
    return {tool["tool_id"]: tool["why"] for tool in answer["tools"]}


def test_an_alignment_is_served_as_it_is_evaluated(base: str, tmp_path: Path, encoder: Encoder) -> None:
    few = settings(base, rounds=1, pairs={"margin": 0.0})
    outcome = train_dpo(annotated(), few, tmp_path / "out", encoder, lambda _: None)
    assert outcome.lesson
    assert outcome.lesson.prior
    assert outcome.lesson.requests["odd/ping"].any()
    bench = Workbench(TOOLS, encoder, rewriters=tmp_path / "rewriters")
    shutil.copytree(outcome.build, tmp_path / "rewriters" / "qta" / "own" / "train" / "seed-0" / outcome.build.name)
    [evaluated] = rewriting(bench, Examples.of(annotated(), TOOLS))
    build_index(TOOLS, tmp_path / "index", encoder)
    served = Engine.open(tmp_path / "index", RewriterChoice(str(outcome.build)))
    for text in [*ASKED, *UNSEEN]:
        expected = [one.tool_id for one in evaluated.retrieve([Query("q", text)], 10)["q"]]
        answer = served.retrieve(text, 10, "always" if outcome.verdict.accepted else "off")
        assert [tool.tool_id for tool in answer.tools] == expected
    manifest = RewriterManifest.read(outcome.build)
    assert {name: manifest.chosen[name] for name in ("prior", "partners")} == {
        name: evaluated.chosen[name] for name in ("prior", "partners")
    }


def test_from_the_command_line_to_an_answer(
    own: tuple[object, ...], qta: Callable[..., Finished], tmp_path: Path
) -> None:
    (tmp_path / "absent").mkdir()
    for name in ("torch", "transformers", "trl", "peft", "datasets", "sentence_transformers", "matplotlib"):
        (tmp_path / "absent" / f"{name}.py").write_text("raise ModuleNotFoundError(__name__)")
    without = {"PYTHONPATH": f"{tmp_path / 'absent'}:{ROOT}"}
    done = qta("train", "examples", *own, "--out", "learnt", environment=without)
    assert done.status == 0, done.err
    assert f"{len(ASKED)} examples: " in done.out
    assert qta("index", tmp_path / "tools.jsonl", "--out", "index").status == 0
    with serving(tmp_path / "index", "--workers", "1", "--rewriter", str(tmp_path / "learnt")) as server:
        asked = {"query": UNSEEN[0], "k": 5, "explain": True}
        answer = server.ask("/retrieve", asked).json
        why = reasons(answer)
        assert why["odd/ping"]["examples"] > 0.2  # nothing that it says of itself tells of invoices
        assert why[LEDGER]["prior"] > 0
        assert answer["degraded"] == []
        always = server.ask("/retrieve", {**asked, "rewrite": "always"}).json
        assert [one["reason"] for one in always["degraded"]] == ["no_rewriter"]
        assert reasons(always) == why
    refused = qta("rewrite", UNSEEN[0], "--index", "index", "--rewriter", "learnt")
    assert (refused.status, "made it, without a rewriter" in refused.err) == (2, True)


def test_it_is_installed_restored_and_evaluated_as_a_rewriter_is(
    own: tuple[object, ...], cli: Callable[..., Finished], tmp_path: Path
) -> None:
    out = tmp_path / "learnt"
    assert cli("train", "examples", *own, "--out", out).status == 0
    first = current_build(out)
    few = cli("train", "examples", *own, "--examples", 3, "--out", out)
    assert "fewer than four examples" in few.out
    lesson = RewriterManifest.read(current_build(out)).taught
    assert lesson.prior["invoice/archive"] == pytest.approx(0.05 * math.log(4))
    assert lesson.partners == {}
    assert cli("train", "restore", out).status == 0
    assert current_build(out) == first
    systems = ("--system", "clauses", "--system", f"rewritten:{out}")
    assert cli("eval", *own, *systems, "--k", 3, "--json", tmp_path / "rows.json").status == 0
    plain, taught = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert plain["measures"]["Sufficiency@3"]["mean"] == 0 < taught["measures"]["Sufficiency@3"]["mean"]


def test_it_is_learnt_from_feedback(cli: Callable[..., Finished], tmp_path: Path, encoder: Encoder) -> None:
    build_index(TOOLS, tmp_path / "index", encoder)
    store = FeedbackStore(tmp_path / "index")
    for text, used in ASKED.items():
        assert store.add(store.record(text), used)
    done = cli("train", "examples", "--from-feedback", "--index", tmp_path / "index", "--out", tmp_path / "learnt")
    assert done.status == 0, done.err
    manifest = RewriterManifest.read(current_build(tmp_path / "learnt"))
    assert manifest.trained_on["dataset"] == "feedback/all"
    assert manifest.taught.requests["photo/crop"].any()


def test_a_tool_that_is_gone_teaches_nothing(tmp_path: Path, encoder: Encoder) -> None:
    lesson = Lesson(
        prior={"odd/gong": 9.0, "no/such": 9.0},
        requests={"no/such": encoder.encode_one(UNSEEN[0]).vector},
        partners={"invoice/archive": ("odd/ping", "no/such"), "no/such": ("odd/lamp",)},
    )
    serving_it = engine(tmp_path, encoder, lesson)
    assert [tool.tool_id for tool in serving_it.retrieve(UNSEEN[0], 1).tools] == ["odd/gong"]
    serving_it.catalogue.remove(["odd/gong", "odd/ping"])
    rest = Engine(LiveCatalogue(tmp_path / "index", encoder), encoder)
    assert serving_it.retrieve(UNSEEN[0], 10).ranking == rest.retrieve(UNSEEN[0], 10).ranking
    serving_it.catalogue.put([Tool("odd/gong", "gong", "Ring.")])
    assert serving_it.retrieve(UNSEEN[0], 1).tools[0].description == "Ring."


def test_what_a_caller_may_not_see_is_never_raised_into_view(tmp_path: Path, encoder: Encoder) -> None:
    theirs = Tool("@team-b/desk/book", "book_desk", "Book a desk."), Tool("@team-b/ping", "ping", "Wake the janitor.")
    lesson = Lesson(
        prior={"@team-b/desk/book": 9.0},
        requests={"@team-b/ping": encoder.encode_one(UNSEEN[0]).vector},
        partners={"invoice/archive": ("@team-b/ping", "odd/ping"), "@team-b/ping": ("odd/gong",)},
    )
    asked = Request(UNSEEN[0], 40, granted=frozenset({"", "team-a"}), explain=True)
    serving_it = engine(tmp_path, encoder, lesson, Toolset([*TOOLS, *theirs]))
    answer = serving_it.answer(asked).to_json()
    assert "team-b" not in json.dumps(answer)
    assert reasons(answer)["odd/ping"]["used_with"] == "invoice/archive"
    assert "used_with" not in reasons(answer)["odd/gong"]
    seeing = reasons(
        serving_it.answer(Request(UNSEEN[0], 40, granted=frozenset({"", "team-b"}), explain=True)).to_json()
    )
    assert seeing["@team-b/ping"]["used_with"] == "invoice/archive"
    assert seeing["@team-b/ping"]["examples"] > 0.2
    assert seeing["@team-b/desk/book"]["prior"] == 9
    excluded = Request(UNSEEN[0], 40, wanted=Filter(exclude=("odd/ping", "@team-b/desk/book")))
    assert not {"odd/ping", "@team-b/desk/book"} & {tool.tool_id for tool in serving_it.answer(excluded).tools}


def test_feedback_adds_to_what_examples_taught(tmp_path: Path, encoder: Encoder) -> None:
    serving_it = engine(tmp_path, encoder, Lesson(prior={"odd/gong": 0.1, "odd/ping": 0.2}))
    assert serving_it.feedback.add(serving_it.feedback.record("anything"), ["odd/gong", LEDGER])
    why = reasons(serving_it.answer(Request(UNSEEN[0], 40, explain=True)).to_json())
    priors = {tool_id: one["prior"] for tool_id, one in why.items() if "prior" in one}
    said = WEIGHT * math.log(2)
    assert priors == pytest.approx({"odd/gong": 0.1 + said, "odd/ping": 0.2, LEDGER: said}, abs=1e-4)


def test_a_tool_comes_nearer_to_the_requests_that_use_it_and_no_other_moves(tmp_path: Path, encoder: Encoder) -> None:
    plain = engine(tmp_path, encoder, UNTAUGHT)
    taught = Engine(
        plain.catalogue, encoder, lesson=Lesson(requests={"odd/ping": encoder.encode_one(UNSEEN[0]).vector})
    )
    request = Request(UNSEEN[0], 40, explain=True)
    before, after = (reasons(one.answer(request).to_json()) for one in (plain, taught))
    gained = after.pop("odd/ping")
    assert gained["meaning"] - before.pop("odd/ping")["meaning"] == pytest.approx(gained["examples"], abs=2e-4)
    assert gained["examples"] > 0.2
    assert {tool_id: one["meaning"] for tool_id, one in after.items()} == {
        tool_id: one["meaning"] for tool_id, one in before.items()
    }
    assert not any("examples" in one for one in after.values())


def test_a_lesson_is_read_as_it_was_written(encoder: Encoder) -> None:
    lesson = Lesson(prior={"a": 0.1}, requests={"a": encoder.encode_one(UNSEEN[0]).vector}, partners={"a": ("b",)})
    read = Lesson.model_validate_json(lesson.model_dump_json())
    assert np.array_equal(read.requests["a"], lesson.requests["a"])
    assert (read.prior, read.partners, read.steps) == (lesson.prior, lesson.partners, lesson.steps)


def _packed(*numbers: float) -> str:
    return b64encode(np.array(numbers, np.float16).tobytes()).decode()


@pytest.mark.parametrize(
    "damaged",
    [
        {"requests": {"odd/ping": _packed(*[0.5] * 10)}},
        {"requests": {"odd/ping": _packed(1.0)}},
        {"requests": {"odd/ping": _packed(*[math.nan] * 384)}},
        {"requests": {"odd/ping": ""}},
        {"requests": {"odd/ping": "!?"}},
        {"requests": {"odd/ping": None}},
        {"requests": {"odd/ping": {}}},
        {"requests": {"odd/ping": [[1.0]]}},
        {"prior": {"odd/ping": math.nan}},
        {"prior": {"odd/ping": math.inf}},
    ],
)
def test_a_damaged_lesson_is_refused(damaged: dict[str, Any], tmp_path: Path, encoder: Encoder) -> None:
    installed(tmp_path, encoder, lesson=damaged)
    with pytest.raises(ArtefactError, match="lesson"):
        RewriterChoice(str(tmp_path)).open()


@pytest.mark.parametrize("steps", [5, {"fewer": 1}, {"least": "much"}])
def test_damaged_steps_of_a_gate_are_refused(steps: Any, tmp_path: Path, encoder: Encoder) -> None:
    installed(tmp_path, encoder, gate={"verdict": "accepted", "steps": steps})
    with pytest.raises(ArtefactError, match="train it again"):
        RewriterChoice(str(tmp_path)).open()


def installed(folder: Path, encoder: Encoder, **fields: Any) -> None:
    """Write a build that has something in its manifest that no training writes."""
    with building(folder) as build:
        RewriterManifest(kind="none", retriever=encoder.identity, created="", versions={}, sha256={}).write(build)
        manifest = json.loads((build / MANIFEST).read_text())
        (build / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def test_tenants_share_what_a_lesson_makes_large(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[TaughtDense] = []

    class Counted(TaughtDense):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("qta.hybrid.TaughtDense", Counted)
    serving_it = engine(tmp_path, encoder, Lesson(requests={"odd/ping": encoder.encode_one(UNSEEN[0]).vector}))
    for number in range(3):
        granted = frozenset({"", f"team-{number}"})
        tenant = tenant_of(granted)
        assert serving_it.feedback.add(serving_it.feedback.record("anything", tenant), ["odd/gong"], tenant)
        why = reasons(serving_it.answer(Request(UNSEEN[0], 40, granted=granted, explain=True)).to_json())
        assert why["odd/gong"]["prior"] == pytest.approx(WEIGHT * math.log(2), abs=1e-4)
        assert why["odd/ping"]["examples"] > 0.2
    assert len(made) == 1
    serving_it.catalogue.remove(["odd/gong"])
    serving_it.retrieve(UNSEEN[0])
    assert len(made) == 2
