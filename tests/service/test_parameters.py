"""An answer in a vendor's form says what stands behind the names that the vendor does not allow."""

from typing import Any

from mtrb.types import ScoredTool, Tool
from qta.asking import Answer, Form
from service.answers import RetrieveAnswer

TOOLS = [
    Tool("api/GET%20/films", "GET /films", "Find films.", {"properties": {"filter[year]": {}, "page": {}}}),
    Tool("mail/send", "send", "Send a mail.", {"properties": {"to": {}}}),
]


def answered(form: Form) -> Any:
    ranking = [ScoredTool(tool.tool_id, 1.0) for tool in TOOLS]
    answer = Answer("x", 2, ranking, TOOLS, {"tools": 2, "search": "flat"}, form=form).to_json()
    RetrieveAnswer.model_validate(answer)
    return answer


def test_parameters_that_anthropic_does_not_allow_lead_back() -> None:
    answer = answered(Form("anthropic"))
    [name] = answer["parameters"]
    assert answer["names"][name] == "api/GET%20/films"
    [renamed] = answer["parameters"][name]
    assert answer["parameters"][name][renamed] == "filter[year]"
    assert list(answer["tools"][0]["input_schema"]["properties"]) == [renamed, "page"]


def test_other_forms_leave_parameters_as_they_are() -> None:
    for form in ("native", "openai", "openai_responses", "mcp", "tool_reference", "tool_search_output"):
        assert "parameters" not in answered(Form(form))
