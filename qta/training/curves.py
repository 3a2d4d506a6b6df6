"""The log of an alignment as CSV and as a picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLUMNS = ("round", "step", "loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")


def write_curves(folder: Path, logs: Sequence[Sequence[Mapping[str, float]]], statistics: Mapping[str, Any]) -> None:
    """Write `log.csv`, a line a step, and `curves.png`: loss and margin over steps, mean scores over rounds."""
    rows = [{"round": number, **entry} for number, log in enumerate(logs, start=1) for entry in log]
    for step, row in enumerate(rows, start=1):
        row["step"] = step
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    _plot(folder / "curves.png", rows, statistics["rounds"])


def _plot(path: Path, rows: Sequence[Mapping[str, float]], rounds: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    steps = [row["step"] for row in rows]
    for name in ("loss", "rewards/margins", "rewards/accuracies"):
        left.plot(steps, [row.get(name, float("nan")) for row in rows], label=name)
    left.set(title="DPO", xlabel="step")
    left.legend()
    numbers = range(1, len(rounds) + 1)
    for name, label in (
        ("mean_score_of_requests", "requests as they are"),
        ("mean_score_of_rewrites", "sampled rewrites, mean"),
        ("mean_best_score", "best rewrite"),
    ):
        right.plot(numbers, [one[name] for one in rounds], marker="o", label=label)
    right.set(title="score of the training requests", xlabel="round", xticks=list(numbers))
    right.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
