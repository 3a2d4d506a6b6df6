"""Rewrite requests with a language model that is shown a few tools."""

from dataclasses import dataclass
from pathlib import Path

from mtrb.errors import ArtefactError, InputError
from qta.encoder import WEIGHTS, Encoder
from qta.rewriting.generator import Decoding, Generator
from qta.rewriting.manifest import RewriterManifest, current_build
from qta.rewriting.rewriter import ToolRewriter

__all__ = ["RewriterChoice", "open_rewriter"]


@dataclass(frozen=True)
class RewriterChoice:
    """Say which rewriter is wanted.

    Attributes:
        where: `default` for the one that comes with the package, a folder that `qta train dpo` made, or the base URL
            of an OpenAI-compatible endpoint.
        model: the endpoint's model.
        key: the endpoint's key.
        timeout: seconds that a request waits for its rewrite at most.
    """

    where: str = "default"
    model: str = ""
    key: str | None = None
    timeout: float | None = None

    def open(self) -> ToolRewriter:
        """Open it.

        Raises:
            InputError: an endpoint without a model.
            ArtefactError: a folder that holds no usable rewriter, or one that was aligned with another retriever.
        """
        if self.where == "default":
            return open_rewriter(WEIGHTS, self.timeout)
        if not self.where.startswith(("http://", "https://")):
            return open_rewriter(Path(self.where), self.timeout, Encoder().identity)
        if not self.model:
            raise InputError(f"the endpoint {self.where} needs the name of its model")
        from qta.rewriting.endpoint import EndpointGenerator

        return ToolRewriter(EndpointGenerator(self.where, self.model, self.key), timeout=self.timeout)


def open_rewriter(folder: Path, timeout: float | None = None, retriever: str | None = None) -> ToolRewriter:
    """Open a rewriter folder; with `retriever`, one that was aligned with it or with none.

    Raises:
        ArtefactError: it is absent, damaged, or its adapter belongs to another base.
        MissingDependencyError: its base needs transformers, which is not installed.
    """
    build = current_build(folder)
    manifest = RewriterManifest.read(build)
    if retriever is not None and manifest.retriever not in ("", retriever):
        raise ArtefactError(
            f"{build}: aligned with the retriever {manifest.retriever}, but {retriever} ranks here; train it again, or "
            "use the version that made it"
        )
    decoding = Decoding(max_new_tokens=manifest.max_new_tokens, no_repeat=manifest.no_repeat)
    return ToolRewriter(_generator(build, manifest), manifest.read_prompt(), decoding, timeout, manifest.rule)


def _generator(build: Path, manifest: RewriterManifest) -> Generator:
    if manifest.kind == "small":
        from qta.rewriting.small import SmallGenerator

        return SmallGenerator(build)
    from qta.rewriting.local import CausalGenerator, fingerprint, load_model

    model, tokenizer = load_model(manifest.base)
    if (found := fingerprint(model)) != manifest.fingerprint:
        raise ArtefactError(
            f"{build}: an adapter of the base {manifest.base!r} with fingerprint {manifest.fingerprint}, but the base "
            f"there has {found}; get the base that it was trained on, or train it again"
        )
    generator: Generator = CausalGenerator.adapted(model, tokenizer, build / "adapter")
    return generator
