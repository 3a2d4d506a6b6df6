"""Identifiers: tool ids that are safe in files and URLs, and names as words."""

import re
from urllib.parse import quote

import regex

# Reserved by URLs but harmless inside a path; "%" is handled by the two functions below.
_SAFE = "/:@!$&'()*+,;=~"

_WORDS = regex.compile(
    r"\p{Lu}+(?=\p{Lu}\p{Ll})"  # HTTP in HTTPServer
    r"|\p{Lu}?[\p{Ll}\p{M}]+\p{N}*"  # Server, oauth2
    r"|\p{Lu}+\p{N}*"  # EC2
    r"|[\p{Lo}\p{Lm}\p{M}]+"  # scripts without case
    r"|\p{N}+"
)


def make_tool_id(source: str, name: str) -> str:
    """Return `source/name`, percent-encoded: no white space, one token in a TREC file and in a URL."""
    encoded = quote(name, safe=_SAFE)
    return f"{quote(source, safe=_SAFE)}/{encoded}" if source else encoded


def clean_tool_id(tool_id: str) -> str:
    """Encode what a given id may not hold and keep the rest, so that encoding twice changes nothing."""
    return quote(tool_id.strip(), safe=_SAFE + "%", errors="replace")


def slug(title: str) -> str:
    """Return a title as part of an id: `my-api` of `My API`."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def split_identifier(name: str) -> list[str]:
    """Split camelCase, snake_case, dotted names and paths into words, case kept."""
    words: list[str] = _WORDS.findall(name)
    return words


def is_unicode(text: object) -> bool:
    """Tell whether a text can be written as UTF-8; half of a surrogate pair, which JSON lets through, cannot."""
    return not isinstance(text, str) or text.encode("utf-8", "replace").decode() == text
