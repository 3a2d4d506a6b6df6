"""Twins: equal and nearly equal tools."""

import random
from dataclasses import replace
from itertools import combinations

from mtrb.formats import read_tools
from mtrb.twins import _shingles, _words, find_twins
from mtrb.types import Tool

TEXT = "Create a new issue in the given project and return its number, so that the team can plan the work on it later."


def test_equal_text_is_found_across_sources_whatever_the_spelling() -> None:
    tools = [
        Tool("a/create_issue", "create_issue", TEXT),
        Tool("b/createIssue", "createIssue", TEXT.upper().replace(",", " - ")),
        Tool("c/other", "other", "Something else altogether."),
    ]
    assert find_twins(tools).exact == [["a/create_issue", "b/createIssue"]]
    assert find_twins(tools).near == []


def test_nearly_equal_text_is_a_pair_with_its_similarity() -> None:
    tools = [
        Tool("a/x", "x", TEXT),
        Tool("b/x", "x", TEXT.replace("number", "id")),
        Tool("c/x", "y", "Unrelated words here."),
    ]
    ((first, second, similarity),) = find_twins(tools, threshold=0.7).near
    assert (first, second) == ("a/x", "b/x")
    assert 0.7 <= similarity < 1


def test_empty_descriptions_are_no_twins() -> None:
    assert find_twins([Tool("a", "alpha"), Tool("b", "beta")]).exact == []


def test_minhash_misses_next_to_nothing() -> None:
    draw = random.Random(7)
    tools = list(read_tools(["sample:"]))
    for tool in tools[:200]:
        words = tool.description.split()
        words[draw.randrange(len(words))] = "otherwise"
        tools.append(replace(tool, tool_id=f"copy/{tool.tool_id}", description=" ".join(words)))
    found = {frozenset(pair[:2]) for pair in find_twins(tools, threshold=0.8).near}
    shingles = {tool.tool_id: _shingles(tuple(_words(tool))) for tool in tools}
    expected = {
        frozenset((a, b))
        for a, b in combinations(shingles, 2)
        if len(shingles[a] & shingles[b]) >= 0.8 * len(shingles[a] | shingles[b])
    }
    assert len(expected) > 20
    assert found == expected
