"""The lexical index against rank-bm25."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from mtrb.benchmarks import load
from mtrb.errors import ArtefactError
from mtrb.types import Tool
from qta.lexical import LexicalIndex, lexical_text


class LuceneOkapi(BM25Okapi):
    """rank-bm25 with the one thing changed in which our formula differs: Lucene's idf."""

    def _calc_idf(self, nd: dict[str, int]) -> None:
        self.idf = {word: math.log(1 + (self.corpus_size - n + 0.5) / (n + 0.5)) for word, n in nd.items()}


def corpus(seed: int, documents: int = 200) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    words = [f"word{n}" for n in range(80)]
    texts = [
        " ".join(draw.choices(words, weights=[1 / (n + 1) for n in range(80)], k=draw.randint(1, 30)))
        for _ in range(documents)
    ]
    queries = [" ".join(draw.choices(words, k=draw.randint(1, 8))) for _ in range(40)]
    return texts, queries


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_rank_bm25s_but_for_the_idf(seed: int) -> None:
    texts, queries = corpus(seed)
    ours, theirs = LexicalIndex.build(texts, str.split), LuceneOkapi([text.split() for text in texts])
    for query in queries:
        expected = theirs.get_scores(query.split()) / (1.5 + 1)  # a constant factor that Lucene left out
        np.testing.assert_allclose(ours.scores(query.split()), expected, atol=1e-4)


def test_the_idf_is_where_rank_bm25_goes_wrong() -> None:
    # In a small catalogue rank-bm25 gives a word of half the tools idf 0: it no longer sees who has the word.
    texts = ["send mail", "send letter", "read mail", "read letter"]
    assert BM25Okapi([text.split() for text in texts]).get_scores(["mail"]).tolist() == [0, 0, 0, 0]
    ours = LexicalIndex.build(texts, str.split).scores(["mail"])
    assert ours[0] == ours[2] > ours[1] == ours[3] == 0


def test_any_word_counts_and_unknown_words_do_no_harm() -> None:
    index = LexicalIndex.build(["alpha beta", "beta gamma", "delta"], str.split)
    scores = index.scores(["gamma", "alpha", "unknown"])
    assert scores[0] > 0
    assert scores[1] > 0
    assert scores[2] == 0
    assert index.scores(["unknown"]).tolist() == [0, 0, 0]
    assert index.scores([]).tolist() == [0, 0, 0]


def test_a_tool_without_words_has_its_row() -> None:
    assert LexicalIndex.build(["", "word"], str.split).scores(["word"]).tolist()[0] == 0


def test_saving_and_loading(tmp_path: Path) -> None:
    bench = load("sample")
    index = LexicalIndex.build([lexical_text(tool) for tool in bench.toolset])
    index.save(tmp_path)
    again = LexicalIndex.load(tmp_path)
    for words in (["refund", "order"], ["weather"], []):
        np.testing.assert_array_equal(index.scores(words), again.scores(words))


def test_loading_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        LexicalIndex.load(tmp_path)


def test_what_is_read_of_a_tool() -> None:
    tool = Tool(
        "s/n", "findIt", "Finds.", {"type": "object", "properties": {"zip": {"description": "Postal code."}}}, ("maps",)
    )
    assert lexical_text(tool).split() == ["findIt", "Finds.", "zip", "Postal", "code.", "maps"]
