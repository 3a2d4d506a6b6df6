"""Tokens of the lexical index: any script, identifiers whole and in parts, accents folded, English stemmed.

Stop words and stemming were chosen on the public validation halves, see results/validation.md.
"""

import threading
import unicodedata
from functools import lru_cache

import regex
import Stemmer
from bm25s.stopwords import STOPWORDS_EN

from mtrb.identifiers import split_identifier

_RUN = regex.compile(r"[\p{L}\p{M}\p{N}_]+")
# Scripts written without blanks between words are indexed as overlapping pairs of characters.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々]+")
# In Latin and Greek, and on ё, accents are often left out in writing; elsewhere they make another letter, as in й.
_ACCENT = regex.compile(r"(?<=[\p{Latin}\p{Greek}\u0435])[\u0300-\u036f]+")
_STOP_WORDS = frozenset(STOPWORDS_EN)
_local = threading.local()  # a stemmer must not be shared between threads


def tokenize(text: str, stop: bool = True, stem: bool = True) -> list[str]:
    """Return the tokens of a text, repeated as often as they occur, English stop words left out.

    `GET /movie/{movieId}` gives get, movi, movieid, movi, id; `東京都` gives 東京, 京都; `Cafés` gives cafe.
    """
    runs = _RUN.findall(unicodedata.normalize("NFKC", text))
    return [token for run in runs for token in _run_tokens(run, stop, stem)]


@lru_cache(maxsize=100_000)
def _run_tokens(run: str, stop: bool, stem: bool) -> tuple[str, ...]:
    tokens: list[str] = []
    start = 0
    for match in _UNSPACED.finditer(run):
        tokens.extend(_word_tokens(run[start : match.start()], stop, stem))
        pairs = match[0]
        tokens.extend(pairs[i : i + 2] for i in range(max(1, len(pairs) - 1)))
        start = match.end()
    tokens.extend(_word_tokens(run[start:], stop, stem))
    return tuple(tokens)


def _word_tokens(word: str, stop: bool, stem: bool) -> list[str]:
    whole = _fold(word.strip("_"))
    parts = [_fold(part) for part in split_identifier(word)]
    words = [whole] if len(parts) < 2 else [whole, *parts]
    kept = [word for word in words if word and not (stop and word in _STOP_WORDS)]
    return [_stem(word) for word in kept] if stem else kept


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return unicodedata.normalize("NFC", _ACCENT.sub("", decomposed))


def _stem(word: str) -> str:
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    stem: str = _local.stemmer.stemWord(word)
    return stem
