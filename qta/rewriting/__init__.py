"""Rewrite requests with a language model that is shown a few tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mtrb.errors import ArtefactError, InputError
from qta.encoder import WEIGHTS, Encoder
from qta.lesson import UNTAUGHT, Lesson
from qta.rewriting.generator import Decoding, Generator
from qta.rewriting.manifest import RewriterManifest, current_build
from qta.rewriting.rewriter import ToolRewriter

__all__ = ["Opened", "RewriterChoice", "open_rewriter"]


class Opened(NamedTuple):
    """A rewriter, unless a folder was made without one, and what the examples that it was aligned with teach beside."""

    rewriter: ToolRewriter | None
    lesson: Lesson = UNTAUGHT


@dataclass(frozen=True)
class RewriterChoice:
    """Say which rewriter is wanted.

    Attributes:
        where: `default` for the one that comes with the package, a folder that `qta train` made, or the base URL of an
            OpenAI-compatible endpoint.
        model: the endpoint's model.
        key: the endpoint's key.
        timeout: seconds that a request waits for its rewrite at most.
    """

    where: str = "default"
    model: str = ""
    key: str | None = None
    timeout: float | None = None

    def open(self) -> Opened:
        """Open it, and what was learnt with it.

        Raises:
            InputError: an endpoint without a model.
            ArtefactError: a folder that holds nothing usable, or what was learnt with another retriever.
        """
        if self.where == "default":
            return _open(WEIGHTS, self.timeout)
        if not self.where.startswith(("http://", "https://")):
            encoder = Encoder()
            opened = _open(Path(self.where), self.timeout, encoder.identity)
            if not opened.lesson.fits(encoder.manifest.dimension):
                raise ArtefactError(f"{self.where}: its lesson has vectors of another length; train it again")
            return opened
        if not self.model:
            raise InputError(f"the endpoint {self.where} needs the name of its model")
        from qta.rewriting.endpoint import EndpointGenerator

        return Opened(ToolRewriter(EndpointGenerator(self.where, self.model, self.key), timeout=self.timeout))


def open_rewriter(folder: Path, retriever: str | None = None) -> ToolRewriter:
    """Open the rewriter of a folder by itself; with `retriever`, one that was aligned with it or with none.

    Raises:
        ArtefactError: it is absent, damaged, or its adapter belongs to another base.
        MissingDependencyError: its base needs transformers, which is not installed.
    """
    rewriter = _open(folder, retriever=retriever).rewriter
    if rewriter is None:
        raise ArtefactError(f"{folder}: `qta train examples` made it, without a rewriter; `qta train dpo` aligns one")
    return rewriter


def _open(folder: Path, timeout: float | None = None, retriever: str | None = None) -> Opened:
    build = current_build(folder)
    manifest = RewriterManifest.read(build)
    if retriever is not None and manifest.retriever not in ("", retriever):
        raise ArtefactError(
            f"{build}: aligned with the retriever {manifest.retriever}, but {retriever} ranks here; train it again, or "
            "use the version that made it"
        )
    if manifest.kind == "none":
        return Opened(None, manifest.taught)
    decoding = Decoding(max_new_tokens=manifest.max_new_tokens, no_repeat=manifest.no_repeat)
    return Opened(ToolRewriter(_generator(build, manifest), manifest.read_prompt(), decoding, timeout), manifest.taught)


def _generator(build: Path, manifest: RewriterManifest) -> Generator:
    if manifest.kind == "small":
        from qta.rewriting.small import SmallGenerator

        return SmallGenerator(build if manifest.aligned else _same_base(build, manifest))
    from qta.rewriting.local import CausalGenerator, fingerprint, load_model

    model, tokenizer = load_model(manifest.base)
    if (found := fingerprint(model)) != manifest.fingerprint:
        raise ArtefactError(
            f"{build}: an adapter of the base {manifest.base!r} with fingerprint {manifest.fingerprint}, but the base "
            f"there has {found}; get the base that it was trained on, or train it again"
        )
    if not manifest.aligned:
        return CausalGenerator(model, tokenizer)
    return CausalGenerator.adapted(model, tokenizer, build / "adapter")


def _same_base(build: Path, manifest: RewriterManifest) -> Path:
    """Return where our own base is, if it is still the one that the adapter was trained on."""
    if (found := RewriterManifest.read(WEIGHTS).fingerprint) != manifest.fingerprint:
        raise ArtefactError(
            f"{build}: served by our own base with fingerprint {manifest.fingerprint}, but this version's has {found}; "
            "train it again, or use the version that made it"
        )
    return WEIGHTS
