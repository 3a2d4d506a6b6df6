"""`import qta` and `qta.load`: light to import, a catalogue from a folder or from records."""

import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import qta
from mtrb.errors import ArtefactError, InputError
from qta.asking import Form, Request
from qta.rewriting import RewriterChoice
from tests.conftest import ROOT

RECORDS: list[dict[str, Any]] = [
    {"name": "get_weather", "description": "Weather forecast for a city."},
    {"type": "function", "function": {"name": "send_mail", "description": "Send an email.", "parameters": {}}},
    {"name": "find_contact", "description": "Look up a mail address.", "input_schema": {"type": "object"}},
    {"name": "convert", "description": "Convert an amount into another currency.", "inputSchema": {"type": "object"}},
    {"id": "files/read", "name": "read_file", "description": "Read a file.", "parameters": {"type": "object"}},
]


def test_a_folder_is_searched_in_a_few_lines(sample_folder: Path) -> None:
    tools = qta.load(str(sample_folder))
    answer = tools.retrieve("refund order 8841", k=3)
    assert answer.tools[0].tool_id == "shop/request_refund"
    assert len(answer.tools) == 3
    assert answer.rewritten_query is None


def test_a_rewriter_that_is_dead_does_not_keep_from_searching(sample_folder: Path) -> None:
    dead = RewriterChoice("http://127.0.0.1:9/v1", model="any", timeout=5)
    answer = qta.load(sample_folder, rewriter=dead).retrieve("refund order 8841", rewrite="always")
    assert answer.tools[0].tool_id == "shop/request_refund"
    assert [entry["reason"] for entry in answer.degraded] == ["rewrite_failed"]


def test_records_of_every_form_are_searched() -> None:
    tools = qta.load(tools=RECORDS)
    found = {query: tools.retrieve(query, k=1).tools[0].tool_id for query in ("will it rain", "5 euro in yen")}
    assert found == {"will it rain": "get_weather", "5 euro in yen": "convert"}
    assert tools.retrieve("read_file", k=1).tools[0].tool_id == "files/read"
    assert tools.about["tools"] == len(RECORDS)


@pytest.mark.parametrize("format_", ["openai", "anthropic", "tool_reference", "mcp"])
def test_a_name_that_several_tools_have_is_none_of_theirs_in_any_answer(format_: Any) -> None:
    named = {"gmail": "Send an email via Gmail.", "outlook": "Send an email via Outlook."}
    records = [
        {"id": f"{one}/send_email", "name": "send_email", "description": text, "source": one}
        for one, text in named.items()
    ]
    tools = qta.load(tools=[*records, {"name": "rain", "description": "Will it rain?"}])
    behind: dict[str, set[str]] = {}
    for query, k in (("email Bob via Gmail", 2), ("email Bob via Outlook", 2), ("email Bob via Outlook", 1)):
        answer = tools.answer(Request(query, k, form=Form(format_))).to_json()
        for name, tool_id in answer["names"].items():
            behind.setdefault(tool_id, set()).add(name)
    assert {tool_id: len(names) for tool_id, names in behind.items() if tool_id != "rain"} == {
        "gmail/send_email": 1,
        "outlook/send_email": 1,
    }
    assert not any("send_email" in names for names in behind.values())
    alone = tools.answer(Request("will it rain", 1, form=Form(format_))).to_json()
    assert "names" not in alone


def test_of_a_request_of_which_nothing_is_known_no_tool_comes_twice() -> None:
    records = [{"name": f"tool_{n}", "description": f"Handle the widget number {n}."} for n in range(5001)]
    tools = qta.load(tools=[*records, {"name": "pay_wages", "description": "Pay the wages."}])
    for query in ("\N{GRINNING FACE}", "\N{GRINNING FACE} \N{PARTY POPPER} \N{PARTY POPPER} wages"):
        ids = [tool.tool_id for tool in tools.retrieve(query, k=5).tools]
        assert len(set(ids)) == len(ids) == 5
    assert ids[0] == "pay_wages", "a word of it is known"
    asked = Request("\N{GRINNING FACE} \N{PARTY POPPER} \N{PARTY POPPER} wages", 1, always=("tool_3",))
    assert not tools.answer(asked).no_tool_fits, "whatever else comes"
    unknown = tools.retrieve("\N{GRINNING FACE}", k="auto")
    assert unknown.no_tool_fits
    assert unknown.confidence == 0


def test_the_folder_of_records_goes_with_what_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tools = qta.load(tools=RECORDS[:1])
    assert len(list(tmp_path.iterdir())) == 1
    del tools
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "give either an index folder or tools"),
        ({"index": "x", "tools": []}, TypeError, "give either"),
        ({"index": "nothing"}, ArtefactError, "nothing: no index; make one with `qta index"),
        ({"tools": RECORDS, "rewriter": "nothing"}, ArtefactError, "nothing: no rewriter"),
        ({"tools": []}, InputError, "no tools: give at least one record"),
        ({"tools": [RECORDS[0], {"description": "x"}]}, InputError, r"tools\[1\]: the name is missing"),
        ({"tools": ["get_weather"]}, InputError, r"tools\[0\]: a tool must be an object, not str"),
        ({"tools": [RECORDS[0], RECORDS[0]]}, InputError, "tool id 'get_weather' occurs twice"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        qta.load(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_import_loads_nothing_that_takes_time() -> None:
    code = "import sys; before = set(sys.modules); import qta; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.strip(" '[]\n").partition(".")[0] for name in done.stdout.split(",")}
    assert {name for name in loaded if name not in sys.stdlib_module_names} == {"qta"}


@pytest.mark.parametrize("k", [0, -1, 2.5, "5", None, True])
def test_a_number_of_tools_that_is_none_is_refused(k: Any, sample_folder: Path) -> None:
    with pytest.raises(InputError, match="expected how many tools, 1 or more, or 'auto'"):
        qta.load(sample_folder).retrieve("refund", k)


@pytest.mark.parametrize("query", ["", "  ", None, 7, "a\ud800"])
def test_a_request_that_is_no_text_is_refused(query: Any, sample_folder: Path) -> None:
    with pytest.raises(InputError, match="the request is"):
        qta.load(sample_folder).retrieve(query)
