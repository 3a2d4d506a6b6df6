"""What `benchmarks.evidence` measured as tables and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Pair = Mapping[str, float]


def _pair(figures: Pair) -> str:
    return " / ".join(f"{value:.2f}" for value in figures.values())


def _grid(rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    return [*lines, *(f"| {name} | {' | '.join(row.get(one, '') for one in columns)} |" for name, row in rows.items())]


def _added(figures: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | against | qta | other | p | first five changed |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for dataset, found in figures.items():
        lines += [
            f"| {dataset} | {name} | {_pair(found['qta'])} | {_pair({k: other[k] for k in found['qta']})} | "
            f"{' / '.join(f'{p:.4f}' for p in other['p'].values())} | {100 * other['changed_top5']:.0f} % |"
            for name, other in found["against"].items()
        ]
    return lines


def _chosen(figures: Mapping[str, Any]) -> list[str]:
    lines = ["| | prior | partners | steps trusted | gate |", "|---|---|---|---|---|"]
    for dataset, found in figures.items():
        columns = ("prior", "partners", "trusted", "gate")
        values = (", ".join(_said(one[column]) for one in found["chosen"]) for column in columns)
        lines.append(f"| {dataset} | {' | '.join(values)} |")
    return lines


def _said(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    ablation: dict[str, dict[str, str]] = {}
    for dataset, rows in figures["ablation"].items():
        for name, pair in rows.items():
            ablation.setdefault(name, {})[dataset] = _pair(pair)
    transfer = {name: {to: _pair(pair) for to, pair in row.items()} for name, row in figures["transfer"].items()}
    curve = {
        f"{row['examples']}": {
            name: _pair(value) if isinstance(value, dict) else f"{value}"
            for name, value in row.items()
            if name != "examples"
        }
        for row in figures["curve"]
    }
    parts = [
        "Sufficiency@5 / @10 in per cent on the test requests; means over three seeds, for MetaTool over five draws of "
        f"ten examples. Made by `{figures['command']}` after `make rewriters`.",
        "## What the rewriter adds",
        "p of a paired randomisation test, two-sided, for Sufficiency@5 / @10. A list is changed when its first five "
        "tools are not the same ones.",
        "\n".join(_added(figures["added"])),
        "What leave-one-out chose, and what the gate said, for each seed or draw:",
        "\n".join(_chosen(figures["added"])),
        "## One stage off",
        "\n".join(_grid(ablation)),
        "## Over the number of annotated examples",
        "RestBench, means over three draws; with none, `qta` is the unaligned rewriter and `usage-prior` is `minilm`. "
        "`rejected` counts the rewriters that the gate kept out; below four examples there is no gate.",
        "\n".join(_grid(curve)),
        "![curve](curve.png)",
        "## Transfer",
        "Rows: what the rewriter was aligned on, whatever its gate said; columns: where it is used, with nothing else "
        "learnt.",
        "\n".join(_grid(transfer)),
        "## Ranking functions",
        "Examples that rewriters had not seen (the gate's halves): mean of Sufficiency@5 and @10 and mean log rank of "
        "the worst golden tool, before and after; and the sample's validation requests.",
        "\n".join(_grid({name: _ranked(row) for name, row in figures["ranking_functions"].items()})),
        "## Rewrites that help, and that harm",
        "Ranks of the golden tools without the rewrite and with it, five that help most and five that harm most, by "
        "rewriters that had not seen the request (seed 0), their steps trusted where leave-one-out says so.",
        *(part for name, found in figures["rewrites"].items() for part in (f"### {name}", "\n".join(_shifts(found)))),
    ]
    return "\n\n".join(parts) + "\n"


def _shifts(found: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| request | rewrite | before | after |", "|---|---|---|---|"]
    for one in found:
        texts = (one[name].replace("|", "/").replace("\n", " ") for name in ("request", "rewrite"))
        ranks = (", ".join(map(str, one[name])) for name in ("before", "after"))
        lines.append(f"| {' | '.join([*texts, *ranks])} |")
    return lines


def _ranked(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {}
    for name, value in row.items():
        if "verdict" in value:
            sides = (value["before"], value["after"])
            cells[name] = " to ".join(f"{100 * one['sufficiency']:.1f}, {one['log_rank']:.2f}" for one in sides)
        else:
            cells[name] = _pair(value)
    return cells


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw Sufficiency over the number of annotated examples, a line a system."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axis, measure in zip(axes, ("Sufficiency@5", "Sufficiency@10"), strict=True):
        for name in ("qta", "qta-no-rewrite", "usage-prior"):
            axis.plot([row["examples"] for row in rows], [row[name][measure] for row in rows], marker="o", label=name)
        axis.set(title=measure, xlabel="annotated examples", xticks=[row["examples"] for row in rows])
        axis.grid(alpha=0.3)
    axes[0].set_ylim(bottom=0)  # of both, once all lines are drawn
    axes[0].set_ylabel("RestBench, %")
    axes[0].legend()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
