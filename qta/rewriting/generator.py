"""What writes rewrites: the one method that every language model back end has."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mtrb.errors import QTAError
from qta.rewriting.prompt import Message


class GenerationError(QTAError):
    """A language model did not answer."""


class DeadlineError(GenerationError):
    """A language model did not answer in time."""


@dataclass(frozen=True)
class Decoding:
    """Say how text is drawn from a model; the default is greedy.

    Attributes:
        max_new_tokens: where every answer ends at the latest.
        no_repeat: no sequence of so many tokens occurs twice in an answer, so that decoding cannot loop.
        temperature: 0 takes the most likely token always.
        top_k: sampled from so many tokens; 0 for all.
        samples: answers a conversation.
        at_once: answers that are drawn together, of several conversations where there is room.
        seed: of the sampling.
    """

    max_new_tokens: int = 64
    no_repeat: int = 6
    temperature: float = 0.0
    top_k: int = 50
    samples: int = 1
    at_once: int = 256
    seed: int = 0


class Generator(Protocol):
    """Continue conversations."""

    def generate(
        self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
    ) -> list[list[str]]:
        """Return for each conversation `decoding.samples` answers; one too long for the model gets empty ones.

        Args:
            conversations: messages, the last of the user.
            decoding: how answers are drawn.
            deadline: a time of `time.monotonic`, after which nobody waits for the answer.

        Raises:
            DeadlineError: the deadline has passed.
            GenerationError: the model failed.
        """
        ...


def check_deadline(deadline: float | None) -> None:
    """Give up where nobody waits any more.

    Raises:
        DeadlineError: the deadline has passed.
    """
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineError("the rewriter did not finish in time")
