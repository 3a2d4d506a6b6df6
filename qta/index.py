"""The index: a folder with a manifest, built beside the old one and swapped in whole.

    DIR/manifest.json        names the build and the sha256 of its files; replaced atomically
    DIR/<build>/             tools, vectors, lexical index
    DIR/building/            the checkpoint of an unfinished build
    DIR/changes.db           what was changed since the build, while it was served
    DIR/feedback.db          which tools were used, see `qta.feedback`
    DIR/calibration.json     how many tools are enough, see `qta.conformal`
    DIR/keys.json            who may ask a service for what (`qta keys`)

A reader follows the manifest, so at every moment it finds the old index or the new one.
"""

import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mtrb.errors import ArtefactError, InputError
from mtrb.files import replace_text, sha256
from mtrb.types import Tool, Toolset
from qta import completion, lexical, store
from qta.changes import last_revision
from qta.completion import Providers
from qta.dense import CODES, DenseIndex
from qta.embeddings import CHECKPOINT_SUFFIX, Checkpoint, embed, embedded_text, text_hashes
from qta.encoder import Encoder
from qta.lexical import LexicalIndex, lexical_text
from qta.names import NameIndex

FORMAT = 5
TEXT = "name as words: description, read in English"
"""What is embedded (`embedded_text`); changes whenever that does, so that old vectors are not mixed with new."""

MANIFEST = "manifest.json"
_HASHES = "texts.npy"
# And codes.faiss, for a large catalogue.
_FILES = (*store.FILES, _HASHES, *lexical.FILES, completion.FILE, "vectors.npy")
_BUILD = r"[0-9a-f]{12}-[0-9a-f]{6}"
_KEPT = r"(calibration|keys|sources)\.json(\.part)?|(changes|feedback)\.db(-wal|-shm|-journal)?"
_OURS = rf"manifest\.json(\.part)?|\.((merge|keys|sync)\.)?lock|building|{_BUILD}|{_KEPT}"
_LIBRARIES = ("numpy", "faiss-cpu", "bm25s", "onnxruntime", "tokenizers")

Advance = Callable[[int], object]


class IndexManifest(BaseModel):
    """Describe an index folder; everything a reader must agree with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    build: Annotated[str, Field(pattern=f"^{_BUILD}$")]
    created: str
    fingerprint: str
    tools: int
    revision: int
    encoder: str
    text: str
    dense: str
    sha256: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class ToolIndex:
    """A catalogue made searchable: tools, lexical and dense index, all in catalogue order."""

    columns: store.Columns
    tools: Sequence[Tool]
    lexical: LexicalIndex
    dense: DenseIndex
    providers: Providers
    manifest: IndexManifest | None = None

    @property
    def ids(self) -> list[str]:
        """Return the tools' ids."""
        return self.columns.ids

    def tool(self, tool_id: str) -> Tool:
        """Return a tool by its id.

        Raises:
            KeyError: there is none.
        """
        return self.tools[self.positions[tool_id]]

    @property
    def revision(self) -> int:
        """Return up to which revision of the log of changes the index holds them."""
        return self.manifest.revision if self.manifest else 0

    @cached_property
    def positions(self) -> dict[str, int]:
        """Return where each tool stands."""
        return {tool_id: position for position, tool_id in enumerate(self.ids)}

    @cached_property
    def finder(self) -> NameIndex:
        """Return the index of exact names, made at first use."""
        return NameIndex(self.columns.ids, self.columns.names)


def build_in_memory(toolset: Toolset, encoder: Encoder, advance: Advance = lambda _: None) -> ToolIndex:
    """Index a catalogue without writing anything."""
    vectors = embed([embedded_text(tool) for tool in toolset], encoder, {}, advance=advance)
    words = LexicalIndex.build([lexical_text(tool) for tool in toolset])
    columns = store.Columns.of(toolset)
    return ToolIndex(columns, toolset, words, DenseIndex.build(vectors), Providers(toolset))


def build_index(
    toolset: Toolset,
    folder: Path,
    encoder: Encoder,
    advance: Advance = lambda _: None,
    revision: int | None = None,
    known: Mapping[bytes, NDArray[np.float32]] = MappingProxyType({}),
    replaces: IndexManifest | None = None,
) -> IndexManifest:
    """Build the index of a catalogue into a folder, replacing the one that is there.

    Vectors of unchanged tools are taken over, and a build that was killed continues where it was.

    Args:
        toolset: the catalogue.
        folder: where the index is or will be.
        encoder: embeds the tools.
        advance: is told of each tool embedded.
        revision: of the log of changes, up to which the catalogue holds them; all, when not given.
        known: more vectors, by text hash.
        replaces: the index that is to be there; any, when not given.

    Raises:
        InputError: the catalogue is empty, or the folder holds something else.
        ArtefactError: another process is building there, or another index is there than was to be replaced.
    """
    if not len(toolset):
        raise InputError("there is no tool to index")
    check_folder(folder)
    checkpoint_folder = folder / "building"
    try:
        checkpoint_folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            if replaces is not None and read_manifest(folder) != replaces:
                raise ArtefactError(f"{folder}: another index was built there meanwhile, and stays")
            # Looked up first: what is written while tools are embedded comes on top.
            up_to = last_revision(folder) if revision is None else revision
            texts = [embedded_text(tool) for tool in toolset]
            checkpoint = Checkpoint(checkpoint_folder, encoder)
            vectors = embed(texts, encoder, {**_known_vectors(folder, encoder), **known}, checkpoint, advance)
            manifest = _write_build(toolset, texts, vectors, folder, encoder, up_to)
            replace_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
            for path in folder.iterdir():
                if path.is_dir() and path.name != manifest.build:
                    shutil.rmtree(path)
    except Timeout:
        raise ArtefactError(
            f"{folder}: another process is building this index; wait for it, or name another folder"
        ) from None
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be written: {error.strerror or error}; an index that was there is as it was"
        ) from None
    return manifest


