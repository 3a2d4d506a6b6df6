"""A rewriter as a folder: a manifest, the model or what stands for it, and what it was made with.

    DIR/current.json      names the build that is served, and the one before; replaced atomically
    DIR/<build>/          rewriter.json, the model or adapter, the preference pairs, the log of the training

The rewriter that comes with the package is such a build by itself.
"""

import platform
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mtrb.errors import ArtefactError, InputError
from mtrb.files import replace_text, sha256
from mtrb.types import Benchmark
from qta.lesson import Lesson
from qta.rewriting.prompt import Prompt
from qta.steps import StepRule

FORMAT = 1
MANIFEST, CURRENT = "rewriter.json", "current.json"

_OURS = r"[0-9a-f]{12}|current\.json(\.part)?"

_STEPS = TypeAdapter(StepRule)


class RewriterManifest(BaseModel):
    """Describe a rewriter; everything that serving must agree with, and how it came about.

    Attributes:
        kind: `small` is our own base through ONNX Runtime, `causal` any other through transformers; `none` has no
            rewriter, so that what is said of a model is empty, but a lesson.
        base: the base model, and `fingerprint` what tells its weights from others.
        prompt: what the model is shown, and `prompt_digest` what tells all of it from other prompts.
        gate: before and after on requests that the rewriter had not seen, the rule by which its steps took part, and
            the verdict, see `qta.training.gate`.
        retriever: that it was aligned with, if any.
        lesson: what the examples teach beside it, and `chosen` how much was made of them; None where it was made before
            that was recorded.
        trained_on: dataset, query ids and fingerprint of the catalogue.
        sha256: of the files that are served.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = FORMAT
    kind: Literal["small", "causal", "none"]
    base: str = ""
    fingerprint: str = ""
    prompt: dict[str, Any] = {}
    prompt_digest: str = ""
    max_new_tokens: int = 0
    no_repeat: int = 0
    retriever: str
    lesson: Lesson | None = None
    chosen: dict[str, Any] = {}
    gate: dict[str, Any] = {}
    trained_on: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    created: str
    versions: dict[str, str]
    sha256: dict[str, str]

    def read_prompt(self) -> Prompt:
        """Return the prompt.

        Raises:
            ArtefactError: this version words it otherwise than the one that trained the rewriter.
        """
        prompt = Prompt(**self.prompt)
        if prompt.digest != self.prompt_digest:
            raise ArtefactError(
                f"the rewriter was trained with the prompt {self.prompt_digest}, this version has {prompt.digest}; "
                "train it again, or use the version that made it"
            )
        return prompt

    @property
    def aligned(self) -> bool:
        """Tell whether the adapter is served; where the gate found its base better, that is."""
        return self.gate.get("verdict") != "unaligned"

    @property
    def taught(self) -> Lesson:
        """Return the lesson; without one, steps take part as the gate has seen that they do no harm, or cautiously.

        Raises:
            ArtefactError: what the gate has written of them is damaged.
        """
        if self.lesson is not None:
            return self.lesson
        judged = self.gate.get("steps") if self.gate.get("verdict") == "accepted" else None
        try:
            return Lesson(steps=_STEPS.validate_python(asdict(StepRule(**judged)))) if judged else Lesson()
        except (TypeError, ValidationError):
            raise ArtefactError(f"a rewriter's gate has the steps {judged}, which are none; train it again") from None

    def write(self, build: Path) -> None:
        """Write the manifest; its presence says that the build is whole."""
        (build / MANIFEST).write_text(self.model_dump_json(indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, build: Path) -> Self:
        """Read a build's manifest and check its files by hash.

        Raises:
            ArtefactError: there is none, or a file is absent or altered.
        """
        path = build / MANIFEST
        try:
            manifest = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArtefactError(f"{build}: no rewriter; make one with `qta train dpo --out {build}`") from None
        except (OSError, ValidationError) as error:
            reason = " ".join(str(error).split("For further information")[0].split())
            raise ArtefactError(f"{path}: no manifest of a rewriter ({reason})") from None
        if manifest.format != FORMAT:
            raise ArtefactError(f"{path}: format {manifest.format}, this version needs {FORMAT}; train it again")
        for name, expected in manifest.sha256.items():
            found = sha256(build / name)
            if found != expected:
                raise ArtefactError(f"{build / name}: altered: sha256 {found}, expected {expected}; restore it")
        return manifest


def describe_prompt(prompt: Prompt) -> dict[str, Any]:
    """Return the manifest's fields on a prompt."""
    return {"prompt": asdict(prompt), "prompt_digest": prompt.digest}


