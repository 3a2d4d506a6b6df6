"""Requests that a model writes for tools: what it learns from, what it is asked for, and what is kept of its answers."""

import json
from pathlib import Path

import pytest

from mtrb.benchmarks import load, synthetic
from mtrb.errors import AbsentDataError
from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.rewriting.generator import Decoding
from qta.training.expansion import expanded, load_generator
from qta.training.requests import ask, demonstrate, groups, messages, round_trip

TOOLS = [
    Tool("movies/search_movie", "search_movie", "Search for a movie by its title.", source="movies"),
    Tool(
        "movies/get_movie_credits",
        "get_movie_credits",
        "Get the cast and crew of a movie.",
        {"type": "object", "properties": {"movie_id": {"type": "string"}}, "required": ["movie_id"]},
        source="movies",
    ),
    Tool("mail/send_mail", "send_mail", "Send a mail to a recipient.", source="mail"),
    Tool("mail/noop", "noop", "", source="mail"),
]


class Echo:
    """Answer with what the last message says, and with nothing for mails."""

    def generate(self, conversations, decoding: Decoding, deadline: float | None = None) -> list[list[str]]:
        said = [conversation[-1]["content"] for conversation in conversations]
        return [["" if "mail" in text else f"  please\n{text.splitlines()[-1]}"] for text in said]


def test_a_demonstration_shows_the_tools_and_answers_with_the_request() -> None:
    bench = load("sample", "train")
    rows = list(demonstrate([bench]))
    assert [row["completion"][0]["content"] for row in rows] == [
        " ".join(query.text.split()) for query in bench.queries
    ]
    first = bench.toolset[bench.toolset.positions[next(iter(bench.qrels[bench.queries[0].query_id]))]]
    assert first.description.split()[0] in rows[0]["prompt"][-1]["content"]


def test_a_tool_that_needs_an_id_is_asked_for_with_what_provides_it() -> None:
    planned = [[tool.tool_id for tool in group] for group in groups(TOOLS, 4)]
    assert ["movies/search_movie", "movies/get_movie_credits"] in planned
    assert all("mail/noop" not in group for group in planned)  # nothing is said of it that a request could say


def test_the_plan_is_no_longer_than_asked_for() -> None:
    assert len(groups(list(load("sample", "train").toolset), 20)) <= 20


def test_empty_answers_are_left_out_and_the_others_are_one_line() -> None:
    plan = [{"catalogue": "c", "tools": [tool.tool_id], "prompt": messages([tool])} for tool in TOOLS[:3]]
    written = list(ask(Echo(), plan))
    assert {row["tools"][0] for row in written} == {"movies/search_movie", "movies/get_movie_credits"}
    assert all("\n" not in row["query"] and row["query"].startswith("please ") for row in written)


def test_only_requests_that_lead_back_to_all_their_tools_are_kept(encoder: Encoder) -> None:
    bench = load("sample", "train")
    mail, other = "mail/send_message", "weather/find_location"
    assert {mail, other} <= set(bench.toolset.ids)
    good = {"catalogue": "c", "tools": [mail], "query": "send an email to Ann"}
    bad = {"catalogue": "c", "tools": [mail, other], "query": "send an email to Ann"}
    assert round_trip(list(bench.toolset), [good, bad], encoder) == [good]


def test_synthetic_requests_are_loaded_by_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "CATALOGUES", {"mine:": lambda: TOOLS})
    file = tmp_path / "synthetic.jsonl"
    file.write_text(json.dumps({"catalogue": "mine:", "query": "who is in Alien?", "tools": ["movies/search_movie"]}))
    (bench,) = synthetic.load_synthetic(file)
    assert bench.dataset_id == "synthetic/mine"
    assert bench.qrels[bench.queries[0].query_id] == {"movies/search_movie": 1}
    assert len(bench.toolset) == 4


def test_expanded_tools_are_found_by_what_was_written_for_them(encoder: Encoder) -> None:
    class Dictating(Echo):
        def generate(self, conversations, decoding: Decoding, deadline: float | None = None) -> list[list[str]]:
            return [
                ["zebra giraffe"] * decoding.samples if "cast" in one[-1]["content"] else [""] for one in conversations
            ]

    tools = expanded(Toolset(TOOLS), Dictating(), 2)
    assert [tool.tool_id for tool in tools] == [tool.tool_id for tool in TOOLS]
    assert tools[0].description == TOOLS[0].description
    assert tools[1].description == "Get the cast and crew of a movie.\nzebra giraffe"
    retriever = HybridRetriever(build_in_memory(tools, encoder), encoder)
    assert retriever.nearest("zebra giraffe", 1)[0].tool_id == "movies/get_movie_credits"


def test_without_the_model_the_system_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AbsentDataError, match="no model that writes requests"):
        load_generator(tmp_path / "generator.safetensors")
