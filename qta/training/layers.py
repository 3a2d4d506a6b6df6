"""What is shipped of our trained models for training on: their layers in int8; the word embeddings are MiniLM's own.

    python -m qta.training.layers encoder MODEL [MODEL ...] --out qta/weights
    python -m qta.training.layers rewriter MODEL --out qta/weights
    python -m qta.training.layers generator MODEL --out generator

MODEL is the folder that `qta.training.encoder` or `qta.training.supervised` made, or a file that this has made. Of
several, which were trained from the same weights, the mean is taken (model soups, arXiv 2203.05482).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mtrb.errors import ArtefactError
from qta.encoder import WEIGHTS
from qta.refusals import run_command
from qta.training.causal import encoder_folder, tokenizer, untrained_model

ENCODER, REWRITER = "encoder.safetensors", "rewriter.safetensors"

_SHARED = ("word_embeddings", "lm_head.decoder", "position_ids", "pooler")  # MiniLM's, tied to it, or not in use

Arrays = dict[str, NDArray[Any]]


def _is_shared(name: str) -> bool:
    return any(shared in name for shared in _SHARED)


def compress(weights: Arrays) -> Arrays:
    """Return matrices as int8 with a float16 scale a row, everything else as float16."""
    compressed: Arrays = {}
    for name, value in weights.items():
        if _is_shared(name):
            continue
        if value.ndim < 2:
            compressed[name] = value.astype(np.float16)
            continue
        scale = (np.abs(value).max(axis=1, keepdims=True) / 127).astype(np.float16)
        steps = np.rint(value / np.maximum(scale.astype(np.float32), 1e-12))
        compressed[name], compressed[f"{name}.scale"] = steps.clip(-127, 127).astype(np.int8), scale
    return compressed


def expand(compressed: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return what `compress` was given, to its precision."""
    weights = {}
    for name, value in compressed.items():
        if not name.endswith(".scale"):
            scale = compressed.get(f"{name}.scale", np.float16(1))
            weights[name] = value.astype(np.float32) * scale.astype(np.float32)
    return weights


def load_rewriter(path: Path = WEIGHTS / REWRITER) -> tuple[Any, Any]:
    """Return our small rewriter as a causal language model, and its tokenizer.

    Raises:
        ArtefactError: the file is absent, damaged or of another architecture.
    """
    import torch

    model = untrained_model()
    weights = {name: torch.from_numpy(value) for name, value in _read(path).items()}
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise ArtefactError(f"{path}: holds {unknown[0]!r}, which the architecture does not have")
    model.tie_weights()
    return model.eval(), tokenizer()


def encoder_weights(path: Path = WEIGHTS / ENCODER) -> dict[str, NDArray[np.float32]]:
    """Return the weights of our encoder by the names of transformers' BertModel: MiniLM's, the trained layers replaced.

    Raises:
        ArtefactError: the file is absent or damaged.
    """
    from safetensors.numpy import load_file

    weights: dict[str, NDArray[np.float32]] = load_file(encoder_folder() / "model.safetensors")
    return weights | _read(path)


def float_encoder(max_tokens: int) -> Any:
    """Return our encoder in float32, for sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder_folder()), device="cpu")
    model.max_seq_length = max_tokens
    weights = {name: torch.from_numpy(value) for name, value in encoder_weights().items()}
    model[0].auto_model.load_state_dict(weights, strict=False)
    return model


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return expand(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: no trained layers: {str(error).splitlines()[0]}") from None


def mean(models: Sequence[Arrays]) -> Arrays:
    """Return the mean of the trained layers of models.

    Raises:
        ArtefactError: they do not have the same ones.
    """
    trained = [{name: value for name, value in model.items() if not _is_shared(name)} for model in models]
    shapes = [{name: value.shape for name, value in model.items()} for model in trained]
    for other in shapes[1:]:
        differing = sorted(name for name in {**shapes[0], **other} if shapes[0].get(name) != other.get(name))
        if differing:
            raise ArtefactError(f"models of one architecture have a mean; these differ in {differing[0]!r}")
    return {name: np.mean([model[name].astype(np.float32) for model in trained], axis=0) for name in shapes[0]}


def _trained(path: Path) -> Arrays:
    from safetensors.numpy import load_file

    return _read(path) if path.is_file() else load_file(path / "model.safetensors")


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("kind", type=click.Choice(["encoder", "rewriter", "generator"]))
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(kind: str, models: tuple[Path, ...], out: Path) -> None:
    """Compress a trained model, or the mean of several."""
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{kind}.safetensors"
    save_file(compress(mean([_trained(one) for one in models])), path)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
