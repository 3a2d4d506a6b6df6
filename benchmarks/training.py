"""Measure DPO at this project's settings beside those of TRL's example script, on the same pairs and base.

    python -m benchmarks.training PAIRS [--base MODEL] [--out results]

PAIRS is the `pairs.jsonl` that `make train-dpo` leaves in its build. The example is the one in the head of TRL's
`trl/scripts/dpo.py`, with LoRA; both train for one pass over the pairs, in alternating turns.
"""

import json
import platform
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.published import publish
from qta.refusals import run_command
from qta.rewriting.local import DEFAULT_BASE
from qta.training.config import DPOSettings, LoraSettings
from qta.training.policy import Policy
from qta.training.preferences import PreferencePair

TURNS = 3
WAYS = {
    "this project": (LoraSettings(), DPOSettings()),
    "TRL's example": (
        LoraSettings(rank=32, alpha=16),
        DPOSettings(learning_rate=5e-6, batch=2, accumulation=8, likelihood=0.0),
    ),
}


def read_pairs(path: Path) -> list[PreferencePair]:
    """Return the pairs of a file, without the statistics that are its last line."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        PreferencePair(**{key: row[key] for key in row if key != "round"}) for row in rows if "statistics" not in row
    ]


def turn(base: str, pairs: list[PreferencePair], lora: LoraSettings, dpo: DPOSettings) -> dict[str, float]:
    """Train once from the base; return speed and memory."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    policy = Policy(base, lora, seed=0)
    policy.prefer(pairs, dpo, seed=0)
    speed = policy.speed
    return {
        "pairs/s": speed.pairs / speed.seconds,
        "tokens/s": speed.tokens / speed.seconds,
        "peak memory, MB": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else float("nan"),
    }


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(pairs: Path, base: str, out: Path) -> None:
    """Measure, print a table, and write it into the folder."""
    rows = read_pairs(pairs)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for number in range(TURNS + 1):
        for name, (lora, dpo) in WAYS.items():
            measured = turn(base, rows, lora, dpo)
            if number:  # the first only warms up
                taken[name].append(measured)
    figures: dict[str, dict[str, Any]] = {
        name: {key: round(statistics.median(one[key] for one in turns), 1) for key in turns[0]}
        for name, turns in taken.items()
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    ours, example = figures.values()
    lines = [f"| | {' | '.join(figures)} | ratio |", "|---|--:|--:|--:|"]
    lines += [f"| {key} | {ours[key]:,.1f} | {example[key]:,.1f} | {ours[key] / example[key]:.1f}x |" for key in ours]
    head = (
        f"DPO on {len(rows)} pairs of one alignment; {device}; medians of {TURNS} turns. Made by "
        "`python -m benchmarks.training PAIRS`, see there."
    )
    table = "\n".join([head, "", *lines, ""])
    content = {"command": "python -m benchmarks.training PAIRS", "device": device, "pairs": len(rows), "ways": figures}
    publish(out, "training", content, table)


if __name__ == "__main__":
    run_command(main)
