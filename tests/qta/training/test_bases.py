"""The bases that there are on the hub: with and without template, pad or end token, damaged, absent, too short."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mtrb.errors import InputError
from qta.encoder import Encoder
from qta.rewriting import open_rewriter
from qta.rewriting.generator import Decoding
from qta.rewriting.local import DEFAULT_BASE, CausalGenerator, accepted, fingerprint, load_model
from qta.rewriting.prompt import Prompt
from qta.training.supervised import SupervisedSettings, train
from qta.training.supervised import main as supervised
from tests.aligning import trained
from tests.tiny import TEMPLATE, make_gguf, make_llama

REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE


def test_a_base_without_an_end_token_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="has no end token"):
        trained(make_llama(tmp_path / "m", end=None), tmp_path / "r", encoder)


@pytest.mark.parametrize("template", [None, TEMPLATE, REFUSING])
def test_a_base_without_pad_token_or_template_is_fine(template: str | None, tmp_path: Path, encoder: Encoder) -> None:
    model = make_llama(tmp_path / "m", template=template, pad=None)
    assert trained(model, tmp_path / "r", encoder, rounds=1).build.exists()


def test_an_instruction_that_a_template_refuses_goes_with_the_request(tmp_path: Path) -> None:
    _, tokenizer = load_model(make_llama(tmp_path / "m", template=REFUSING))
    conversation = Prompt().messages("refund the order", [])
    instruction, request = (message["content"] for message in conversation)
    assert accepted(tokenizer, conversation) == [{"role": "user", "content": f"{instruction}\n\n{request}"}]
    _, tokenizer = load_model(make_llama(tmp_path / "other"))
    assert accepted(tokenizer, conversation) == conversation


def test_the_fingerprint_is_that_of_the_weights_whatever_they_are_loaded_in(base: str) -> None:
    model, _ = load_model(base)
    found = fingerprint(model.float())
    assert fingerprint(model.bfloat16()) == found
    model.lm_head.weight.data[0] += 1
    assert fingerprint(model) != found


def test_a_base_in_a_folder_is_found_from_another_folder(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_llama(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    outcome = trained("m", Path("r"), encoder, rounds=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_rewriter(tmp_path / outcome.build).steps(["refund the order"], [[]])


def test_an_answer_ends_with_any_end_token_of_the_model(base: str) -> None:
    generator = CausalGenerator(*load_model(base))
    asked = [Prompt().messages("refund the order", [])]
    [[whole]] = generator.generate(asked, Decoding(max_new_tokens=8))
    first = whole.split()[0]
    assert whole != first
    ends = [generator.tokenizer.eos_token_id, generator.tokenizer.convert_tokens_to_ids(first)]
    generator.model.generation_config.eos_token_id = ends
    assert generator.generate(asked, Decoding(max_new_tokens=8)) == [[first]]


@pytest.mark.parametrize("default", [True, False])
def test_samples_as_good_as_certain_are_the_answer_whatever_else_is_read_with_them(base: str, default: bool) -> None:
    generator = CausalGenerator(*load_model(DEFAULT_BASE if default else base))
    asked = [Prompt().messages(text, []) for text in ("refund it", "refund the order that never came, and say so")]
    alone = [generator.generate([one], Decoding(max_new_tokens=8))[0][0] for one in asked]
    certain = Decoding(max_new_tokens=8, samples=3, temperature=0.01, top_k=1)
    assert generator.generate(asked, certain) == [[answer] * 3 for answer in alone]
    assert generator.generate(asked, replace(certain, at_once=3)) == [[answer] * 3 for answer in alone]


@pytest.mark.parametrize(
    ("fails", "advice"),
    [("qta.rewriting.local.CausalGenerator.generate", "candidates.at_once"), ("trl.DPOTrainer.train", "dpo.batch")],
)
def test_what_takes_less_memory_is_told_where_a_gpu_has_too_little(
    fails: str, advice: str, base: str, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 16.00 MiB.")

    monkeypatch.setattr(fails, full)
    with pytest.raises(InputError, match=f"the GPU has too little memory; .*{advice}"):
        trained(base, tmp_path, encoder)


def test_an_absent_base_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="cannot load the base model"):
        trained(str(tmp_path / "nothing"), tmp_path / "r", encoder)


def test_a_damaged_base_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    model = make_llama(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"half of it")
    with pytest.raises(InputError, match="cannot load the base model"):
        trained(model, tmp_path / "r", encoder)


def test_prompts_that_fill_the_model_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    model = make_llama(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 512', '"max_position_embeddings": 40'))
    with pytest.raises(InputError, match="fill"):
        trained(model, tmp_path / "r", encoder)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no such file"), (b"hello", "it is not a GGUF file"), (b"GGUF", "it ends before it should")],
)
def test_a_gguf_file_that_is_absent_or_damaged_is_refused(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_model(str(tmp_path / "model.gguf"))


SHOWN = {"role": "user", "content": "refund the last order"}
TOLD = {"role": "system", "content": "find search"}


def taught(base: str, tmp_path: Path, epochs: int) -> CausalGenerator:
    rows = [{"prompt": [TOLD, SHOWN], "completion": [{"role": "assistant", "content": "find order; refund order"}]}] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    options = ["--base", base, "--out", str(tmp_path / "taught"), "--rate", "0.02", "--epochs", str(epochs)]
    result = CliRunner().invoke(supervised, [str(tmp_path / "rows.jsonl"), *options, "--batch", "4"])
    assert result.exit_code == 0, result.output
    return CausalGenerator(*load_model(str(tmp_path / "taught")))


@pytest.mark.filterwarnings("ignore")  # of the libraries that train
@pytest.mark.parametrize("template", [None, TEMPLATE, REFUSING])
def test_another_base_than_our_own_is_taught_demonstrations(template: str | None, tmp_path: Path) -> None:
    base = make_llama(tmp_path / "m", template=template)
    answer = taught(base, tmp_path, epochs=30).generate([[TOLD, SHOWN]], Decoding(max_new_tokens=8))
    assert answer == [["find order ; refund order"]]


@pytest.mark.filterwarnings("ignore")  # of the libraries that train
def test_a_base_in_a_gguf_file_is_trained_and_saved_as_a_folder(tmp_path: Path) -> None:
    base = make_gguf(tmp_path / "model.gguf")
    packed = CausalGenerator(*load_model(base))
    unpacked = taught(base, tmp_path, epochs=1)
    assert unpacked.prompt_ids([SHOWN]) == packed.prompt_ids([SHOWN])
    assert unpacked.tokenizer.decode(unpacked.prompt_ids([SHOWN])) == (
        "<user>refund the last order<|im_end|><assistant>"
    )
    assert fingerprint(unpacked.model) != fingerprint(packed.model)
    assert unpacked.generate([[SHOWN]], Decoding(max_new_tokens=8)) != [[""]]


def test_a_base_that_lacks_weights_is_refused(base: str, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(base, tmp_path / "m")) / "model.safetensors"
    weights = load_file(whole)
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, whole, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of its weights, model\.layers\.0\.mlp\.down_proj\.weight"):
        load_model(str(tmp_path / "m"))


def test_a_training_that_ran_away_installs_nothing(base: str, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match=r"training has run away at the learning rate 1e\+38"):
        trained(base, tmp_path / "r", encoder, rounds=1, dpo={"learning_rate": 1e38, "batch": 4})
    assert not (tmp_path / "r" / "current.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no demonstration"),
        ("{}\n", "line 1: no demonstration"),
        ('{"prompt": ["x"], "completion": ["y"]}\n', "line 1: no demonstration"),
        ("oops\n", "line 1: not valid JSON"),
    ],
)
def test_what_is_no_demonstration_is_refused(content: str, said: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(InputError, match=said):
        train(*load_model(base), tmp_path / "rows.jsonl", tmp_path / "out", SupervisedSettings())
