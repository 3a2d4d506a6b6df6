"""The prompt: a request and a few tools of the catalogue, asking for one line a step."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

from mtrb.identifiers import split_identifier
from mtrb.types import Tool
from qta.languages import read_in_english

Item = TypeVar("Item")
Message = dict[str, str]
"""`role` and `content`, as chat templates and OpenAI-compatible endpoints take them."""

_INSTRUCTION = (
    "You help a search engine find tools. Rewrite the request as the steps that carry it out, one short line a step, "
    "steps separated by ';'. Write each step as the name and description of the tool that would do it, in the style of "
    "the tools shown. Include steps that look up ids which later steps need. Answer with the steps alone."
)
_REQUEST_WORDS = 80
_REQUEST_CHARACTERS = 500  # for scripts that leave no blanks between words


@dataclass(frozen=True)
class Prompt:
    """Say what a rewriter is shown; equal prompts have equal digests.

    Attributes:
        tools: how many tools are shown.
        selection: the nearest by the frozen retriever, or sampled (paper, section 4.2).
        words: how much of each tool's description is shown.
        seed: of the sampling.
    """

    tools: int = 10
    selection: Literal["nearest", "sampled"] = "nearest"
    words: int = 6
    seed: int = 0
    version: int = 1

    def messages(self, request: str, tools: Sequence[Tool]) -> list[Message]:
        """Return the conversation that asks for a rewrite."""
        english = read_in_english(request)
        parts = [_shortened(request), *([f"In English: {_shortened(english)}"] if english else [])]
        parts += ["Tools:", *(f"- {self.line(tool)}" for tool in tools)] if tools else []
        content = "\n".join(parts)
        return [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": content}]

    def line(self, tool: Tool) -> str:
        """Return a tool as it is shown, and as a step should be written: its name as words, then what it does."""
        name = " ".join(split_identifier(tool.name))
        description = " ".join(tool.description.split()[: self.words])
        return ": ".join(part for part in (name, description) if part).replace(";", ",")

    def sampled(self, tools: Sequence[Item], request: str) -> list[Item]:
        """Return as many of the tools, or of their places, drawn by the seed and the request as the paper does."""
        digest = hashlib.sha256(f"{self.seed}/{request}".encode()).digest()
        rng = random.Random(digest)  # noqa: S311 (a draw, no secret)
        return rng.sample(list(tools), min(self.tools, len(tools)))

    @property
    def digest(self) -> str:
        """Return what tells this prompt from others: a hash of all that goes into it but request and tools."""
        content = json.dumps([_INSTRUCTION, _REQUEST_WORDS, _REQUEST_CHARACTERS, asdict(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _shortened(text: str) -> str:
    return " ".join(text.split()[:_REQUEST_WORDS])[:_REQUEST_CHARACTERS]


def plain_text(messages: Sequence[Message]) -> str:
    """Return a conversation as one text, for models without a chat template."""
    return "\n\n".join(message["content"] for message in messages) + "\n\nSteps:"
