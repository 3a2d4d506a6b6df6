"""Requests for tools that nobody has asked for yet: a model that is taught to ask for what the tools it is shown do.

    python -m qta.training.requests learn --out asked.jsonl
    python -m qta.training.supervised asked.jsonl --out DIR
    python -m qta.training.requests plan --out plan.jsonl
    python -m qta.training.requests write DIR plan.jsonl --out written.jsonl
    python -m qta.training.requests keep written.jsonl --out synthetic.jsonl
    python -m qta.training.demonstrations --synthetic synthetic.jsonl --out demonstrations.jsonl

`plan` says which tools are asked for, alone or two that belong together; `keep` is the round trip: a request stays when
the served retriever finds all its tools among the first ten of their whole catalogue.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mtrb.benchmarks.synthetic import CATALOGUES
from mtrb.benchmarks.training import NAMES
from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.completion import Providers
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command
from qta.rewriting.generator import Decoding, Generator
from qta.rewriting.prompt import Message, Prompt
from qta.training.demonstrations import Demonstration, training_catalogues

PROMPT = Prompt(words=24)
"""How a tool is shown to the model."""

_INSTRUCTION = "Write one request of a user that these tools together carry out. Name no tool."
_MOST = 4  # tools asked for at once, in what is learnt
_TOGETHER = 0.25  # of the plan: two tools that belong together
_FOUND = 10
DECODING = Decoding(max_new_tokens=48, no_repeat=4, temperature=0.7, top_k=20)
"""How requests are drawn."""


def messages(tools: Sequence[Tool]) -> list[Message]:
    """Return the conversation that asks for a request."""
    content = "\n".join(["Tools:", *(f"- {PROMPT.line(tool)}" for tool in tools)])
    return [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": content}]


def demonstrate(training: Iterable[Benchmark]) -> Iterator[Demonstration]:
    """Yield for each annotated request its golden tools as the prompt, and itself as the answer."""
    for bench in training:
        for query in bench.queries:
            golden = [bench.toolset[bench.toolset.positions[one]] for one in bench.qrels[query.query_id]]
            if len(golden) <= _MOST:
                yield Demonstration(
                    prompt=messages(golden), completion=[{"role": "assistant", "content": " ".join(query.text.split())}]
                )


def groups(tools: Sequence[Tool], most: int, seed: int = 0) -> list[list[Tool]]:
    """Return what is asked for: tools alone, and one that needs an id together with one that provides it."""
    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    described = [tool for tool in tools if len(tool.description.split()) > 2]
    providers = Providers(tools)
    alone = [[tool] for tool in rng.sample(described, min(len(described), most))]
    needing = rng.sample(described, len(described))
    together = [[tools[found[0][0].position], tool] for tool in needing if (found := providers.needs(tool))]
    return alone[: int(most * (1 - _TOGETHER))] + together[: int(most * _TOGETHER)]


def ask(generator: Generator, planned: Sequence[Mapping[str, Any]], at_once: int = 1024) -> Iterator[dict[str, Any]]:
    """Yield the plan's rows with the requests that a model writes for them; none where it writes nothing."""
    ordered = sorted(planned, key=lambda row: len(row["prompt"][-1]["content"]))
    for start in range(0, len(ordered), at_once):
        some = ordered[start : start + at_once]
        answers = generator.generate([row["prompt"] for row in some], DECODING)
        for row, texts in zip(some, answers, strict=True):
            if text := " ".join(texts[0].split()):
                yield {"catalogue": row["catalogue"], "tools": row["tools"], "query": text}


def round_trip(tools: Sequence[Tool], rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> list[Mapping[str, Any]]:
    """Return the requests that lead back to their tools in the whole catalogue."""
    retriever = HybridRetriever(build_in_memory(Toolset(tools), encoder), encoder)
    run = retriever.retrieve([Query(f"{at}", row["query"]) for at, row in enumerate(rows)], _FOUND)
    return [row for at, row in enumerate(rows) if set(row["tools"]) <= {scored.tool_id for scored in run[f"{at}"]}]


def _rows(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    click.echo(f"{count:,} rows: {file}")


_IN = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON Lines to write.")


@click.group(help=__doc__.splitlines()[0] if __doc__ else None)
def main() -> None:
    """Group the steps."""


@main.command()
@_OUT
def learn(out: Path) -> None:
    """Write what the model is taught with: every training set, turned around."""
    _write(out, demonstrate(training_catalogues(NAMES)))


@main.command()
@_OUT
@click.option("--most", default=12_000, show_default=True, help="Requests a catalogue.")
def plan(out: Path, most: int) -> None:
    """Say which tools are asked for."""
    _write(
        out,
        (
            {"catalogue": name, "tools": [tool.tool_id for tool in group], "prompt": messages(group)}
            for name, tools in CATALOGUES.items()
            for group in groups(tools(), most)
        ),
    )


@main.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("planned", type=_IN)
@_OUT
def write(model: Path, planned: Path, out: Path) -> None:
    """Let the model write a request for each row of the plan."""
    from rich.progress import track

    from qta.rewriting.local import CausalGenerator, load_model

    rows = _rows(planned)
    _write(out, track(ask(CausalGenerator(*load_model(str(model))), rows), "requests", total=len(rows)))


@main.command()
@click.argument("written", type=_IN)
@_OUT
def keep(written: Path, out: Path) -> None:
    """Keep the requests that lead back to their tools."""
    encoder, rows = Encoder(), _rows(written)
    kept: list[Mapping[str, Any]] = []
    for name, tools in CATALOGUES.items():
        asked = [row for row in rows if row["catalogue"] == name]
        found = round_trip(tools(), asked, encoder)
        click.echo(f"{name}: {len(found):,} of {len(asked):,} requests lead back to their tools")
        kept += found
    _write(out, kept)


if __name__ == "__main__":
    run_command(main)
