"""Records of the field: tools, queries, qrels, runs. Ids are strings everywhere."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, overload

from mtrb.errors import InputError
from mtrb.identifiers import split_identifier

# How deep nested parameters are read for the lexical index; deeper ones repeat their parents' topic.
_PARAMETER_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Tool:
    """Describe one callable tool; `parameters` is a JSON Schema object."""

    tool_id: str
    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    source: str = ""

    def default_text(self) -> str:
        """Return the text that is embedded: the name as words, then the description."""
        words = " ".join(split_identifier(self.name))
        return ": ".join(part for part in (words, self.description) if part)

    def full_text(self) -> str:
        """Return the text of the lexical index: name, description, parameter names and descriptions."""
        parts = [self.name, self.description, *_parameter_texts(self.parameters, _PARAMETER_DEPTH)]
        return "\n".join(part for part in parts if part)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Return the tool of a record that `to_json` made."""
        return cls(
            tool_id=record["id"],
            name=record["name"],
            description=record["description"],
            parameters=record["parameters"],
            tags=tuple(record["tags"]),
            source=record["source"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the native record, the one form that every file and answer of this project uses."""
        return {
            "id": self.tool_id,
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
            "tags": list(self.tags),
            "source": self.source,
        }


def _parameter_texts(schema: object, depth: int, root: object = None) -> Iterator[str]:
    """Yield names and descriptions of parameters, also those behind a reference or in one of several alternatives."""
    if not isinstance(schema, Mapping) or depth == 0:
        return
    root = schema if root is None else root
    properties = schema.get("properties")
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        text = child.get("description", "") if isinstance(child, Mapping) else ""
        yield f"{name} {text}" if isinstance(text, str) else str(name)
        yield from _parameter_texts(child, depth - 1, root)
    yield from _parameter_texts(schema.get("items"), depth, root)
    for key in ("allOf", "anyOf", "oneOf"):
        for part in schema[key] if isinstance(schema.get(key), list) else ():
            yield from _parameter_texts(part, depth, root)
    if isinstance(schema.get("$ref"), str):
        yield from _parameter_texts(_target(root, schema["$ref"]), depth - 1, root)


def _target(root: object, reference: str) -> object:
    """Return what a reference such as `#/$defs/Address` leads to, or None."""
    node = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


class Toolset(Sequence[Tool]):
    """Hold tools in order, with unique ids."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Index the tools by id.

        Raises:
            InputError: two tools share an id.
        """
        self._tools = tuple(tools)
        self._positions = {tool.tool_id: position for position, tool in enumerate(self._tools)}
        if len(self._positions) < len(self._tools):
            twice, _ = Counter(self.ids).most_common(1)[0]
            raise InputError(f"tool id {twice!r} occurs twice; ids must be unique within a catalogue")

    def __len__(self) -> int:
        return len(self._tools)

    @overload
    def __getitem__(self, position: int) -> Tool: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Tool, ...]: ...
    def __getitem__(self, position: int | slice) -> Tool | tuple[Tool, ...]:
        return self._tools[position]

    @property
    def ids(self) -> list[str]:
        """Return the ids in catalogue order."""
        return [tool.tool_id for tool in self._tools]

    @property
    def positions(self) -> Mapping[str, int]:
        """Return the place of each tool id, from 0."""
        return self._positions

    def fingerprint(self) -> str:
        """Return a sha256 over all records in order: equal fingerprints mean equal catalogues."""
        digest = hashlib.sha256()
        for tool in self._tools:
            digest.update(json.dumps(tool.to_json(), ensure_ascii=False, sort_keys=True).encode())
            digest.update(b"\n")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Query:
    """Carry a request; `original` is set once a rewriter has replaced `text`."""

    query_id: str
    text: str
    original: str | None = None

    def rewritten(self, text: str) -> Self:
        """Return the query with a new text, keeping the first text as `original`."""
        return replace(self, text=text, original=self.text if self.original is None else self.original)


class ScoredTool(NamedTuple):
    """Pair a tool with its score; higher is better."""

    tool_id: str
    score: float


Qrels = Mapping[str, Mapping[str, int]]
"""query id -> golden tool id -> relevance (1 unless graded)."""

Run = Mapping[str, Sequence[ScoredTool]]
"""query id -> ranking, best first: the order of the sequence is the ranking, also among equal scores."""


@dataclass(frozen=True)
class Benchmark:
    """Bundle a catalogue with one split of its annotated queries."""

    dataset_id: str
    split: str
    toolset: Toolset
    queries: tuple[Query, ...]
    qrels: Qrels
    # query id -> a label to report by (the language of a request), where the data has one
    groups: Mapping[str, str] = field(default_factory=dict)
    # said beside every figure of this data, e.g. that a corpus is a stand-in
    note: str = ""
