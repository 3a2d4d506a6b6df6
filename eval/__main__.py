"""Score a run file against qrels, both in TREC's formats.

python -m eval QRELS RUN [MEASURE...]

QRELS is a file, or DATASET/SPLIT of a known dataset, e.g. mtrb/restbench/test.
"""

import json
import sys
from pathlib import Path

import click

from eval.evaluator import evaluate
from eval.measures import Measure, parse_measure
from mtrb.errors import InputError, QTAError
from mtrb.types import Qrels


class _MeasureType(click.ParamType[Measure]):
    name = "measure"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Measure:
        try:
            return parse_measure(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(help=__doc__)
@click.argument("qrels")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("measures", type=_MeasureType(), nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--per-query", is_flag=True, help="Print each query's value too.")
def main(qrels: str, run: Path, measures: tuple[Measure, ...], as_json: bool, per_query: bool) -> None:
    """Print each measure's mean."""
    from mtrb.runs import read_run

    measures = measures or tuple(map(parse_measure, ("Sufficiency@5", "Sufficiency@10", "nDCG@5", "nDCG@10")))
    try:
        result = evaluate(_qrels(qrels), read_run(run), measures)
    except QTAError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    means = {str(measure): result.mean(measure) for measure in measures}
    values = {str(measure): dict(result.values[measure]) for measure in measures} if per_query else {}
    if as_json:
        click.echo(json.dumps({"means": means, "per_query": values} if per_query else {"means": means}))
        return
    for measure, by_query in values.items():
        for query_id, value in by_query.items():
            click.echo(f"{measure}\t{query_id}\t{value:.4f}")
    for measure, mean in means.items():
        click.echo(f"{measure}\tall\t{mean:.4f}")


def _qrels(source: str) -> Qrels:
    from mtrb.benchmarks import DATASETS, load
    from mtrb.runs import read_qrels

    dataset, _, split = source.rpartition("/")
    if dataset in DATASETS:
        return load(dataset, split).qrels
    if not Path(source).exists():
        raise InputError(f"{source}: neither a file nor DATASET/SPLIT of a known dataset ({', '.join(DATASETS)})")
    return read_qrels(Path(source))


if __name__ == "__main__":
    main(prog_name="python -m eval")
