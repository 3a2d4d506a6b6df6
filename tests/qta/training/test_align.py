"""The whole way with any model: pairs, DPO, adapter, gate, and a served answer that carries the rewrite."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtrb.errors import InputError
from qta.encoder import Encoder
from qta.engine import Engine
from qta.feedback import FeedbackStore
from qta.index import build_index
from qta.live import LiveCatalogue
from qta.rewriting import open_rewriter
from qta.rewriting.manifest import RewriterManifest, current_build
from qta.steps import STEPS
from qta.training.config import AlignSettings, load_settings
from qta.training.policy import Policy
from qta.training.run import Outcome, train_dpo
from tests.aligning import ASKED, SETTINGS, TOOLS, annotated, settings, trained


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
    assert set(manifest.gate["rewrites"]) == ({f"q{n}" for n in range(5)} if outcome.verdict.accepted else set())
    assert manifest.gate["verdict"] == outcome.verdict.decision != "ungated"
    assert all({"sufficiency", "log_rank"} == set(manifest.gate[name]) for name in ("before", "unaligned", "after"))
    assert manifest.gate["steps"] == vars(STEPS)
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rounds: 2\nround: 3", "unknown setting 'round'"),
        ("dpo: {lr: 1}", "unknown setting 'dpo.lr'"),
        ("rounds: 0", "rounds is 0"),
        ("seed: -1", "seed is -1"),
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
    assert any(f"rewriter {one}" in done.out for one in ("accepted", "unaligned", "rejected"))
    assert done.status == (1 if "rewriter rejected" in done.out else 0)
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
    assert any(f"rewriter {one}" in done.out for one in ("accepted", "unaligned", "rejected"))
    [build] = [path.parent for path in (tmp_path / "r").glob("*/rewriter.json")]
    assert RewriterManifest.read(build).trained_on["dataset"] == "feedback/all"
    for wrong in (("sample",), ("--tools", "x", "--queries", "y")):
        assert "give one of them" in cli(*command, *wrong, "--out", tmp_path / "r").err
    assert "needs --index" in cli("train", "dpo", "--from-feedback", "--out", tmp_path / "r").err
    assert "is for --from-feedback" in cli("train", "dpo", "sample", "--index", index, "--out", tmp_path / "r").err
