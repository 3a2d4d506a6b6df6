"""The comparison of `benchmarks.peers` as tables and as a picture."""

from pathlib import Path
from typing import Any

_COLUMNS = (
    "| | Sufficiency@5, % | 1 caller, ms: median | 99th percentile | requests/s | 4 callers, ms: median "
    "| 99th percentile | requests/s | index, s | memory, MB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    sizes = " and ".join(f"{catalogue['tools']:,}" for catalogue in figures["catalogues"])
    embedding = " and ".join(f"{catalogue['embed_seconds']:.0f}" for catalogue in figures["catalogues"])
    named = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    head = (
        f"{sizes} tools: the bundled sample and operations of AWS and Google. Speed: {figures['requests']['speed']} "
        f"requests about AWS, medians of {figures['rounds']} rounds of {figures['seconds']:g} s in turn. Sufficiency: "
        f"the sample's {figures['requests']['sufficiency']} test requests. k = 5, no annotated examples. All in "
        "process, each in a process of its own, but for the row over HTTP; the callers run on the same cores. The "
        "peers' dense retrieval, and that of `qta, published MiniLM`, is all-MiniLM-L6-v2 as published, in "
        "sentence-transformers, with the same vectors for all; the other rows of qta are what is shipped, "
        "MiniLM fine-tuned, int8 in ONNX Runtime. The rewriter remembers what it has rewritten, and the requests come "
        "again and again; `make bench-rewriter` says what a new one takes. Index: from the tools' records until it can "
        "be asked, with the "
        f"{embedding} s that embedding the tools took, once, where a system was given those vectors. "
        "Memory of qta over HTTP is that of all workers, shared pages counted for each. "
        f"{figures['machine']}; {named}. Made by `{figures['command']}`."
    )
    return "\n".join([head, "", *(part for catalogue in figures["catalogues"] for part in _section(catalogue))])


def _section(catalogue: dict[str, Any]) -> list[str]:
    lines = [
        *(_row(name, row) for name, row in catalogue["systems"].items() if "not_measured" not in row),
        *(
            f"| {name} | not measured: {row['not_measured'].replace('|', '/')} |" + " |" * 8
            for name, row in catalogue["systems"].items()
            if "not_measured" in row
        ),
    ]
    return [f"## {catalogue['tools']:,} tools", "", _COLUMNS, *lines, ""]


def _row(name: str, row: dict[str, Any]) -> str:
    loads = [f"{load['median_ms']:.1f} | {load['p99_ms']:.1f} | {load['per_second']:.1f}" for load in _loads(row)]
    index = f"{row['index_seconds']:.0f}" if "index_seconds" in row else ""
    kind = "" if row["dense"] else " (words only)"
    return (
        f"| {name}{kind} | {100 * row['sufficiency']:.1f} | {' | '.join(loads)} | {index} | {row['resident_mb']:.0f} |"
    )


def _loads(row: dict[str, Any]) -> list[dict[str, float]]:
    return [row["callers_1"], row["callers_4"]]


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw median latency against Sufficiency, a panel a catalogue: up and to the left is better."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = figures["catalogues"]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.4 * len(panels), 4.6), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, catalogue in zip(axes.flat, panels, strict=True):
        for at, (name, row) in enumerate(catalogue["systems"].items()):
            if "not_measured" not in row:
                axis.scatter(
                    row["callers_1"]["median_ms"],
                    100 * row["sufficiency"],
                    color=f"C{at}",
                    marker="o" if row["dense"] else "s",
                    label=name if row["dense"] else f"{name} (words only)",
                    s=60,
                )
        axis.set(xscale="log", xlabel="median ms, one caller", title=f"{catalogue['tools']:,} tools")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes.flat[0].set_ylabel("Sufficiency@5, %")
    drawn = {mark.get_label(): mark for axis in axes.flat for mark in axis.collections}
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=2 * len(panels), fontsize="small")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