def describe_training(annotated: Benchmark, libraries: Sequence[str]) -> dict[str, Any]:
    """Return the manifest's fields on what is learnt from, when and with what."""
    return {
        "trained_on": {
            "dataset": f"{annotated.dataset_id}/{annotated.split}",
            "queries": [query.query_id for query in annotated.queries],
            "toolset": annotated.toolset.fingerprint()[:16],
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }


def current_build(folder: Path) -> Path:
    """Return the build that a rewriter folder serves; a build by itself stands for itself.

    Raises:
        ArtefactError: there is none.
    """
    if (folder / MANIFEST).exists():
        return folder
    return _there(folder, _pointer(folder).build)


def last_build(folder: Path) -> Path:
    """Return the newest whole build in a folder, whether it is served or was rejected.

    Raises:
        ArtefactError: there is none.
    """
    builds = sorted(folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not builds:
        raise ArtefactError(f"{folder}: no rewriter; make one with `qta train dpo --out {folder}`")
    return builds[-1].parent


def check_folder(folder: Path) -> None:
    """Refuse a folder for rewriters that holds something else, such as an index, which would not be one any more.

    Raises:
        InputError: it does.
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    foreign = [name for name in names if not name.startswith(".") and not re.fullmatch(_OURS, name)]
    if foreign:
        raise InputError(f"{folder} holds something else than rewriters ({foreign[0]}); name another folder")


def new_build(folder: Path) -> Path:
    """Return where a build can be written beside the others."""
    build = folder / uuid.uuid4().hex[:12]
    build.mkdir(parents=True)
    return build


@contextmanager
def building(folder: Path, serve: bool = True) -> Iterator[Path]:
    """Lend a new build to be written; once it is whole it is served, if it may be. Of one that fails nothing is left.

    Raises:
        ArtefactError: it cannot be written; what was installed is as it was.
    """
    try:
        build = new_build(folder)
        try:
            yield build
        except BaseException:
            shutil.rmtree(build, ignore_errors=True)
            raise
        if serve:
            install(build)
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be written: {error.strerror or error}; a rewriter that was installed is as it was"
        ) from None


def install(build: Path) -> None:
    """Serve a whole build from now on; the one before is kept."""
    folder = build.parent
    before = _pointer(folder).build if (folder / CURRENT).exists() else None
    _point(folder, _Pointer(build=build.name, previous=before))


def restore(folder: Path) -> Path:
    """Serve the build before the current one again; called twice, the current one returns.

    Raises:
        ArtefactError: there is none.
    """
    pointer = _pointer(folder)
    if pointer.previous is None:
        raise ArtefactError(f"{folder}: there is no rewriter before the current one")
    build = _there(folder, pointer.previous)
    RewriterManifest.read(build)
    _point(folder, _Pointer(build=pointer.previous, previous=pointer.build))
    return build


class _Pointer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    build: str
    previous: str | None = None


def _there(folder: Path, name: str) -> Path:
    if not (folder / name).is_dir():
        raise ArtefactError(f"{folder}: the rewriter {name} is not there any more; train it again, or put it back")
    return folder / name


def _pointer(folder: Path) -> _Pointer:
    try:
        return _Pointer.model_validate_json((folder / CURRENT).read_bytes())
    except FileNotFoundError:
        kept_out = last_build(folder)  # which says so where nothing was trained at all
        raise ArtefactError(
            f"{folder}: no rewriter that the gate let in; {kept_out / MANIFEST} says what it found, and "
            f"{kept_out} can be served by itself all the same"
        ) from None
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split("For further information")[0].split())
        raise ArtefactError(f"{folder / CURRENT}: cannot be read ({reason})") from None


def _point(folder: Path, pointer: _Pointer) -> None:
    replace_text(folder / CURRENT, pointer.model_dump_json() + "\n")
