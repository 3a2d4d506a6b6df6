"""Read requests in other languages word by word into English, which tools are described in and the encoder knows.

A glossary of about 2,500 expressions a language gives each the English word that a tool description would use. It is no
translation, but `删除发票` becomes "delete invoice", and that is found. Words that no glossary knows stay as they are:
names, numbers and borrowed words.
"""

import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import regex
import Stemmer
from bm25s import stopwords

_STEMMED = {
    "de": ("german", stopwords.STOPWORDS_GERMAN),
    "es": ("spanish", stopwords.STOPWORDS_SPANISH),
    "fr": ("french", stopwords.STOPWORDS_FRENCH),
    "it": ("italian", stopwords.STOPWORDS_ITALIAN),
    "pt": ("portuguese", stopwords.STOPWORDS_PORTUGUESE),
    "ru": ("russian", stopwords.STOPWORDS_RUSSIAN),
}
_UNSPACED = ("ja", "ko", "zh")
_LATIN = tuple(language for language in _STEMMED if language != "ru")

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+|[^\p{L}\p{M}\p{N}\s]+|\s+")
_SCRIPTS = (
    ("ja", regex.compile(r"[\p{Hiragana}\p{Katakana}]")),
    ("ko", regex.compile(r"\p{Hangul}")),
    ("zh", regex.compile(r"\p{Han}")),
    ("ru", regex.compile(r"\p{Cyrillic}")),
)
_STOPS = str.maketrans("。！？；，、：（）", ".!?;,,:()")  # noqa: RUF001
_LOOKED_AT = 300  # characters, to tell the language
_LONGEST = 5  # words of an expression
_COMPOUND = 4  # letters that a part of a German compound has at least

_REMEMBERED = 50_000  # words: the texts of a catalogue repeat theirs

_local = threading.local()  # a stemmer must not be shared between threads


@dataclass(frozen=True)
class _Glossary:
    """The expressions of a language: by their stemmed words, or by their characters where no blanks divide words."""

    words: dict[tuple[str, ...], str]
    function_words: frozenset[str]
    longest: int


def read_in_english(text: str) -> str | None:
    """Return a request as English words, punctuation and unknown words kept; None when it is English as it is."""
    language = detect(text)
    if language is None:
        return None
    text = unicodedata.normalize("NFKC", text).translate(_STOPS)
    parts = _unspaced(text, language) if language in _UNSPACED else _stemmed(text, language)
    reading = regex.sub(r"\s+([.,;:!?)])", r"\1", " ".join(" ".join(parts).split()))
    return reading if any(character.isalnum() for character in reading) else None


def detect(text: str) -> str | None:
    """Return the language of a request where it is one that a glossary is there for; None for English."""
    text = text[:_LOOKED_AT]
    for language, letters in _SCRIPTS:
        if letters.search(text):
            return language if language != "zh" else max(("zh", "ja"), key=lambda one: _covered(text, one))
    words = [word.casefold() for word in _WORD.findall(text) if word[0].isalpha()]
    english = sum(map(_is_english, words))
    known = {language: sum(_knows(language, word) for word in words) for language in _LATIN}
    language = max(known, key=lambda one: known[one], default="de")
    return language if known[language] > max(english, len(words) / 3, 1) else None


def _covered(text: str, language: str) -> int:
    """Return how many characters are in expressions of a glossary; Japanese may be in Chinese characters alone."""
    glossary, at, covered = _glossary(language), 0, 0
    text = unicodedata.normalize("NFKC", text).casefold()
    while at < len(text):
        lengths = range(min(glossary.longest, len(text) - at), 0, -1)
        length = next((length for length in lengths if (text[at : at + length],) in glossary.words), 0)
        covered += (
            length * length
        )  # long expressions are surer signs: both languages have many characters by themselves
        at += length or 1
    return covered


@lru_cache(_REMEMBERED)
def _is_english(word: str) -> bool:
    return word in stopwords.STOPWORDS_EN_PLUS or _stem(word, "en") in _english()


