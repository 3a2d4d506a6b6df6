"""Make the encoder file that is served: our fine-tuned all-MiniLM-L6-v2 as one int8 ONNX graph of 23 MB.

    python -m qta.export.encoder --out qta/weights [--layers FILE]

How its vectors stay within cosine 0.999 (mean) of float32 is said in `qta.export.graph`; the ranges come from the
descriptions of the bundled sample.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from mtrb.formats import read_tools
from qta.encoder import WEIGHTS, EncoderManifest
from qta.export.graph import HEADS, LAYERS, MICROSOFT, Graph, Weights, measure_ranges
from qta.refusals import run_command
from qta.training.causal import encoder_folder
from qta.training.layers import ENCODER, encoder_weights

NAME = "qta-minilm-int8"
MAX_TOKENS = 128


def build_model(weights: Weights, ranges: Weights) -> Any:
    """Return the ONNX model: `input_ids` (1, tokens) to `embedding` (1, 384), mean-pooled, of length 1."""
    from onnx import TensorProto, helper

    graph = Graph(weights, ranges)
    graph.constant("first", np.array([0], np.int64))
    graph.constant("tokens", np.array([1], np.int64))
    # Every text is one segment, so its constant segment vector is added to the positions here.
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    positions = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS] + segment
    x = graph.embeddings(positions, "first", graph.op("Shape", ["input_ids"], "length", start=1, end=2))
    for number in range(LAYERS):
        product, bias = graph.query_key_value(x, number)
        parts = [f"layer{number}.{part}" for part in ("query", "key", "value")]
        graph.nodes.append(helper.make_node("Split", [product], parts, axis=-1, num_outputs=len(parts)))
        inputs = [*parts, bias]
        context = graph.op("MultiHeadAttention", inputs, f"layer{number}.context", MICROSOFT, num_heads=HEADS)
        x = graph.after_attention(context, x, number)
    mean = graph.op("ReduceMean", [x, "tokens"], "mean", keepdims=0)
    graph.op("LpNormalization", [mean], "embedding", axis=-1, p=2)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, graph.dimension])
    return graph.model(NAME, [ids], [embedding])


def _sample_ranges(weights: Weights) -> Weights:
    model, tokenizer = torch_encoder(weights)

    def batches() -> Iterator[Any]:
        for tool in read_tools(["sample:"]):
            yield tokenizer(tool.default_text(), truncation=True, max_length=MAX_TOKENS, return_tensors="pt")

    return measure_ranges(model, batches())


def torch_encoder(weights: Weights) -> tuple[Any, Any]:
    """Return the encoder as transformers' BertModel, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertModel

    model = BertModel(AutoConfig.from_pretrained(encoder_folder()), add_pooling_layer=False)
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise RuntimeError(f"the encoder's weights lack {missing[0]}")
    return model.eval(), AutoTokenizer.from_pretrained(encoder_folder())


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for encoder.onnx and its manifest.")
@click.option("--layers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Others than the shipped.")
def main(out: Path, layers: Path | None) -> None:
    """Build the file, and say how large and which it is."""
    import onnx

    weights = encoder_weights(layers or WEIGHTS / ENCODER)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(build_model(weights, _sample_ranges(weights)), out / "encoder.onnx")
    (out / "tokenizer.json").write_bytes((encoder_folder() / "tokenizer.json").read_bytes())
    hashes = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("encoder.onnx", "tokenizer.json")
    }
    dimension = int(weights["embeddings.word_embeddings.weight"].shape[1])
    manifest = EncoderManifest(NAME, dimension, MAX_TOKENS, hashes)
    (out / "encoder.json").write_text(json.dumps(vars(manifest), indent=2) + "\n", "utf-8")
    size = (out / "encoder.onnx").stat().st_size / 1e6
    click.echo(f"{out / 'encoder.onnx'}: {size:.1f} MB, sha256 {hashes['encoder.onnx']}")


if __name__ == "__main__":
    run_command(main)
