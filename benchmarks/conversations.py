"""Compare what of a conversation is taken as the request, on 36 written conversations over an invented catalogue.

    python -m benchmarks.conversations

Twenty end with a turn that leans on the one before, sixteen with one that says everything. They were written together
with the rule of `qta.conversation`, and only tell it from simpler ones.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from eval import Sufficiency, evaluate
from mtrb.formats import read_tools
from mtrb.types import Query, Toolset
from qta.conversation import request_of
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.refusals import run_command

CASES = Path(__file__).with_suffix(".jsonl")
CATALOGUE = "stack_household/"
MEASURES = [Sufficiency @ 5, Sufficiency @ 10]


def _messages(turns: Sequence[str]) -> list[dict[str, str]]:
    pairs = [({"role": "user", "content": turn}, {"role": "assistant", "content": "Done."}) for turn in turns]
    return [message for pair in pairs for message in pair][:-1]


RULES: dict[str, Callable[[Sequence[str]], str]] = {
    "the last turn": lambda turns: turns[-1],
    "the last two turns, in order": lambda turns: "\n".join(turns[-2:]),
    "the last two turns, the last first": lambda turns: "\n".join(reversed(turns[-2:])),
    "qta.conversation": lambda turns: request_of(_messages(turns)) or "",
}


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
def main() -> None:
    """Print Sufficiency for each rule and kind of conversation."""
    cases = [json.loads(line) for line in CASES.read_text("utf-8").splitlines()]
    written = CASES.parents[1] / "mtrb" / "written" / "invented.tools.jsonl"
    toolset = Toolset(tool for tool in read_tools([str(written)], "native") if tool.tool_id.startswith(CATALOGUE))
    encoder = Encoder()
    retriever = HybridRetriever(build_in_memory(toolset, encoder), encoder)
    for kind in dict.fromkeys(case["kind"] for case in cases):
        chosen = {str(n): case for n, case in enumerate(cases) if case["kind"] == kind}
        qrels = {number: dict.fromkeys(case["tools"], 1) for number, case in chosen.items()}
        click.echo(f"{kind}, {len(chosen)} conversations, {len(toolset)} tools")
        for name, rule in RULES.items():
            run = retriever.retrieve([Query(number, rule(case["turns"])) for number, case in chosen.items()], 10)
            result = evaluate(qrels, run, MEASURES)
            figures = "  ".join(f"{measure} {100 * result.mean(measure):5.1f}" for measure in MEASURES)
            click.echo(f"  {name:36} {figures}")


if __name__ == "__main__":
    run_command(main)