@lru_cache(_REMEMBERED)
def _knows(language: str, word: str) -> bool:
    glossary = _glossary(language)
    return word in glossary.function_words or (_stem(word, language),) in glossary.words


def _stemmed(text: str, language: str) -> Iterator[str]:
    glossary = _glossary(language)
    tokens = [token for token in _WORD.findall(text) if not token.isspace()]
    stems = [_stem(token.casefold(), language) for token in tokens]
    at = 0
    while at < len(tokens):
        length, english = _expression(stems, at, glossary)
        yield english or _single(tokens[at], language, glossary)
        at += length


def _expression(stems: Sequence[str], at: int, glossary: _Glossary) -> tuple[int, str]:
    """Return the longest expression that begins here: its length in words, and its English."""
    for length in range(min(glossary.longest, len(stems) - at), 1, -1):
        found = glossary.words.get(tuple(stems[at : at + length]))
        if found is not None:
            return length, found
    return 1, ""


def _single(word: str, language: str, glossary: _Glossary) -> str:
    """Return the English of one word: nothing for a function word, the word itself where nothing is known of it."""
    if word.casefold() in glossary.function_words:
        return ""
    found = glossary.words.get((_stem(word.casefold(), language),))
    return found or (_compound(word.casefold(), glossary) if language == "de" else "") or word


def _compound(word: str, glossary: _Glossary) -> str:
    """Return what the two halves of a German compound mean: Rechnungsnummer, invoice number."""
    for middle in range(len(word) - _COMPOUND, _COMPOUND - 1, -1):
        first = glossary.words.get((_stem(word[:middle].removesuffix("s"), "de"),))
        second = glossary.words.get((_stem(word[middle:], "de"),))
        if first and second:
            return f"{first} {second}"
    return ""


def _unspaced(text: str, language: str) -> Iterator[str]:
    """Yield the English of the longest expressions, from left to right; letters between them are dropped."""
    glossary = _glossary(language)
    at = 0
    while at < len(text):
        for length in range(min(glossary.longest, len(text) - at), 0, -1):
            found = glossary.words.get((text[at : at + length].casefold(),))
            if found:
                yield found
                break
        else:
            length, kept = _foreign(text, at)
            yield kept
        at += length


def _foreign(text: str, at: int) -> tuple[int, str]:
    """Return a run of Latin letters, digits and signs as it is, and nothing for a letter of the script."""
    run = regex.compile(r"[\p{Latin}\p{N}_./:@#{}-]+|\p{P}|\p{S}").match(text, at)
    return (len(run[0]), run[0]) if run else (1, "" if text[at].isalpha() else " ")


@cache
def _glossary(language: str) -> _Glossary:
    words: dict[tuple[str, ...], str] = {}
    text = (resources.files("qta") / "glossary" / f"{language}.tsv").read_text("utf-8")
    for line in text.splitlines():
        foreign, _, english = line.partition("\t")
        foreign = unicodedata.normalize("NFKC", foreign).casefold()
        if language in _UNSPACED:
            key: tuple[str, ...] = (foreign,)
        else:
            key = tuple(_stem(word, language) for word in _WORD.findall(foreign) if not word.isspace())
        words.setdefault(key, english)
    function_words = frozenset(_STEMMED[language][1]) if language in _STEMMED else frozenset()
    longest = max(map(len, (key[0] for key in words) if language in _UNSPACED else words))
    return _Glossary(words, function_words, longest if language in _UNSPACED else min(longest, _LONGEST))


@cache
def _english() -> frozenset[str]:
    return frozenset(
        _stem(word, "en")
        for language in _LATIN
        for english in _glossary(language).words.values()
        for word in english.split()
    )


def _stem(word: str, language: str) -> str:
    stemmers = _local.__dict__.setdefault("stemmers", {})
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer("english" if language == "en" else _STEMMED[language][0])
    stem: str = stemmers[language].stemWord(word)
    return stem
