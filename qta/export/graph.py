"""An ONNX graph of int8 transformer layers, as the encoder and the rewriter share them.

Weights are int8 per output channel, activations int8 per token, computed at run time. Two steps keep the outputs close
to float32:

1. Before each linear layer the activations' channels are divided, and the weight's rows multiplied, by fixed factors
   that even out their ranges (SmoothQuant, arXiv 2211.10438, alpha 0.55), rounded to half powers of two, so that every
   machine writes the same file.
2. Each token's activations are scaled by that token's own largest value, so outliers of one token cost no other token
   its precision, and an output never depends on what else is in the batch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADS, LAYERS = 12, 6
MICROSOFT = "com.microsoft"  # operators of ONNX Runtime

_ALPHA = 0.55
_GELU_MINIMUM = 0.17  # gelu never falls below -0.17; shifted by it, its outputs use all 256 steps
_EPSILON = 1e-12

Array = NDArray[np.float32]
Weights = dict[str, Array]


class Graph:
    """Collect nodes and constants of an ONNX graph; every method returns the name of what it adds."""

    def __init__(self, weights: Weights, ranges: Weights) -> None:
        """Take a BERT's weights, and each linear layer's largest inputs by channel."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.weights = weights
        self._ranges = ranges
        for name, value in {
            "last": np.array([-1], np.int64),
            "gelu.minimum": np.float32(_GELU_MINIMUM),
            "step.signed": np.float32(1 / 127),
            "zero.signed": np.uint8(128),
            "step.unsigned": np.float32(1 / 255),
            "zero.unsigned": np.uint8(0),
        }.items():
            self.constant(name, value)

    @property
    def dimension(self) -> int:
        """Return the width of the model."""
        return int(self.weights["embeddings.word_embeddings.weight"].shape[1])

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
        weight = np.concatenate([self.weights[f"{layer}.weight"].T for layer in layers], axis=1)
        bias = np.concatenate([self.weights[f"{layer}.bias"] for layer in layers])
        smooth = _smoothing(self._ranges[layers[0]], weight)
        weight = weight * smooth[:, None]
        scale = np.abs(weight).max(axis=0) / np.float32(127)
        quantised = np.rint(weight / scale).astype(np.int8)
        if after_gelu:
            x = self.op("Add", [x, "gelu.minimum"], f"{output}.shifted")
            bias = bias - _GELU_MINIMUM * ((1 / smooth)[:, None] * quantised * scale).sum(axis=0)
        x = self.op("Mul", [x, self.constant(f"{output}.smooth", (1 / smooth).astype(np.float32))], f"{output}.even")
        weight_name = self.constant(f"{output}.weight", quantised)
        product = self.product(x, weight_name, self.constant(f"{output}.scale", scale), output, after_gelu)
        return product, self.constant(f"{output}.bias", bias.astype(np.float32))

    def product(self, x: str, weight: str, scale: str, output: str, positive: bool = False) -> str:
        """Add the product of x, quantised by token, and an int8 weight with a scale a column."""
        peak = x if positive else self.op("Abs", [x], f"{output}.abs")
        peak = self.op("ReduceMax", [peak, "last"], f"{output}.peak", keepdims=1)
        x = self.op("Div", [x, peak], f"{output}.unit")
        step, zero = ("step.unsigned", "zero.unsigned") if positive else ("step.signed", "zero.signed")
        x = self.op("QuantizeLinear", [x, step, zero], f"{output}.int8")
        x = self.op("MatMulIntegerToFloat", [x, weight, step, scale, zero], f"{output}.product", MICROSOFT)
        return self.op("Mul", [x, peak], output)

    def norm(self, product: tuple[str, str], residual: str, layer: str, output: str) -> str:
        """Add bias, residual and layer normalisation."""
        # Measured: these three nodes take half the time of ONNX Runtime's fused SkipLayerNormalization.
        biased = self.op("Add", list(product), f"{output}.biased")
        total = self.op("Add", [biased, residual], f"{output}.sum")
        return self._normalised(total, layer, output)

    def embeddings(self, positions: Array, start: str, end: str) -> str:
        """Add word (int8 with a scale a row) and position embeddings, from a position to another, normalised."""
        from onnx import TensorProto

        words = self.weights["embeddings.word_embeddings.weight"]
        scale = np.maximum(np.abs(words).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        self.constant("words", np.rint(words / scale).astype(np.int8))
        self.constant("words.scale", scale)
        self.constant("positions", positions)
        self.constant("rows", np.array([0], np.int64))
        word = self.op(
            "Cast", [self.op("Gather", ["words", "input_ids"], "word.int8")], "word.float", to=TensorProto.FLOAT
        )
        word = self.op("Mul", [word, self.op("Gather", ["words.scale", "input_ids"], "word.scale")], "word")
        position = self.op("Slice", ["positions", start, end, "rows"], "position")
        return self._normalised(self.op("Add", [word, position], "embedding.sum"), "embeddings.LayerNorm", "embedded")

    def query_key_value(self, x: str, number: int) -> tuple[str, str]:
        """Add a layer's three projections side by side; return them and their bias."""
        at = f"encoder.layer.{number}.attention.self"
        return self.linear(x, [f"{at}.{part}" for part in ("query", "key", "value")], f"layer{number}.qkv")

    def after_attention(self, context: str, x: str, number: int) -> str:
        """Add what follows a layer's attention: projection, feed-forward, each with residual and normalisation."""
        at, name = f"encoder.layer.{number}", f"layer{number}"
        attended = self.linear(context, [f"{at}.attention.output.dense"], f"{name}.attended")
        x = self.norm(attended, x, f"{at}.attention.output.LayerNorm", f"{name}.middle")
        wide, bias = self.linear(x, [f"{at}.intermediate.dense"], f"{name}.wide")
        gelu = self.op("BiasGelu", [wide, bias], f"{name}.gelu", MICROSOFT)
        narrow = self.linear(gelu, [f"{at}.output.dense"], f"{name}.narrow", after_gelu=True)
        return self.norm(narrow, x, f"{at}.output.LayerNorm", f"{name}.output")

    def model(self, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """Return the graph as an ONNX model."""
        from onnx import helper

        proto = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 19), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(proto, opset_imports=opsets, ir_version=10, producer_name="qta")

    def _normalised(self, x: str, layer: str, output: str) -> str:
        gamma = self.constant(f"{output}.gamma", self.weights[f"{layer}.weight"])
        beta = self.constant(f"{output}.beta", self.weights[f"{layer}.bias"])
        return self.op("LayerNormalization", [x, gamma, beta], output, epsilon=_EPSILON, axis=-1)


def measure_ranges(model: Any, batches: Any) -> Weights:
    """Return each linear layer's largest absolute input by channel, over batches of a torch model's inputs."""
    import torch

    ranges: Weights = {}

    def watch(name: str) -> Any:
        def note(_: Any, inputs: tuple[Any, ...]) -> None:
            peaks = inputs[0].abs().amax(dim=(0, 1)).numpy()
            ranges[name] = np.maximum(ranges.get(name, peaks), peaks)

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    for hook in hooks:
        hook.remove()
    return ranges


def _smoothing(peaks: Array, weight: Array) -> Array:
    log_activation = np.log2(np.maximum(peaks, 1e-4))
    log_weight = np.log2(np.maximum(np.abs(weight).max(axis=1), 1e-4))
    log_factor = _ALPHA * log_activation - (1 - _ALPHA) * log_weight
    factor: Array = np.exp2(np.rint(2 * log_factor) / 2).astype(np.float32)
    return factor
