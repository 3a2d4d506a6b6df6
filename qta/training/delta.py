"""What is shipped of our small base for training on: its layers in int8; the word embeddings are MiniLM's own.

    python -m qta.training.delta MODEL --out qta/weights/base.safetensors

`load` puts both together again, as a model folder that `AutoModelForCausalLM` reads.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mtrb.errors import ArtefactError
from qta.encoder import WEIGHTS
from qta.training.causal import tokenizer, untrained_model

FILE = "base.safetensors"

_SHARED = ("word_embeddings", "lm_head.decoder")  # MiniLM's, and the output layer that is tied to them


def compress(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return matrices as int8 with a float16 scale a row, everything else as float16."""
    compressed: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if any(shared in name for shared in _SHARED):
            continue
        if value.ndim < 2:
            compressed[name] = value.astype(np.float16)
            continue
        scale = (np.abs(value).max(axis=1, keepdims=True) / 127).astype(np.float16)
        compressed[name] = np.rint(value / np.maximum(scale.astype(np.float32), 1e-12)).clip(-127, 127).astype(np.int8)
        compressed[f"{name}.scale"] = scale
    return compressed


def expand(compressed: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return what `compress` was given, to its precision."""
    scales = {name for name in compressed if name.endswith(".scale")}
    return {
        name: value.astype(np.float32)
        * (compressed[f"{name}.scale"].astype(np.float32) if f"{name}.scale" in scales else np.float32(1))
        for name, value in compressed.items()
        if name not in scales
    }


def load(delta: Path) -> tuple[Any, Any]:
    """Return the model and its tokenizer.

    Raises:
        ArtefactError: the file is absent, damaged or of another architecture.
    """
    import torch
    from safetensors.numpy import load_file

    model = untrained_model()
    try:
        weights = {name: torch.from_numpy(value) for name, value in expand(load_file(delta)).items()}
        _, unexpected = model.load_state_dict(weights, strict=False)
    except Exception as error:  # safetensors raises its own
        raise ArtefactError(f"{delta}: no weights of a rewriter: {str(error).splitlines()[0]}") from None
    if unexpected:
        raise ArtefactError(f"{delta}: holds {unexpected[0]!r}, which the architecture does not have")
    model.tie_weights()
    return model.eval(), tokenizer()


def load_default() -> tuple[Any, Any]:
    """Return the base that comes with the package."""
    return load(WEIGHTS / FILE)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(model: Path, out: Path) -> None:
    """Compress a model that `qta.training.supervised` made."""
    from safetensors.numpy import save_file
    from transformers import AutoModelForCausalLM

    state = AutoModelForCausalLM.from_pretrained(model).state_dict()
    save_file(compress({name: value.float().numpy() for name, value in state.items()}), out)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
