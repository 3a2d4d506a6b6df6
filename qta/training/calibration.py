"""Make the calibration that is shipped, from the validation halves of the public sets.

python -m qta.training.calibration [--out qta/weights/calibration.json] [--coverage 0.9]
"""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from mtrb.benchmarks import load
from mtrb.benchmarks.public import NAMES
from qta.calibration import FILE, observe, write_calibration
from qta.commands.numbers import FiniteRange
from qta.conformal import COVERAGE, Calibration, Observed, flagged
from qta.encoder import WEIGHTS, Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command

_STRANGERS = 100  # requests of other sets that each set is asked, to see how many are told apart


def calibrate_public(coverage: float, names: Sequence[str] = NAMES) -> Calibration:
    """Calibrate on the validation halves of public sets, all requests in one.

    Raises:
        AbsentDataError: they are not there.
    """
    encoder, rng = Encoder(), np.random.default_rng(0)
    sets = [load(f"public/{name}", "validation") for name in names]
    observed: list[Observed] = []
    strange: list[float | None] = []
    for annotated in sets:
        retriever = HybridRetriever(build_in_memory(annotated.toolset, encoder), encoder)
        observed += observe(retriever, annotated, np.ones(len(annotated.toolset), np.bool_))
        others = [query.text for other in sets if other is not annotated for query in other.queries]
        for at in rng.choice(len(others), min(_STRANGERS, len(others)), replace=False):
            vector = retriever.reader.read(others[at]).vector
            strange.append(float(retriever.index.dense.search(vector, 1)[1][0]))
    calibration = Calibration.of(observed, coverage, encoder.identity, {})
    about = {
        "command": "python -m qta.training.calibration",
        "sets": [f"{annotated.dataset_id}/{annotated.split}" for annotated in sets],
        "requests": len(observed),
        "said_to_fit_no_tool": {
            "annotated requests": flagged(calibration, [one.nearest for one in observed]),
            "requests of other sets": flagged(calibration, strange),
            "annotated requests, golden tools removed": flagged(calibration, [one.others for one in observed]),
        },
    }
    return calibration.model_copy(update={"about": about})


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=WEIGHTS / FILE, help="[default: as shipped]"
)
@click.option("--coverage", type=FiniteRange(0, 1, min_open=True, max_open=True), default=COVERAGE, show_default=True)
def main(out: Path, coverage: float) -> None:
    """Calibrate on all sets in one, and say how many requests that fit no tool are told apart."""
    calibration = calibrate_public(coverage)
    write_calibration(out, calibration)
    click.echo(f"{out}: {calibration.about}, threshold {calibration.threshold:.3f}")


if __name__ == "__main__":
    run_command(main)
