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
_LONG = 10  # words; one of more hardly ever leans, whatever it points at
_LONGEST = 10_000  # characters
_PASTED, _ASKED = 1_500, 300  # characters: of a turn that holds something pasted, and of a line that asks
_TEXT_BLOCKS = ("text", "input_text")
_TIME = r"\s+(?:week|weekend|month|quarter|year|morning|afternoon|evening|spring|summer|autumn|fall|winter|\w+day)\b"
_POINTING = regex.compile(
    rf"\bthis\b(?!{_TIME})"
    r"|\b(?:it|that|these|those|them|they|one|ones|again|same|another|instead|too|likewise|as well|above)\b"
    r"|^(?:and|also|but|or|yes|yeah|ok|okay|sure|what about|how about)\b"
    r"|^[那再也]|它|这个|那个|同样|それ|これ|もう一度|同じ",
    regex.IGNORECASE,
)
# Chinese and Japanese leave no blanks between words; two of their characters are about one.
_CHARACTER = regex.compile(r"[\p{Han}\p{Hiragana}]")
_WORD = regex.compile(r"[\p{Katakana}ー]+|[[\p{L}\p{M}\p{N}'’_-]--[\p{Han}\p{Hiragana}\p{Katakana}ー]]+", regex.V1)  # noqa: RUF001


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
    return "\n".join(map(_in_short, taken))[:_LONGEST]


def _in_short(turn: str) -> str:
    """Put the last line of a long turn first, where it is short: what is asked of something pasted, and behind it."""
    start, _, end = turn.rpartition("\n")
    return f"{end}\n{start}" if len(turn) > _PASTED and len(end) <= _ASKED else turn


def leans(turn: str) -> bool:
    """Tell whether a turn can be understood only with what was said before."""
    words = len(_WORD.findall(turn)) + len(_CHARACTER.findall(turn)) / 2
    return words < _SHORT or (words <= _LONG and bool(_POINTING.search(turn)))


def _user_text(message: Mapping[str, Any]) -> str:
    """Return what the user says in a message; tool results come in that role too, and say nothing."""
    content = message.get("content")
    if message.get("role") != "user" or not content:
        return ""
    if isinstance(content, str):
        return content.strip()
    blocks = [block.get("text") for block in content if block.get("type") in _TEXT_BLOCKS]
    return "\n".join(text for text in blocks if isinstance(text, str)).strip()
