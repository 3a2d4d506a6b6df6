"""Make the file a rewriter is served from: one int8 ONNX graph with key-value cache, of a model `qta.training` made.

python -m qta.export.rewriter --model DIR --out qta/weights
"""

from typing import Any

import numpy as np

from qta.export.graph import HEADS, LAYERS, MICROSOFT, Graph, Weights


def build_model(weights: Weights, ranges: Weights, output_bias: Any, positions: int) -> Any:
    """Return the ONNX model: the next-token scores of the last `scored` tokens, keys and values kept.

    Inputs are `input_ids` (1, tokens), `past` (how many tokens came before), `total` (past + tokens), `scored`, and
    for each layer `keys` and `values` (1, heads, positions, head size), which are written in place.
    """
    from onnx import TensorProto, helper

    graph = Graph(weights, ranges)
    head = graph.dimension // HEADS
    cache = [1, HEADS, positions, head]
    x = graph.embeddings(weights["embeddings.position_embeddings.weight"][:positions], "past", "total")
    graph.constant("one", np.array([1], np.int64))
    before = graph.op("Sub", ["total", "one"], "total.before")
    seen = graph.op("Cast", [before], "seen", to=TensorProto.INT32)
    total = graph.op("Cast", ["total"], "total.int32", to=TensorProto.INT32)
    inputs, outputs = [], []
    for number in range(LAYERS):
        name = f"layer{number}"
        query = graph.op("Add", list(graph.query_key_value(x, number)), f"{name}.projected")
        past = [f"{name}.keys", f"{name}.values"]
        present = [f"{name}.keys.out", f"{name}.values.out"]
        graph.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [query, "", "", *past, seen, total],
                [f"{name}.context", *present],
                domain=MICROSOFT,
                num_heads=HEADS,
                kv_num_heads=HEADS,
            )
        )
        inputs += [helper.make_tensor_value_info(one, TensorProto.FLOAT, cache) for one in past]
        outputs += [helper.make_tensor_value_info(one, TensorProto.FLOAT, cache) for one in present]
        x = graph.after_attention(f"{name}.context", x, number)
    graph.constant("end", np.array([np.iinfo(np.int64).max], np.int64))
    scored = graph.op("Slice", [x, graph.op("Neg", ["scored"], "scored.negative"), "end", "one"], "scored.states")
    # The output layer is the word embeddings, transposed when the file is opened: they are in it once.
    graph.op("Transpose", ["words"], "words.columns", perm=[1, 0])
    graph.op("Squeeze", ["words.scale", "last"], "words.columns.scale")
    product = graph.product(scored, "words.columns", "words.columns.scale", "output")
    graph.op("Add", [product, graph.constant("output.bias", output_bias)], "scores")
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    numbers = [helper.make_tensor_value_info(one, TensorProto.INT64, [1]) for one in ("past", "total", "scored")]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "scored_tokens", len(output_bias)])
    return graph.model("rewriter", [ids, *numbers, *inputs], [scores, *outputs])
