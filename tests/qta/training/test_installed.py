"""A folder of rewriters: which of them is served, and that only one that fits is."""

import json
import shutil
from pathlib import Path

import pytest

from mtrb.errors import ArtefactError, InputError
from qta.encoder import Encoder
from qta.lesson import UNTAUGHT, Lesson
from qta.rewriting import RewriterChoice, open_rewriter
from qta.rewriting.local import CausalGenerator, load_model
from qta.rewriting.manifest import current_build, install, restore
from qta.steps import STEPS, TRUSTED
from qta.training.lesson import train_examples
from qta.training.run import Outcome
from tests.aligning import annotated, trained


def test_an_adapter_of_another_base_is_refused(outcome: Outcome, tmp_path: Path) -> None:
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


def test_without_a_lesson_its_steps_take_part_as_the_gate_has_judged(outcome: Outcome, tmp_path: Path) -> None:
    build = shutil.copytree(outcome.build, tmp_path / "build")
    manifest = json.loads((build / "rewriter.json").read_text())
    gate = {**manifest["gate"], "steps": vars(TRUSTED)}
    del manifest["lesson"], manifest["chosen"]  # as before they were recorded
    judged = {"accepted": TRUSTED, "rejected": STEPS, "ungated": STEPS}
    for verdict, rule in judged.items():
        (build / "rewriter.json").write_text(json.dumps({**manifest, "gate": {**gate, "verdict": verdict}}))
        assert RewriterChoice(str(build)).open().lesson == Lesson(steps=rule)
    del gate["steps"]  # as even before
    (build / "rewriter.json").write_text(json.dumps({**manifest, "gate": {**gate, "verdict": "accepted"}}))
    assert RewriterChoice(str(build)).open().lesson == UNTAUGHT


def test_where_the_gate_found_the_base_better_that_is_served(outcome: Outcome, base: str, tmp_path: Path) -> None:
    build = shutil.copytree(outcome.build, tmp_path / "build")
    manifest = json.loads((build / "rewriter.json").read_text())
    said = {}
    for verdict in ("accepted", "unaligned"):
        manifest["gate"]["verdict"] = verdict
        (build / "rewriter.json").write_text(json.dumps(manifest))
        said[verdict] = open_rewriter(build).steps(["give the money back"], [[]])
    unaligned = open_rewriter(build)
    unaligned.generator = CausalGenerator(*load_model(base))
    assert said["unaligned"] == unaligned.steps(["give the money back"], [[]]) != said["accepted"]
    manifest |= {"kind": "small", "fingerprint": "f" * 16}
    (build / "rewriter.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="served by our own base with fingerprint ffffffffffffffff"):
        open_rewriter(build)


def test_the_one_before_can_be_restored(outcome: Outcome, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no rewriter"):
        current_build(tmp_path)
    first, second = (Path(shutil.copytree(outcome.build, tmp_path / name)) for name in ("1" * 12, "2" * 12))
    install(first)
    with pytest.raises(ArtefactError, match="no rewriter before the current one"):
        restore(tmp_path)
    install(second)
    assert current_build(tmp_path) == second
    assert restore(tmp_path) == first == current_build(tmp_path)
    assert restore(tmp_path) == second == current_build(tmp_path)
    (first / "rewriter.json").rename(tmp_path / "kept")
    with pytest.raises(ArtefactError, match="no rewriter"):
        restore(tmp_path)
    shutil.rmtree(first)
    with pytest.raises(ArtefactError, match=f"the rewriter {first.name} is not there any more"):
        restore(tmp_path)
    assert current_build(tmp_path) == second
    shutil.rmtree(second)
    with pytest.raises(ArtefactError, match=f"the rewriter {second.name} is not there any more"):
        current_build(tmp_path)


@pytest.mark.parametrize("other", ["manifest.json", "thesis.txt"])
def test_a_folder_with_other_things_is_not_written_to(other: str, tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / other).write_text("{}")
    with pytest.raises(InputError, match=f"holds something else than rewriters \\({other}\\)"):
        train_examples(annotated(), tmp_path, encoder, print, print)
    with pytest.raises(InputError, match=f"holds something else than rewriters \\({other}\\)"):
        trained("default", tmp_path, encoder)
    assert [path.name for path in tmp_path.iterdir()] == [other]


def test_where_the_gate_kept_a_rewriter_out_the_refusal_says_so(outcome: Outcome, tmp_path: Path) -> None:
    build = shutil.copytree(outcome.build, tmp_path / "r" / "build")
    with pytest.raises(ArtefactError, match=f"no rewriter that the gate let in; {build}/rewriter.json says"):
        open_rewriter(tmp_path / "r")
    assert open_rewriter(build).prompt == open_rewriter(outcome.build).prompt


def test_a_rewriter_of_another_retriever_is_refused_where_it_is_to_be_served(
    outcome: Outcome, tmp_path: Path, encoder: Encoder
) -> None:
    assert RewriterChoice(str(outcome.build)).open().rewriter
    build = shutil.copytree(outcome.build, tmp_path / "build")
    manifest = json.loads((build / "rewriter.json").read_text())
    (build / "rewriter.json").write_text(json.dumps({**manifest, "retriever": "other@0"}))
    with pytest.raises(ArtefactError, match=f"aligned with the retriever other@0, but {encoder.identity} ranks here"):
        RewriterChoice(str(build)).open()
