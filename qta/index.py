"""The index: a folder with a manifest, built beside the old one and swapped in whole.

    DIR/manifest.json        names the build and the sha256 of its files; replaced atomically
    DIR/<build>/             tools, vectors, lexical index
    DIR/building/            the checkpoint of an unfinished build

A reader follows the manifest, so at every moment it finds the old index or the new one.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from mtrb.errors import ArtefactError, InputError
from mtrb.types import Tool, Toolset
from qta import lexical, store
from qta.dense import DenseIndex
from qta.embeddings import Checkpoint, embed, text_hashes
from qta.encoder import Encoder
from qta.lexical import LexicalIndex, lexical_text

FORMAT = 1
TEXT = "name as words: description"
"""What is embedded (`Tool.default_text`); changes whenever that does, so that old vectors are not mixed with new."""

_HASHES = "texts.npy"
_LIBRARIES = ("numpy", "faiss-cpu", "bm25s", "onnxruntime", "tokenizers")

Advance = Callable[[int], object]


@dataclass(frozen=True)
class IndexManifest:
    """Describe an index folder; everything a reader must agree with."""

    format: int
    build: str
    created: str
    fingerprint: str
    tools: int
    encoder: str
    text: str
    dense: str
    sha256: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class ToolIndex:
    """A catalogue made searchable: tools, lexical and dense index, all in catalogue order."""

    ids: list[str]
    names: list[str]
    tools: Sequence[Tool]
    lexical: LexicalIndex
    dense: DenseIndex
    manifest: IndexManifest | None = None

    def tool(self, tool_id: str) -> Tool:
        """Return a tool by its id.

        Raises:
            KeyError: there is none.
        """
        return self.tools[self._positions[tool_id]]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {tool_id: position for position, tool_id in enumerate(self.ids)}


def build_in_memory(toolset: Toolset, encoder: Encoder, advance: Advance = lambda _: None) -> ToolIndex:
    """Index a catalogue without writing anything."""
    vectors = embed([tool.default_text() for tool in toolset], encoder, {}, advance=advance)
    words = LexicalIndex.build([lexical_text(tool) for tool in toolset])
    return ToolIndex(toolset.ids, [tool.name for tool in toolset], toolset, words, DenseIndex.build(vectors))


def build_index(toolset: Toolset, folder: Path, encoder: Encoder, advance: Advance = lambda _: None) -> IndexManifest:
    """Build the index of a catalogue into a folder, replacing the one that is there.

    Vectors of unchanged tools are taken over, and a build that was killed continues where it was.

    Raises:
        InputError: the catalogue is empty, or the folder holds something else.
        ArtefactError: another process is building there.
    """
    if not len(toolset):
        raise InputError("there is no tool to index")
    manifest_path = folder / "manifest.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the index")
    if (
        folder.is_dir()
        and not manifest_path.exists()
        and any(p.name not in (".lock", "building") for p in folder.iterdir())
    ):
        raise InputError(f"{folder} is not empty and holds no index; name another folder")
    checkpoint_folder = folder / "building"
    checkpoint_folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            texts = [tool.default_text() for tool in toolset]
            vectors = embed(
                texts, encoder, _known_vectors(folder, encoder), Checkpoint(checkpoint_folder, encoder), advance
            )
            manifest = _write_build(toolset, texts, vectors, folder, encoder)
            _replace(manifest_path, json.dumps(asdict(manifest), indent=2) + "\n")
            for path in folder.iterdir():
                if path.is_dir() and path.name != manifest.build:
                    shutil.rmtree(path)
    except Timeout:
        raise ArtefactError(
            f"{folder}: another process is building this index; wait for it, or name another folder"
        ) from None
    return manifest


def load_index(folder: Path, encoder: Encoder) -> ToolIndex:
    """Open an index, its large parts memory-mapped, after checking every file by hash.

    Raises:
        ArtefactError: there is none, it is damaged, or it was made with another encoder or format.
    """
    manifest = read_manifest(folder)
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
    for name, expected_hash in manifest.sha256.items():
        if _sha256(build / name) != expected_hash:
            raise ArtefactError(f"{build / name}: missing or damaged; build the index again with `qta index`")
    tools = store.ToolStore(build)
    dense = DenseIndex.load(build)
    if not len(tools) == len(dense.vectors) == manifest.tools:
        raise ArtefactError(
            f"{folder}: holds {len(tools)} tools and {len(dense.vectors)} vectors, not {manifest.tools}"
        )
    return ToolIndex(tools.ids, tools.names, tools, LexicalIndex.load(build), dense, manifest)


def read_manifest(folder: Path) -> IndexManifest:
    """Read an index folder's manifest.

    Raises:
        ArtefactError: there is none, or it is not one of ours.
    """
    path = folder / "manifest.json"
    try:
        return IndexManifest(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        unfinished = " (a build there was not finished: run it again)" if (folder / "building").exists() else ""
        raise ArtefactError(f"{folder}: no index{unfinished}; make one with `qta index TOOLS --out {folder}`") from None
    except (OSError, ValueError, TypeError) as error:
        raise ArtefactError(
            f"{path}: no manifest of an index: {error}; build the index again with `qta index`"
        ) from None


def _write_build(toolset: Toolset, texts: list[str], vectors: Any, folder: Path, encoder: Encoder) -> IndexManifest:
    fingerprint = toolset.fingerprint()
    build = folder / f"{fingerprint[:12]}-{uuid.uuid4().hex[:6]}"
    build.mkdir()
    store.write_store(build, toolset)
    np.save(build / _HASHES, np.frombuffer(b"".join(text_hashes(texts)), np.uint8).reshape(len(texts), -1))
    LexicalIndex.build([lexical_text(tool) for tool in toolset]).save(build)
    dense = DenseIndex.build(vectors)
    files = [*store.FILES, _HASHES, *lexical.FILES, *dense.save(build)]
    return IndexManifest(
        format=FORMAT,
        build=build.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint,
        tools=len(toolset),
        encoder=encoder.identity,
        text=TEXT,
        dense=dense.kind,
        sha256={name: _sha256(build / name) for name in files},
        versions={library: version(library) for library in _LIBRARIES},
    )


def _known_vectors(folder: Path, encoder: Encoder) -> dict[bytes, Any]:
    """Return the vectors of the index that is being replaced, by text hash; none if they cannot be trusted."""
    try:
        manifest = read_manifest(folder)
        build = folder / manifest.build
        trusted = manifest.encoder == encoder.identity and all(
            _sha256(build / name) == manifest.sha256.get(name) for name in (_HASHES, "vectors.npy")
        )
        if not trusted:
            return {}
        hashes = np.load(build / _HASHES)
        vectors = np.load(build / "vectors.npy").astype(np.float32)
        return {row.tobytes(): vector for row, vector in zip(hashes, vectors, strict=True)}
    except (ArtefactError, OSError, ValueError):
        return {}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "absent"


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
