"""How many tools an answer holds: as many as fit a token budget, and as many as are enough."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from qta.encoder import WEIGHTS
from service import Settings, create_app
from tests.conftest import Finished, Server
from tests.service.test_answer import ask, ids, reasons


def tokens(value: Any) -> int:
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.no_truncation()
    return len(tokenizer.encode(json.dumps(value, ensure_ascii=False), add_special_tokens=False).ids)


@pytest.mark.parametrize(
    "form", [{}, {"detail": "description"}, {"format": "openai"}, {"format": "tool_search_output"}]
)
def test_as_many_tools_as_fit_a_budget(server: Server, form: dict[str, str]) -> None:
    budget = 1200
    answer = ask(server, query="refund order 8841", token_budget=budget, **form)
    plain = ask(server, query="refund order 8841", k=100, **form)
    assert ids(answer) == ids(plain)[: len(ids(answer))]
    sent = answer["tools"]
    if "format" not in form:
        sent = [{name: value for name, value in one.items() if name not in ("score", "rank")} for one in sent]
    assert answer["tokens"] == tokens(sent) <= budget
    rest = plain["tools"]["tools"] if form.get("format") == "tool_search_output" else plain["tools"]
    following = {name: value for name, value in rest[len(ids(answer))].items() if name not in ("score", "rank")}
    assert answer["tokens"] + tokens(following) + 1 > budget, "one more would have fitted"
    assert answer["tokens_saved"] > 0
    assert answer["k"] == len(ids(answer)) > 1
    assert "whole_catalogue" not in answer


def test_a_catalogue_that_fits_is_returned_whole(server: Server) -> None:
    answer = ask(server, query="refund order 8841", token_budget=100_000)
    assert answer["whole_catalogue"] is True
    assert (answer["k"], len(set(ids(answer))), answer["tokens_saved"]) == (258, 258, 0)
    assert ids(answer)[:5] == ids(ask(server, query="refund order 8841"))
    permitted = ask(server, query="refund order 8841", token_budget=6_000, filter={"sources": ["shop"]})
    assert permitted["whole_catalogue"] is True
    assert {one.partition("/")[0] for one in ids(permitted)} == {"shop"}
    assert "whole_catalogue" not in ask(server, query="refund order 8841", token_budget=100_000, k=5)


def test_a_budget_below_every_tool_says_so(server: Server) -> None:
    answer = ask(server, query="refund order 8841", token_budget=1)
    assert (answer["tools"], answer["tokens"]) == ([], 0)
    assert reasons(answer) == ["budget_too_small"]
    large = ask(server, query="refund order 8841", token_budget=200)
    assert 0 < large["tokens"] <= 200
    assert set(reasons(large)) <= {"larger_than_budget"}


def test_what_must_come_and_does_not_fit_is_named(server: Server) -> None:
    always = ["shop/request_refund", "weather/find_location", "shop/list_orders"]
    answer = ask(server, query="refund", detail="name", token_budget=50, always=always)
    left = set(always) - set(ids(answer))
    assert ids(answer)
    assert left
    [told] = answer["degraded"]
    assert told["reason"] == "always_over_budget"
    assert all(tool_id in told["detail"] for tool_id in left)
    assert ask(server, query="refund", detail="name", token_budget=500, always=always)["degraded"] == []


def test_another_tokenizer_counts(tmp_path: Path, sample_folder: Path, cli: Callable[..., Finished]) -> None:
    letters = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.save(str(tmp_path / "tokenizer.json"))
    client = create_app(Settings(index=sample_folder, budget_tokenizer=tmp_path / "tokenizer.json")).test_client()
    answer = client.post("/retrieve", json={"query": "refund", "token_budget": 3000, "format": "anthropic"}).json
    text = json.dumps(answer["tools"], separators=(",", ":"), ensure_ascii=False)
    assert 1000 < len(text) <= 3000
    assert answer["tokens"] == len(text)


def test_a_tokenizer_that_is_none_is_refused_at_the_start(
    tmp_path: Path, sample_folder: Path, qta: Callable[..., Finished]
) -> None:
    (tmp_path / "t.json").write_text("{}")
    setting = {"QTA_BUDGET_TOKENIZER": str(tmp_path / "t.json")}
    refused = qta("serve", "--index", sample_folder, environment=setting)
    assert refused.status == 2
    assert "t.json: no tokenizer" in refused.err
    assert "Traceback" not in refused.err


def test_as_many_tools_as_are_enough(server: Server) -> None:
    answer = ask(server, query="cancel order 8841", k="auto")
    assert answer["confidence"] == 0.9
    assert answer["k"] == len(answer["tools"])
    assert "no_tool_fits" not in answer
    sizes = {ask(server, query=text, k="auto")["k"] for text in ("shop/cancel_order", "do something", "rain in Oslo")}
    assert len(sizes) > 1, "the number follows the request"
    cut = ask(server, query="cancel order 8841", k="auto", token_budget=400)
    assert cut["k"] < answer["k"]
    assert cut["confidence"] < 0.9


def test_a_request_that_no_tool_fits_is_called_that(server: Server) -> None:
    answer = ask(server, query="what is the meaning of life", k="auto")
    assert answer["no_tool_fits"] is True
    assert answer["tools"], "what there is is listed all the same"
    assert answer["confidence"] < 0.05
    assert ask(server, query="what is the meaning of life")["no_tool_fits"] is True
    assert "no_tool_fits" not in ask(server, query="what is the meaning of shop/cancel_order")
