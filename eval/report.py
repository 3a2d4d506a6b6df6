"""Rows of an evaluation, as JSON, as a Markdown table, on a terminal and as a plot."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from eval.evaluator import EvalResult
from eval.measures import Measure, Sufficiency
from eval.paper import paper_figures
from mtrb.types import Benchmark

_UNDATED = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""What a plot's file does not say of how it was made, so that equal plots are equal files."""

_PLOTTED = 20
"""The plot shows Sufficiency at 1 to 20."""


@dataclass(frozen=True)
class Row:
    """One system on one split of one dataset."""

    benchmark: Benchmark
    system: str
    seconds: float
    result: EvalResult
    measures: Sequence[Measure]
    p_values: Mapping[Measure, float] = field(default_factory=dict)
    chosen: Sequence[Mapping[str, Any]] = ()  # what a system chose from its examples, for each draw of them

    def to_json(self, per_query: bool = False) -> dict[str, Any]:
        """Return the row as plain JSON; shares, not per cent."""
        bench = self.benchmark
        estimates = {measure: self.result.estimate(measure) for measure in self.measures}
        row: dict[str, Any] = {
            "dataset": bench.dataset_id,
            "split": bench.split,
            "system": self.system,
            "queries": len(bench.queries),
            "tools": len(bench.toolset),
            "seconds": round(self.seconds, 3),
            "measures": {
                str(measure): {name: round(value, 4) for name, value in vars(estimate).items()}
                for measure, estimate in estimates.items()
            },
            "paper": paper_figures(bench.dataset_id, bench.split, self.system),
        }
        if self.p_values:
            row["p"] = {str(measure): round(p, 4) for measure, p in self.p_values.items()}
        if bench.groups:
            row["groups"] = self._by_group()
        if self.chosen:
            row["chosen"] = list(self.chosen)
        if bench.note:
            row["note"] = bench.note
        if per_query:
            row["per_query"] = {
                query.query_id: {str(measure): self.result.values[measure][query.query_id] for measure in self.measures}
                for query in bench.queries
            }
        return row

    def _by_group(self) -> dict[str, Any]:
        members: dict[str, list[str]] = {}
        for query_id, group in self.benchmark.groups.items():
            members.setdefault(group, []).append(query_id)
        return {
            group: {
                "queries": len(ids),
                **{
                    str(measure): round(sum(self.result.values[measure][query_id] for query_id in ids) / len(ids), 4)
                    for measure in self.measures
                },
            }
            for group, ids in sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
        }


