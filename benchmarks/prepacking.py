"""Decide whether sampling gains by packing prompts into one row instead of padding them (Prepacking).

    python -m benchmarks.prepacking [--out results] [--model DIR]

Prompts of very different lengths are read in one row with block-diagonal attention and positions that start anew (Zhao
et al. 2024, arXiv 2404.09529); their keys and values are then taken apart, repeated for each sample and continued. The
other way is what training does: prompts of like length together, padded on the left, each copied for all its samples.
Between the two: padded, but read once, and the cache copied.
Prompts are those of an alignment on RestBench's ten examples. Without --model it is our own base, and beside it a
random model of the Llama architecture and the size of Qwen3-0.6B, whose times are those of trained weights.
"""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from benchmarks.published import publish
from mtrb.benchmarks import load
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command
from qta.rewriting.local import DEFAULT_BASE, load_model
from qta.rewriting.prompt import Prompt

SAMPLES, NEW_TOKENS, ROUNDS = 64, 64, 5


def prompts(tokenizer: Any) -> list[list[int]]:
    """Return the prompts of RestBench's ten examples, of very different lengths: two to ten tools are shown."""
    bench = load("mtrb/restbench", "train")
    encoder = Encoder()
    retriever = HybridRetriever(build_in_memory(bench.toolset, encoder), encoder)
    found = []
    for number, query in enumerate(bench.queries):
        prompt = Prompt(tools=2 + 8 * number // (len(bench.queries) - 1))
        messages = prompt.messages(query.text, retriever.nearest(query.text, prompt.tools))
        found.append(tokenizer(messages[-1]["content"])["input_ids"][:-1])
    return found


def padded(model: Any, rows: list[list[int]], copies: int = SAMPLES) -> Any:
    """Return the cache of the prompts, each copied for all its samples, padded on the left."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows]).repeat_interleave(copies, 0)
    mask = _mask(rows, copies)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    on = model.device
    out = model(
        input_ids=ids.to(on), attention_mask=mask.to(on), position_ids=positions.to(on), use_cache=True, **_last(model)
    )
    return out.past_key_values


def shared(model: Any, rows: list[list[int]]) -> Any:
    """Return the same cache, padded too, but each prompt read once for all its samples."""
    cache = padded(model, rows, copies=1)
    cache.batch_repeat_interleave(SAMPLES)
    return cache


def _mask(rows: list[list[int]], copies: int = SAMPLES) -> Any:
    """Return which places of left-padded prompts hold a token, a row a copy."""
    longest = max(map(len, rows))
    places = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return places.repeat_interleave(copies, 0)


def packed(model: Any, rows: list[list[int]]) -> Any:
    """Return the same cache, read in one row."""
    from transformers import DynamicCache

    on, total, longest = model.device, sum(map(len, rows)), max(map(len, rows))
    block = torch.cat([torch.full((len(row),), number) for number, row in enumerate(rows)]).to(on)
    seen = (block[:, None] == block[None]) & torch.ones(total, total, dtype=torch.bool, device=on).tril()
    bias = torch.zeros(1, 1, total, total, dtype=model.dtype, device=on).masked_fill(
        ~seen, torch.finfo(model.dtype).min
    )
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(on)
    ids = torch.tensor([[token for row in rows for token in row]], device=on)
    out = model(input_ids=ids, attention_mask=bias, position_ids=positions, use_cache=True, **_last(model))
    ends = torch.tensor([len(row) for row in rows], device=on).cumsum(0)
    # Where each place of a left-padded row lies in the packed one; padding takes any, as it is masked.
    places = (ends[:, None] - longest + torch.arange(longest, device=on)[None]).clamp(min=0)
    cache = DynamicCache()
    for number, layer in enumerate(out.past_key_values.layers):
        apart = [
            part[0][:, places].transpose(0, 1).repeat_interleave(SAMPLES, 0) for part in (layer.keys, layer.values)
        ]
        cache.update(*apart, number)
    return cache


WAYS = {"padded copies": padded, "padded, read once": shared, "packed": packed}


def _last(model: Any) -> dict[str, Any]:
    """Return what keeps a model from scoring every token of a prompt, where it can be told."""
    return {"logits_to_keep": 1} if "logits_to_keep" in model.forward.__code__.co_varnames else {}


def continued(model: Any, rows: list[list[int]], cache: Any) -> None:
    """Draw the samples' tokens, one after the other."""
    on = model.device
    mask = _mask(rows).to(on)
    ids = torch.full((len(mask), 1), 1000, device=on)
    for _ in range(NEW_TOKENS):
        mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=mask.dtype, device=on)], 1)
        positions = (mask.sum(1, keepdim=True) - 1).clamp(max=511)
        out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        ids = torch.softmax(out.logits[:, -1].float(), -1).multinomial(1)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds and result of work on the device."""
    _wait()
    start = time.perf_counter()
    result = work()
    _wait()
    return 1000 * (time.perf_counter() - start), result


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.inference_mode()
def measure(model: Any, rows: list[list[int]]) -> dict[str, Any]:
    """Return the medians over alternating rounds, and how far the two caches are apart."""
    taken: dict[str, list[float]] = {}
    for turn in tqdm(range(ROUNDS + 1), desc="rounds"):
        caches = {}
        for name, read in WAYS.items():
            read_ms, caches[name] = timed(lambda read=read: read(model, rows))
            draw_ms, _ = timed(lambda cache=caches[name]: continued(model, rows, cache))
            if turn:  # the first only warms up
                taken.setdefault(f"{name}: prompts, ms", []).append(read_ms)
                taken.setdefault(f"{name}: samples, ms", []).append(draw_ms)
                taken.setdefault(f"{name}: all, ms", []).append(read_ms + draw_ms)
    return {name: round(statistics.median(times), 1) for name, times in taken.items()}


@torch.inference_mode()
def difference(model: Any, rows: list[list[int]]) -> float:
    """Return the largest difference of the keys of the two ways, relative to the largest key."""
    one, other = padded(model, rows), packed(model, rows)
    real = _mask(rows).bool().to(model.device)[:, None, :, None]
    gaps = [
        float(((a.keys - b.keys).abs() * real).max() / (a.keys.abs() * real).max())
        for a, b in zip(one.layers, other.layers, strict=True)
    ]
    return max(gaps)


def larger() -> Any:
    """Return a random model of the size of Qwen3-0.6B."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151_936,
        tie_word_embeddings=True,
    )
    on_gpu = torch.cuda.is_available()
    model = LlamaForCausalLM(config).to(torch.bfloat16 if on_gpu else torch.float32)
    return model.to("cuda" if on_gpu else "cpu").eval()


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="A causal language model instead.")
def main(out: Path, model: Path | None) -> None:
    """Measure, print a table, and write it into the folder."""
    ours, tokenizer = load_model(str(model) if model else DEFAULT_BASE)
    rows = prompts(tokenizer)
    models = {"our base": lambda: ours, "random, the size of Qwen3-0.6B": larger}
    figures: dict[str, Any] = {}
    for name, make in models.items() if model is None else {str(model): lambda: ours}.items():
        one = make()
        figures[name] = {**measure(one, rows), "largest difference of keys": round(difference(one, rows), 5)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    lengths = ", ".join(str(len(row)) for row in rows)
    head = (
        f"{len(rows)} prompts of {lengths} tokens, {SAMPLES} samples each of {NEW_TOKENS} tokens; {device}; medians of "
        f"{ROUNDS} alternating rounds. Made by `python -m benchmarks.prepacking`."
    )
    columns = list(figures)
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    lines += [f"| {row} | {' | '.join(str(figures[one][row]) for one in columns)} |" for row in figures[columns[0]]]
    table = "\n".join([head, "", *lines, ""])
    content = {"command": "python -m benchmarks.prepacking", "device": device, "tokens": lengths, "figures": figures}
    publish(out, "prepacking", content, table)


if __name__ == "__main__":
    run_command(main)