def check_folder(folder: Path) -> None:
    """Refuse a folder with anything in it that no build made, since a build deletes what it replaces.

    Raises:
        InputError: it has.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the index")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    foreign = [name for name in names if not re.fullmatch(_OURS, name)]
    if MANIFEST in names and not any(re.fullmatch(_BUILD, name) for name in names):
        foreign.append(MANIFEST)
    if "building" in names and any(path.suffix != CHECKPOINT_SUFFIX for path in (folder / "building").iterdir()):
        foreign.append("building")
    if foreign:
        raise InputError(f"{folder} holds something else than an index ({foreign[0]}); name another folder")


def load_index(folder: Path, encoder: Encoder) -> ToolIndex:
    """Open an index, its large parts memory-mapped, after checking every file by hash.

    Raises:
        ArtefactError: there is none, it is damaged, or it was made with another encoder or format.
    """
    while True:
        manifest = read_manifest(folder)
        try:
            return _load_build(folder, manifest, encoder)
        except (ArtefactError, OSError):
            if read_manifest(folder).build == manifest.build:  # else it was replaced while it was read
                raise


def _load_build(folder: Path, manifest: IndexManifest, encoder: Encoder) -> ToolIndex:
    for what, found, expected in (
        ("format", manifest.format, FORMAT),
        ("encoder", manifest.encoder, encoder.identity),
        ("text", manifest.text, TEXT),
    ):
        if found != expected:
            raise ArtefactError(
                f"{folder}: made with {what} {found!r}, this version needs {expected!r}; "
                "build it again with `qta index`"
            )
    build = folder / manifest.build
    for name in {*_FILES, *manifest.sha256}:
        if sha256(build / name) != manifest.sha256.get(name):
            raise ArtefactError(f"{build / name}: missing or damaged; build the index again with `qta index`")
    tools = store.ToolStore(build)
    dense = DenseIndex.load(build, codes=CODES in manifest.sha256)
    if not len(tools) == len(dense.vectors) == manifest.tools:
        raise ArtefactError(
            f"{folder}: holds {len(tools)} tools and {len(dense.vectors)} vectors, not {manifest.tools}"
        )
    return ToolIndex(tools.columns, tools, LexicalIndex.load(build), dense, Providers.load(build), manifest)


def read_manifest(folder: Path) -> IndexManifest:
    """Read an index folder's manifest.

    Raises:
        ArtefactError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        return IndexManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        unfinished = " (a build there was not finished: run it again)" if (folder / "building").exists() else ""
        raise ArtefactError(f"{folder}: no index{unfinished}; make one with `qta index TOOLS --out {folder}`") from None
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split("For further information")[0].split())
        raise ArtefactError(
            f"{path}: no manifest of an index ({reason}); build the index again with `qta index`"
        ) from None


def _write_build(
    toolset: Toolset, texts: list[str], vectors: Any, folder: Path, encoder: Encoder, revision: int
) -> IndexManifest:
    fingerprint = toolset.fingerprint()
    build = folder / f"{fingerprint[:12]}-{uuid.uuid4().hex[:6]}"
    build.mkdir()
    store.write_store(build, toolset)
    np.save(build / _HASHES, np.frombuffer(b"".join(text_hashes(texts)), np.uint8).reshape(len(texts), -1))
    LexicalIndex.build([lexical_text(tool) for tool in toolset]).save(build)
    Providers(toolset).save(build)
    dense = DenseIndex.build(vectors)
    files = [*store.FILES, _HASHES, *lexical.FILES, completion.FILE, *dense.save(build)]
    return IndexManifest(
        format=FORMAT,
        build=build.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint,
        tools=len(toolset),
        revision=revision,
        encoder=encoder.identity,
        text=TEXT,
        dense=dense.kind,
        sha256={name: sha256(build / name) for name in files},
        versions={library: version(library) for library in _LIBRARIES},
    )


def _known_vectors(folder: Path, encoder: Encoder) -> dict[bytes, Any]:
    """Return the vectors of the index that is being replaced, by text hash; none if they cannot be trusted."""
    try:
        manifest = read_manifest(folder)
        build = folder / manifest.build
        trusted = manifest.encoder == encoder.identity and all(
            sha256(build / name) == manifest.sha256.get(name) for name in (_HASHES, "vectors.npy")
        )
        if not trusted:
            return {}
        hashes = np.load(build / _HASHES)
        vectors = np.load(build / "vectors.npy").astype(np.float32)
        return {row.tobytes(): vector for row, vector in zip(hashes, vectors, strict=True)}
    except (ArtefactError, OSError, ValueError):
        return {}
