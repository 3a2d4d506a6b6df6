"""Public held-out sets on which this project makes its choices: openly licensed, never trained on.

`api-bank`, `tooltalk` and `toolalpaca` are held out whole. Of the others a tenth of the tools is held out, and
with them every query that needs one: a query whose golden tools are all outside may be trained on. One half of the
held-out queries of each set is validation, the other test; tenth and halves are drawn by hash, so they never move.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from mtrb.benchmarks.files import make_benchmark, read_queries
from mtrb.benchmarks.local import local_file
from mtrb.formats import read_tools
from mtrb.types import Benchmark, Toolset

WHOLE = ("api-bank", "tooltalk", "toolalpaca")
TENTH = ("seal-tools", "bfcl", "nestful", "toolselect", "mcpm-registry")
NAMES = (*WHOLE, *TENTH)


def load_public(name: str, split: str) -> Benchmark:
    """Load one half of a public held-out set, with the set's whole catalogue.

    Raises:
        DataError: the data is not there, or another version.
    """
    toolset = Toolset(read_tools([str(local_file(f"{name}/tools.jsonl"))], format="native"))
    return make_benchmark(f"public/{name}", split, toolset, _half(name, split))


def is_held_out(name: str, tool_ids: list[str]) -> bool:
    """Tell whether a query with these golden tools is kept from training."""
    return name in WHOLE or any(_digest(f"{name}/{tool_id}") % 10 == 0 for tool_id in tool_ids)


def _half(name: str, split: str) -> list[tuple[str, Mapping[str, Any]]]:
    every = read_queries(local_file(f"{name}/queries.jsonl"))
    records = [entry for entry in every if is_held_out(name, entry[1]["tools"])]
    records.sort(key=lambda entry: _digest(f"{name}/{entry[1]['id']}"))
    middle = (len(records) + 1) // 2
    return records[:middle] if split == "validation" else records[middle:]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest())
