"""What a conversation asks for now: the last thing the user said, and what it leans on.

A last turn that says everything is the request. One that leans on what was said before ("do it again for Bob", "and in
Lyon?") is followed by the user's turn before it, and that by the one before where it leans too. The last turn stands
first, since the encoder reads only the beginning of a long text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import regex

_TURNS = 3  # the most that are taken
_SHORT = 4  # words; a turn of fewer hardly ever says everything
_LONGEST = 10_000  # characters
_TEXT_BLOCKS = ("text", "input_text")
_LEANING = regex.compile(
    r"\b(?:it|that|this|these|those|them|they|one|ones|again|same|another|instead|too|likewise|as well|above)\b"
    r"|^(?:and|also|but|or|yes|yeah|ok|okay|sure|please|now|then|actually|what about|how about)\b",
    regex.IGNORECASE,
)


def request_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the request of a list of OpenAI's or Anthropic's messages; None where the user has said nothing."""
    turns = [text for text in map(_user_text, messages) if text]
    if not turns:
        return None
    taken = [turns[-1]]
    for turn in reversed(turns[-_TURNS:-1]):
        if not leans(taken[-1]):
            break
        taken.append(turn)
    return "\n".join(taken)[:_LONGEST]


def leans(turn: str) -> bool:
    """Tell whether a turn can be understood only with what was said before."""
    return len(turn.split()) < _SHORT or bool(_LEANING.search(turn))


def _user_text(message: Mapping[str, Any]) -> str:
    """Return what the user says in a message; tool results come in that role too, and say nothing."""
    content = message.get("content")
    if message.get("role") != "user" or not content:
        return ""
    if isinstance(content, str):
        return content.strip()
    blocks = [block.get("text") for block in content if block.get("type") in _TEXT_BLOCKS]
    return "\n".join(text for text in blocks if isinstance(text, str)).strip()
