"""The whole way with any model: pairs, DPO, adapter, gate, and a served answer that carries the rewrite."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtrb.errors import ArtefactError, InputError
from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.encoder import Encoder
from qta.engine import Engine
from qta.feedback import FeedbackStore
from qta.index import build_index
from qta.live import LiveCatalogue
from qta.rewriting import open_rewriter
from qta.rewriting.manifest import RewriterManifest, current_build, install, new_build, restore
from qta.training.config import AlignSettings, load_settings
from qta.training.policy import Policy
from qta.training.run import Outcome, train_dpo
from tests.tiny import make_llama

TOOLS = Toolset(
    [
        Tool("shop/list", "list_orders", "List orders of a customer."),
        Tool("shop/refund", "refund_order", "Refund an order."),
        Tool("shop/cancel", "cancel_order", "Cancel an order."),
        Tool("mail/send", "send_mail", "Send a mail to a customer."),
        Tool("film/search", "search_movie", "Search a movie."),
        Tool("film/credits", "get_credits", "Get the credits of a movie."),
    ]
)
ASKED = {
    "give the money back for the last order": ["shop/list", "shop/refund"],
    "tell Anna that it is late": ["mail/send"],
    "who played in Alien": ["film/search", "film/credits"],
    "call it off": ["shop/cancel"],
    "what did Bob buy": ["shop/list"],
}
SETTINGS = {
    "candidates": {"samples": 12, "max_new_tokens": 12, "temperature": 1.5},
    "pairs": {"margin": 0.01},
    "rounds": 2,
    "dpo": {"learning_rate": 5e-3, "batch": 4},
}


def annotated(asked: dict[str, list[str]] = ASKED) -> Benchmark:
    queries = tuple(Query(f"q{n}", text) for n, text in enumerate(asked))
    qrels = {query.query_id: dict.fromkeys(asked[query.text], 1) for query in queries}
    return Benchmark("own", "train", TOOLS, queries, qrels)


def settings(base: str, **more: Any) -> AlignSettings:
    return AlignSettings.model_validate({"base": base, **SETTINGS, **more})


def trained(base: str, out: Path, encoder: Encoder, **more: Any) -> Outcome:
    return train_dpo(annotated(), settings(base, **more), out, encoder, lambda _: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def outcome(base: str, tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Outcome:
    return trained(base, tmp_path_factory.mktemp("aligned") / "rewriter", encoder)


def test_the_adapter_has_learnt(outcome: Outcome, base: str) -> None:
    import torch

    policy = Policy(base, settings(base).lora, 0, outcome.build / "adapter")
    learnt = {name: value for name, value in policy.model.named_parameters() if "lora_B" in name}
    assert learnt
    assert all(bool(torch.any(value != 0)) for value in learnt.values())  # they start at zero


def test_what_was_done_is_written_down(outcome: Outcome) -> None:
    manifest = RewriterManifest.read(outcome.build)
    assert manifest.kind == "causal"
    assert manifest.trained_on["queries"] == [f"q{n}" for n in range(5)]
    assert set(manifest.gate["rewrites"]) == {f"q{n}" for n in range(5)}
    assert manifest.gate["verdict"] == ("accepted" if outcome.verdict.accepted else "rejected")
    assert {"sufficiency", "log_rank"} == set(manifest.gate["before"])
    *pairs, last = [json.loads(line) for line in (outcome.build / "pairs.jsonl").read_text().splitlines()]
    assert {pair["round"] for pair in pairs} == {1, 2}
    assert len(last["statistics"]["rounds"]) == 2
    assert len((outcome.build / "log.csv").read_text().splitlines()) > 3
    assert (outcome.build / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (outcome.build.parent / ".training").exists()


def test_the_rewrite_is_served(outcome: Outcome, tmp_path: Path, encoder: Encoder) -> None:
    build_index(TOOLS, tmp_path / "index", encoder)
    engine = Engine(LiveCatalogue(tmp_path / "index", encoder), encoder, open_rewriter(outcome.build))
    answer = engine.retrieve("give the money back", 3)
    assert answer.rewritten_query
    assert answer.timing_ms["rewrite"] > 0
    assert len(answer.tools) == 3
    assert engine.retrieve("give the money back", 3, "off").rewritten_query is None
    assert engine.retrieve("shop/cancel please", 3).rewritten_query is None
    assert engine.retrieve("shop/cancel please", 3, "always").rewritten_query


def test_an_interrupted_training_goes_on(base: str, tmp_path: Path, encoder: Encoder) -> None:
    whole = trained(base, tmp_path / "whole", encoder)

    def stop(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(annotated(), settings(base), tmp_path / "parts", encoder, stop)
    assert not (tmp_path / "parts" / "current.json").exists()
    lines: list[str] = []
    resumed = train_dpo(annotated(), settings(base), tmp_path / "parts", encoder, lines.append)
    assert not any(line.startswith("round 1") for line in lines[:2])
    assert (resumed.build / "pairs.jsonl").read_text() == (whole.build / "pairs.jsonl").read_text()


def test_few_examples_are_not_gated(base: str, tmp_path: Path, encoder: Encoder) -> None:
    few = annotated(dict(list(ASKED.items())[:3]))
    outcome = train_dpo(few, settings(base, rounds=1), tmp_path / "r", encoder, lambda _: None)
    assert outcome.verdict.accepted
    assert RewriterManifest.read(current_build(tmp_path / "r")).gate["verdict"] == "ungated"


def test_no_pair_is_an_error(base: str, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="no preference pair"):
        trained(base, tmp_path / "r", encoder, pairs={"margin": 99.0})
    assert not (tmp_path / "r" / "current.json").exists()


def test_no_example_is_an_error(base: str, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="no examples to learn from"):
        train_dpo(annotated({}), settings(base), tmp_path / "r", encoder, lambda _: None)


def test_a_base_without_an_end_token_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="has no end token"):
        trained(make_llama(tmp_path / "m", end=None), tmp_path / "r", encoder)


@pytest.mark.parametrize("template", [None, "default"])
def test_a_base_without_pad_token_or_template_is_fine(template: str | None, tmp_path: Path, encoder: Encoder) -> None:
    from tests.tiny import TEMPLATE

    model = make_llama(tmp_path / "m", template=template and TEMPLATE, pad=None)
    assert trained(model, tmp_path / "r", encoder, rounds=1).build.exists()


def test_an_absent_base_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="cannot load the base model"):
        trained(str(tmp_path / "nothing"), tmp_path / "r", encoder)


def test_prompts_that_fill_the_model_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    model = make_llama(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 512', '"max_position_embeddings": 40'))
    with pytest.raises(InputError, match="fill"):
        trained(model, tmp_path / "r", encoder)


def test_an_adapter_of_another_base_is_refused(outcome: Outcome, tmp_path: Path) -> None:
    import shutil

    build = tmp_path / "build"
    shutil.copytree(outcome.build, build)
    manifest = json.loads((build / "rewriter.json").read_text())
    (build / "rewriter.json").write_text(json.dumps({**manifest, "fingerprint": "0" * 16}))
    with pytest.raises(ArtefactError, match=r"fingerprint 0{16}, but the base there has"):
        open_rewriter(build)
    (build / "rewriter.json").write_text(json.dumps({**manifest, "prompt_digest": "f" * 16}))
    with pytest.raises(ArtefactError, match=r"trained with the prompt f{16}, this version has"):
        open_rewriter(build)
    (build / "rewriter.json").write_text(json.dumps(manifest))
    (build / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="altered"):
        open_rewriter(build)


def test_a_full_disk_leaves_what_was_there(
    base: str, outcome: Outcome, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    first = trained(base, out, encoder, rounds=1)
    served = (out / "current.json").read_text() if (out / "current.json").exists() else None
    builds = sorted(path.name for path in out.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RewriterManifest, "write", full)
    with pytest.raises(ArtefactError, match="No space left on device; a rewriter that was installed is as it was"):
        trained(base, out, encoder, rounds=1, seed=1)
    assert ((out / "current.json").read_text() if (out / "current.json").exists() else None) == served
    assert sorted(path.name for path in out.iterdir() if path.name != ".training") == builds
    assert first.build.exists()


def test_the_one_before_can_be_restored(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no rewriter"):
        current_build(tmp_path)
    first, second = new_build(tmp_path), new_build(tmp_path)
    install(first)
    with pytest.raises(ArtefactError, match="no rewriter before the current one"):
        restore(tmp_path)
    install(second)
    assert current_build(tmp_path) == second
    assert restore(tmp_path) == first == current_build(tmp_path)
    assert restore(tmp_path) == second == current_build(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rounds: 2\nround: 3", "unknown setting 'round'"),
        ("dpo: {lr: 1}", "unknown setting 'dpo.lr'"),
        ("rounds: 0", "rounds is 0"),
        ("pairs: {ranking: best}", r"pairs\.ranking is 'best'"),
        ("- a", "expected settings by name"),
        ("a: [", "expected"),
    ],
)
def test_settings_are_checked(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=expected):
        load_settings(tmp_path / "s.yaml")


def test_the_defaults_are_those_of_the_file() -> None:
    assert load_settings() == AlignSettings()
    assert load_settings(seed=3, base=None).seed == 3


def test_the_command_line(base: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    tools = "\n".join(json.dumps(tool.to_json()) for tool in TOOLS)
    (tmp_path / "tools.jsonl").write_text(tools)
    rows = [{"id": f"q{n}", "query": text, "tools": golden} for n, (text, golden) in enumerate(ASKED.items())]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "s.yaml").write_text(json.dumps(SETTINGS))
    own = ("--tools", tmp_path / "tools.jsonl", "--queries", tmp_path / "queries.jsonl")
    done = cli("train", "dpo", *own, "--base", base, "--config", tmp_path / "s.yaml", "--out", tmp_path / "r")
    assert "rewriter accepted" in done.out or "rewriter rejected" in done.out
    assert done.status == (0 if "accepted" in done.out else 1)
    assert "unseen examples, mean of Sufficiency@5 and @10" in done.out
    rows[0]["tools"] = ["shop/nothing"]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    refused = cli("train", "dpo", *own, "--base", base, "--out", tmp_path / "r")
    assert refused.status == 2
    assert "golden tool 'shop/nothing' is not in the catalogue of 6 tools" in refused.err
    (tmp_path / "queries.jsonl").write_text("")
    assert cli("train", "dpo", *own, "--base", base, "--out", tmp_path / "r").status == 2
    assert cli("train", "restore", tmp_path / "empty").status == 2


def test_what_was_fed_back_is_learnt_from(base: str, tmp_path: Path, cli: Callable[..., Any], encoder: Encoder) -> None:
    index = tmp_path / "index"
    build_index(TOOLS, index, encoder)
    (tmp_path / "s.yaml").write_text(json.dumps({**SETTINGS, "pairs": {"margin": 0.0}, "rounds": 1}))
    command = ("train", "dpo", "--from-feedback", "--index", index, "--base", base, "--config", tmp_path / "s.yaml")
    nothing = cli(*command, "--out", tmp_path / "r")
    assert nothing.status == 2
    assert "no feedback that names a tool of the catalogue" in nothing.err
    store = FeedbackStore(index)
    for text, used in ASKED.items():
        assert store.add(store.record(text), used)
    done = cli(*command, "--out", tmp_path / "r")
    assert "rewriter accepted" in done.out or "rewriter rejected" in done.out
    [build] = [path.parent for path in (tmp_path / "r").glob("*/rewriter.json")]
    assert RewriterManifest.read(build).trained_on["dataset"] == "feedback/all"
    for wrong in (("sample",), ("--tools", "x", "--queries", "y")):
        assert "give one of them" in cli(*command, *wrong, "--out", tmp_path / "r").err
    assert "needs --index" in cli("train", "dpo", "--from-feedback", "--out", tmp_path / "r").err
    assert "is for --from-feedback" in cli("train", "dpo", "sample", "--index", index, "--out", tmp_path / "r").err
