"""Records: ids, texts, catalogues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtrb.errors import InputError
from mtrb.identifiers import clean_tool_id, make_tool_id, split_identifier
from mtrb.types import Query, Tool, Toolset


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DescribeInstances", ["Describe", "Instances"]),
        ("send_message", ["send", "message"]),
        ("GET /movie/{movie_id}/credits", ["GET", "movie", "movie", "id", "credits"]),
        ("gmail.users.messages.list", ["gmail", "users", "messages", "list"]),
        ("HTTPServer2", ["HTTP", "Server2"]),
        ("EC2Instance", ["EC2", "Instance"]),
        ("s3", ["s3"]),
        ("ünïcodeNäme", ["ünïcode", "Näme"]),
        ("天气预报", ["天气预报"]),
    ],
)
def test_identifiers_split_into_words(name: str, words: list[str]) -> None:
    assert split_identifier(name) == words


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_tool_id_is_one_token_in_a_file_and_a_url(source: str, name: str) -> None:
    try:
        source.encode(), name.encode()
    except UnicodeEncodeError:
        return
    tool_id = make_tool_id(source, name)
    assert tool_id.isascii()
    assert not any(character.isspace() for character in tool_id)
    assert not set('?#"<>') & set(tool_id)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_cleaning_an_id_twice_changes_nothing(given_id: str) -> None:
    once = clean_tool_id(given_id)
    assert clean_tool_id(once) == once


def test_different_names_have_different_ids() -> None:
    assert make_tool_id("a", "GET /x y") == "a/GET%20/x%20y"
    assert make_tool_id("a", "50%") != make_tool_id("a", "50%25")


def test_what_is_indexed_of_a_tool() -> None:
    tool = Tool(
        "s/findUser",
        "findUser",
        "Find a user.",
        {
            "type": "object",
            "properties": {
                "mail": {"type": "string", "description": "Their address."},
                "deep": {"items": {"properties": {"zip": {}}}},
            },
        },
    )
    assert tool.default_text() == "find User: Find a user."
    assert all(part in tool.full_text() for part in ("findUser", "Find a user.", "mail", "Their address.", "zip"))
    assert Tool("s/x", "doIt").default_text() == "do It"


def test_a_catalogue_refuses_an_id_twice() -> None:
    with pytest.raises(InputError, match="'a' occurs twice"):
        Toolset([Tool("b", "b"), Tool("a", "x"), Tool("a", "y")])


def test_the_fingerprint_knows_content_and_order() -> None:
    first, second = Tool("a", "a", "text"), Tool("b", "b")
    same = Toolset([first, second]).fingerprint()
    assert Toolset([first, second]).fingerprint() == same
    assert Toolset([second, first]).fingerprint() != same
    assert Toolset([first, Tool("b", "b", "changed")]).fingerprint() != same


def test_rewriting_keeps_the_first_text() -> None:
    query = Query("1", "raw").rewritten("once").rewritten("twice")
    assert (query.text, query.original) == ("twice", "raw")


def test_parameters_behind_references_and_alternatives_are_read() -> None:
    schema = {
        "type": "object",
        "$defs": {"Address": {"type": "object", "properties": {"zip": {"description": "Postal code."}}}},
        "properties": {
            "to": {"$ref": "#/$defs/Address"},
            "by": {"anyOf": [{"properties": {"truck": {}}}, {"properties": {"ship": {}}}]},
        },
        "allOf": [{"properties": {"weight": {"description": "In grams."}}}],
    }
    words = Tool("a", "send", parameters=schema).full_text().split()
    assert {"zip", "Postal", "truck", "ship", "weight", "grams."} <= set(words)
    schema["$defs"]["Address"]["properties"]["inner"] = {"$ref": "#/$defs/Address"}  # type: ignore[index]
    assert "zip" in Tool("a", "send", parameters=schema).full_text()