class _Section(NamedTuple):
    """One table, and what stands above it."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Report:
    """All rows of one evaluation, and the datasets that were left out, with the reason."""

    rows: Sequence[Row]
    left_out: Mapping[str, str]
    command: str
    versions: Mapping[str, str]
    with_mean: bool = False  # add the means over the datasets, each counting the same

    def write_json(self, path: Path, per_query: bool = False) -> None:
        """Write the machine-readable form."""
        content: dict[str, Any] = {"rows": [row.to_json(per_query) for row in self.rows]}
        if self.with_mean:
            content["mean"] = {
                system: {str(measure): round(mean, 4) for measure, mean in means.items()}
                for system, means in self._means().items()
            }
        content |= {"left_out": dict(self.left_out), "versions": dict(self.versions), "command": self.command}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def markdown(self) -> str:
        """Return one table a dataset, in per cent with 95% intervals, the paper's figures beside ours."""
        parts = [f"Per cent; 95% bootstrap intervals in brackets. Made by `{self.command}`."]
        for section in self._sections(intervals=True):
            lines = [section.columns, ["---", *["--:"] * (len(section.columns) - 1)], *section.rows]
            table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
            parts += [f"## {section.title}", *filter(None, [section.note]), table]
        if self.left_out:
            reasons = "\n".join(f"- {dataset}: {reason}" for dataset, reason in self.left_out.items())
            parts += ["## Left out", reasons]
        return "\n\n".join(parts) + "\n"

    def print(self) -> None:
        """Show the tables on the terminal, and what was left out on stderr."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        console = Console()
        for section in self._sections(intervals=False):
            table = Table(title=section.title, caption=section.note, title_justify="left", box=SIMPLE_HEAD)
            table.caption_justify = "left"
            for number, column in enumerate(section.columns):
                table.add_column(column, justify="right" if number else "left", no_wrap=True)
            for cells in section.rows:
                table.add_row(*cells)
            # A terminal that is too narrow wraps the lines; rich alone would leave out figures.
            console.width = max(console.width, Console(width=1000).measure(table).maximum)
            console.print(table)
        for dataset, reason in self.left_out.items():
            Console(stderr=True).print(f"left out {dataset}: {reason}", soft_wrap=True, highlight=False, markup=False)

    def _sections(self, intervals: bool) -> Iterator[_Section]:
        measures = self.rows[0].measures
        for (dataset, split), rows in self._by_dataset().items():
            bench = rows[0].benchmark
            note = f"{len(bench.queries)} queries, {len(bench.toolset)} tools" + f"; {bench.note}" * bool(bench.note)
            columns = ["system", *map(str, measures), "paper S@5/S@10"]
            yield _Section(f"{dataset}, {split}", note, columns, [_cells(row, intervals) for row in rows])
            if bench.groups:
                yield _by_group(f"{dataset}, {split}", rows)
        if self.with_mean:
            means = [
                [system, *(f"{100 * mean:.2f}" for mean in means.values())] for system, means in self._means().items()
            ]
            note = f"{len(self._by_dataset())} datasets, each counting the same"
            yield _Section("mean", note, ["system", *map(str, measures)], means)

    def _means(self) -> dict[str, dict[Measure, float]]:
        """Return the means of the systems that ran on every dataset."""
        by_system: dict[str, list[Row]] = {}
        for row in self.rows:
            by_system.setdefault(row.system, []).append(row)
        datasets = len(self._by_dataset())
        return {
            system: {
                measure: sum(row.result.mean(measure) for row in rows) / datasets for measure in self.rows[0].measures
            }
            for system, rows in by_system.items()
            if len(rows) == datasets
        }

    def plot(self, path: Path) -> None:
        """Write a picture: Sufficiency over k, a panel a dataset, a line a system."""
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt

        panels = self._by_dataset()
        columns = min(len(panels), 2)
        lines = -(-len(panels) // columns)
        figure, axes = plt.subplots(
            lines, columns, figsize=(5.2 * columns, 3.9 * lines + 0.9), squeeze=False, sharey=True, layout="constrained"
        )
        looks = cycle(mpl.cycler(linestyle=["-", "--"]) * mpl.cycler(color=plt.cm.tab10.colors))
        styles = {system: next(looks) for system in dict.fromkeys(row.system for row in self.rows)}
        cutoffs = range(1, _PLOTTED + 1)
        for axis, ((dataset, split), rows) in zip(axes.flat, panels.items(), strict=False):
            for row in rows:
                shares = [100 * row.result.mean(Sufficiency @ k) for k in cutoffs]
                axis.plot(cutoffs, shares, label=row.system, marker=".", **styles[row.system])
            note = "\n(stand-in corpus)" if rows[0].benchmark.note else ""
            axis.set(title=f"{dataset}, {split}{note}", xlabel="k", xlim=(1, _PLOTTED), xticks=[1, 5, 10, 15, 20])
            axis.set(ylim=(0, 100))
            axis.grid(alpha=0.3)
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        for line in axes:
            line[0].set_ylabel("Sufficiency@k, %")
        drawn = {line.get_label(): line for axis in figure.axes for line in axis.get_lines()}
        figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, fontsize="small")
        path.parent.mkdir(parents=True, exist_ok=True)
        with plt.rc_context({"svg.hashsalt": "qta"}):
            figure.savefig(path, dpi=130, metadata=_UNDATED.get(path.suffix, {}))
        plt.close(figure)

    def _by_dataset(self) -> dict[tuple[str, str], list[Row]]:
        grouped: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            grouped.setdefault((row.benchmark.dataset_id, row.benchmark.split), []).append(row)
        return grouped


def plotted_measures() -> list[Measure]:
    """Return what a result must hold to be plotted."""
    return [Sufficiency @ k for k in range(1, _PLOTTED + 1)]


def _cells(row: Row, intervals: bool) -> list[str]:
    cells = [row.system]
    for measure in row.measures:
        estimate = row.result.estimate(measure)
        interval = f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if intervals else ""
        p = _p(row.p_values[measure]) if measure in row.p_values else ""
        cells.append(f"{100 * estimate.mean:.2f}{interval}{p}")
    paper = paper_figures(row.benchmark.dataset_id, row.benchmark.split, row.system)
    return [*cells, "/".join(f"{100 * value:.2f}" for value in paper.values()) if paper else ""]


def _p(value: float) -> str:
    return ", p<0.001" if value < 0.001 else f", p={value:.3f}"


def _by_group(title: str, rows: Sequence[Row]) -> _Section:
    groups = [row.to_json()["groups"] for row in rows]
    measure = str(rows[0].measures[0])
    columns = ["system", *(f"{name} ({values['queries']})" for name, values in groups[0].items())]
    cells = [
        [row.system, *(f"{100 * values[measure]:.1f}" for values in group.values())]
        for row, group in zip(rows, groups, strict=True)
    ]
    return _Section(f"{title}: {measure} by language (queries)", "", columns, cells)
