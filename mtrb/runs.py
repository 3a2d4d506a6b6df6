"""Run and qrels files in TREC's formats, so that any evaluator can score what this project retrieves."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtrb.errors import InputError
from mtrb.types import Qrels, Run, ScoredTool

_GRADE = re.compile(r"-?\d{1,4}")


def write_run(path: Path, run: Run, tag: str = "qta") -> None:
    """Write `query Q0 tool rank score tag`, one line a retrieved tool; an existing file is replaced as a whole.

    Other evaluators order equal scores by tool id, so a score that equals the one before it is written a little lower.
    """
    lines = (
        f"{query_id} Q0 {scored.tool_id} {rank} {score:.6f} {tag}\n"
        for query_id, ranking in run.items()
        for rank, (scored, score) in enumerate(zip(ranking, _falling(ranking), strict=True), start=1)
    )
    _replace(path, lines)


def _falling(ranking: Sequence[ScoredTool]) -> Iterator[float]:
    last = math.inf
    for scored in ranking:
        last = min(round(scored.score, 6), last - 1e-6)
        yield last


def read_run(path: Path) -> Run:
    """Read a run; rankings follow the score, equal scores the rank column.

    Raises:
        InputError: a line has not six columns, or a tool is retrieved twice for one query.
    """
    rows: dict[str, list[tuple[float, int, str]]] = {}
    for number, (query_id, _, tool_id, rank, score, _) in _rows(path, 6):
        try:
            if math.isnan(value := float(score)):
                raise ValueError
            rows.setdefault(query_id, []).append((-value, int(rank), tool_id))
        except ValueError:
            raise InputError(f"{path}, line {number}: rank {rank!r} or score {score!r} is no number") from None
    run = {}
    for query_id, ranking in rows.items():
        if len({tool_id for _, _, tool_id in ranking}) < len(ranking):
            raise InputError(f"{path}: a tool is retrieved twice for the query {query_id!r}")
        run[query_id] = [ScoredTool(tool_id, -negative) for negative, _, tool_id in sorted(ranking)]
    return run


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write `query 0 tool relevance`, one line a judged tool; an existing file is replaced as a whole."""
    _replace(path, (f"{q} 0 {tool} {relevance}\n" for q, golden in qrels.items() for tool, relevance in golden.items()))


def read_qrels(path: Path) -> Qrels:
    """Read qrels.

    Raises:
        InputError: a line has not four columns, a relevance is no whole number, or a tool is judged twice.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (query_id, _, tool_id, relevance) in _rows(path, 4):
        golden = qrels.setdefault(query_id, {})
        if tool_id in golden:
            raise InputError(f"{path}, line {number}: {tool_id!r} is judged twice for the query {query_id!r}")
        if not _GRADE.fullmatch(relevance):
            raise InputError(f"{path}, line {number}: relevance {relevance!r} is no whole number of up to four digits")
        golden[tool_id] = int(relevance)
    return qrels


def _rows(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            row = line.split()
            if len(row) != columns:
                raise InputError(f"{path}, line {number}: expected {columns} columns, found {len(row)}")
            yield number, row


def _replace(path: Path, lines: Iterator[str]) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    partial.replace(path)
