"""Make the file our small rewriter is served from: one int8 ONNX graph with key-value cache, 24 MB.

python -m qta.export.rewriter --out qta/weights
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from mtrb.files import sha256
from mtrb.formats import read_tools
from qta.encoder import WEIGHTS
from qta.export.graph import HEADS, LAYERS, MICROSOFT, Graph, Weights, measure_ranges
from qta.refusals import run_command
from qta.rewriting.generator import Decoding
from qta.rewriting.manifest import RewriterManifest, describe_prompt
from qta.rewriting.prompt import Prompt
from qta.rewriting.small import FILE, POSITIONS, TOKENIZER

_PROMPTS, _STEPS = 24, 3  # texts that the ranges are measured on, and steps in each


def export(model: Any, tokenizer: Any, folder: Path) -> list[str]:
    """Write the files that `SmallGenerator` opens; return their names."""
    import onnx

    model = model.cpu().float().eval()
    state = {name.removeprefix("bert."): value.numpy() for name, value in model.state_dict().items()}
    peaks = measure_ranges(model, _texts(tokenizer))
    ranges = {name.removeprefix("bert."): value for name, value in peaks.items()}
    onnx.save(build_model(state, ranges, state["lm_head.bias"], POSITIONS), folder / FILE)
    if not (folder / TOKENIZER).exists():  # beside the encoder it is there already
        (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(pretty=True), "utf-8")
    return [FILE, TOKENIZER]


def _texts(tokenizer: Any) -> Iterator[Any]:
    """Yield prompts of the bundled sample's tools with steps behind them, as the model will see them."""
    prompt, tools = Prompt(), list(read_tools(["sample:"]))
    for start in range(0, _PROMPTS * prompt.tools, prompt.tools):
        shown = [tools[at % len(tools)] for at in range(start, start + prompt.tools)]
        messages = prompt.messages(shown[0].description, shown)
        steps = "; ".join(prompt.line(tool) for tool in shown[:_STEPS])
        conversation = [*messages, {"role": "assistant", "content": steps}]
        ids = tokenizer.apply_chat_template(conversation, return_dict=True, return_tensors="pt", truncation=True)
        yield {"input_ids": ids["input_ids"]}


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


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--layers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Others than the shipped.")
def main(out: Path, layers: Path | None) -> None:
    """Export a base with its manifest, and say how large its files are."""
    from qta.rewriting.local import DEFAULT_BASE, fingerprint
    from qta.training.layers import REWRITER, load_rewriter

    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_rewriter(layers or WEIGHTS / REWRITER)
    files = export(model, tokenizer, out)
    decoding = Decoding()
    RewriterManifest(
        kind="small",
        base=DEFAULT_BASE,
        fingerprint=fingerprint(model),
        **describe_prompt(Prompt()),
        max_new_tokens=decoding.max_new_tokens,
        no_repeat=decoding.no_repeat,
        retriever="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version(name) for name in ("torch", "onnx")},
        sha256={name: sha256(out / name) for name in files},
    ).write(out)
    for name in files:
        click.echo(f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
