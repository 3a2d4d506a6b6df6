"""Calibrations of `qta.conformal` as files: made from annotated requests, read, and noticed when they change."""

import json
import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mtrb.errors import ArtefactError
from mtrb.files import replace_text
from mtrb.types import Benchmark, ScoredTool
from qta.catalogue import Catalogue
from qta.conformal import DEPTH, Calibration, Observed
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import HybridRetriever, Trace
from qta.lesson import UNTAUGHT, Lesson
from qta.pipeline import IdentityRewriter, Rewriter
from qta.rewriting.rewriter import CatalogueRewriter, ToolRewriter

FILE = "calibration.json"

IDENTITY = IdentityRewriter()

logger = logging.getLogger(__name__)


def observe(
    retriever: HybridRetriever,
    annotated: Benchmark,
    allowed: NDArray[np.bool_],
    rewriter: Rewriter = IDENTITY,
) -> list[Observed]:
    """Rank for annotated requests, as the service does with this rewriter."""
    places = {tool_id: at for at, tool_id in enumerate(retriever.index.ids) if allowed[at]}
    observed = []
    readings = retriever.read(rewriter.rewrite(annotated.queries))
    for query, reading in zip(annotated.queries, readings, strict=True):
        golden, trace, other = annotated.qrels[query.query_id], Trace(), Trace()
        ranking = retriever.rank(reading, DEPTH, allowed, trace)
        without = allowed.copy()
        without[[places[tool_id] for tool_id in golden]] = False
        retriever.rank(reading, 1, without, other)
        nearest = trace.nearest if reading.understood else None
        others = other.nearest if reading.understood and without.any() else None
        observed.append(Observed([one.score for one in ranking], _last(ranking, golden), nearest, others))
    return observed


def _last(ranking: Sequence[ScoredTool], golden: Iterable[str]) -> int:
    ranks = {scored.tool_id: rank for rank, scored in enumerate(ranking, start=1)}
    return max(ranks.get(tool_id, DEPTH + 1) for tool_id in golden)


def calibrate_catalogue(
    catalogue: Catalogue,
    encoder: Encoder,
    annotated: Benchmark,
    coverage: float,
    rewriter: ToolRewriter | None = None,
    lesson: Lesson = UNTAUGHT,
) -> Calibration:
    """Calibrate on annotated requests to a living catalogue, ranked with this rewriter and lesson.

    Raises:
        InputError: they are too few, or too many of them are not answered in any length.
    """
    now = catalogue.now
    retriever = HybridRetriever(now, encoder, lesson.stages(now.position))
    rewriting = CatalogueRewriter(rewriter, HybridRetriever(now, encoder), now.alive) if rewriter else IDENTITY
    observed = observe(retriever, annotated, now.alive, rewriting)
    calibration = Calibration.of(observed, coverage, encoder.identity, {})
    sizes = [calibration.size(one.scores) for one in observed]
    about = {
        "command": "qta calibrate",
        "requests": len(observed),
        "catalogue": {"tools": int(now.alive.sum()), "revision": now.revision},
        "tools_in_an_answer": {
            "mean": round(statistics.mean(sizes), 1),
            "median": statistics.median(sizes),
            "most": max(sizes),
        },
    }
    return calibration.model_copy(update={"about": about})


@dataclass
class Calibrations:
    """The calibration of an index folder, its own or else the shipped one; a new one is noticed.

    Raises:
        ArtefactError: it is damaged, or was made with another encoder.
    """

    folder: Path | None
    encoder: str

    def __post_init__(self) -> None:
        self._own = self.folder / FILE if self.folder else None
        self._stamp = self._seen()
        self._now = self._read()

    def _seen(self) -> int | None:
        """Return what changes when the folder's own calibration does; None where it has none."""
        try:
            return self._own.stat().st_mtime_ns if self._own else None
        except FileNotFoundError:
            return None

    def _read(self) -> Calibration:
        return read_calibration(self._own if self._own and self._own.exists() else WEIGHTS / FILE, self.encoder)

    @property
    def now(self) -> Calibration:
        """Return it; where a new one is damaged, the one before."""
        if (seen := self._seen()) != self._stamp:
            self._stamp = seen
            try:
                self._now = self._read()
            except ArtefactError as error:
                logger.error("%s; the one before is used", error)
        return self._now


def read_calibration(path: Path, encoder: str) -> Calibration:
    """Read a calibration.

    Raises:
        ArtefactError: it is damaged, or was made with another encoder.
    """
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise ArtefactError(f"{path}: no calibration: {reason}; make it again with `qta calibrate`") from None
    if calibration.encoder != encoder:
        raise ArtefactError(
            f"{path}: made with the encoder {calibration.encoder}, and this one is {encoder}; run `qta calibrate` again"
        )
    return calibration


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration, whole or not at all."""
    content = json.dumps(calibration.model_dump(), separators=(",", ":")).replace('"about"', '\n"about"')
    replace_text(path, content + "\n")
