"""Tokens: every script, identifiers, accents."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qta.tokens import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("GET /movie/{movieId}", ["get", "movi", "movieid", "movi", "id"]),
        ("send_message", ["send_messag", "send", "messag"]),
        ("DescribeDBInstances", ["describedbinst", "describ", "db", "instanc"]),
        ("gmail.users.list", ["gmail", "user", "list"]),
        ("Cafés à Zürich", ["cafe", "zurich"]),
        ("the list of all users", ["list", "all", "user"]),
        ("東京都", ["東京", "京都"]),
        ("天", ["天"]),
        ("查看 EC2 实例", ["查看", "ec2", "实例"]),
        ("checkoutサービスのログ", ["checkout", "サー", "ービ", "ビス", "スの", "のロ", "ログ"]),
        ("Найди письмо", ["найди", "письмо"]),
        ("ｆｕｌｌ　ｗｉｄｔｈ", ["full", "width"]),
        ("STRASSE straße", ["strass", "strass"]),
        ("__init__", ["init"]),
        ("...", []),
        ("", []),
    ],
)
def test_text_becomes_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text())
def test_any_text_has_tokens_without_blanks(text: str) -> None:
    for token in tokenize(text):
        assert token
        assert not any(character.isspace() for character in token)


@given(
    st.text(alphabet="абвгдежзийклмнопрстуфхцчшщъыьэюя", min_size=1),
    st.sampled_from(["日本語", "한국어", "ภาษาไทย", "हिन्दी", "العربية", "ελληνικά"]),
)
def test_no_script_is_dropped(russian: str, other: str) -> None:
    assert tokenize(russian)
    assert tokenize(other)


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll"], max_codepoint=0x17F), min_size=3))
def test_case_does_not_matter_within_a_word(word: str) -> None:
    assume(word.lower().capitalize().lower() == word.lower())  # not so for the Turkish dotless i
    # as a whole; the parts of camelCase are there besides
    assert tokenize(word.lower())[:1] == tokenize(word.lower().capitalize())[:1]
