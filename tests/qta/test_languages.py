"""Requests in other languages: which language it is, how it reads in English, and that its tool is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtrb.benchmarks import load
from mtrb.types import Query, Tool, Toolset
from qta.encoder import Encoder
from qta.hybrid import HybridRetriever
from qta.index import build_in_memory
from qta.languages import detect, read_in_english
from qta.reading import Reader

LANGUAGES = {
    "refund order 8841": None,
    "Where is my parcel?": None,
    "send a mail to die Bank": None,
    "compute 443 * 349": None,
    "list_products: Lists existing products": None,
    "": None,
    "🙂 42": None,
    "Rechnung 8841 löschen": "de",
    "wo ist mein Paket": "de",
    "annule la réunion de demain": "fr",
    "cancela la reunión de mañana, por favor": "es",
    "disdici la riunione di domani": "it",
    "cancele a reunião de amanhã": "pt",
    "удали счёт 8841": "ru",
    "明日の会議を取り消して": "ja",
    "删除发票 8841": "zh",
    "会議室予約": "ja",  # no kana in it
    "天気": "ja",
    "会议室预订": "zh",
    "查天气": "zh",
    "내일 회의 취소해 줘": "ko",
}


@pytest.mark.parametrize("text", LANGUAGES)
def test_the_language_is_told(text: str) -> None:
    assert detect(text) == LANGUAGES[text]


READINGS = {
    "Rechnung 8841 löschen": {"invoice", "8841", "delete"},
    "удали счёт 8841": {"delete", "8841"},
    "删除发票 8841": {"delete", "invoice", "8841"},
    "請求書削除": {"invoice", "delete"},
    "明日の会議を取り消して": {"tomorrow", "meeting", "cancel"},
    "내일 회의 취소해 줘": {"tomorrow", "meeting", "cancel"},
    "annule la réunion de demain": {"cancel", "meeting", "tomorrow"},
    "cancela la reunión de mañana": {"cancel", "meeting", "tomorrow"},
    "disdici la riunione di domani": {"cancel", "meeting", "tomorrow"},
    "cancele a reunião de amanhã": {"cancel", "meeting", "tomorrow"},
    "die Rechnungsnummer von Frau Abramczyk ändern": {"invoice", "number", "change", "Abramczyk"},
    "PRの#4512をdeploy_serviceでデプロイして": {"#4512", "deploy_service"},
}


@pytest.mark.parametrize("text", READINGS)
def test_a_request_reads_in_english(text: str) -> None:
    reading = read_in_english(text)
    assert reading is not None
    assert READINGS[text] <= set(reading.replace(".", " ").split()), reading


def test_english_is_left_as_it_is() -> None:
    bench = load("sample", "validation")
    english = [query.text for query in bench.queries if bench.groups[query.query_id] == "en"]
    assert len(english) > 20
    assert [text for text in english if detect(text)] == []
    assert [tool.name for tool in bench.toolset if detect(tool.default_text())] == []


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    reading = read_in_english(text)
    assert reading is None or any(character.isalnum() for character in reading)


MAIL = Toolset(
    [
        Tool("mail/delete", "delete_invoice", "Delete an invoice."),
        Tool("hotel/book", "book_room", "Book a hotel room."),
        Tool("meet/move", "reschedule", "Move a meeting to another time."),
        Tool("stock/price", "get_quote", "Price of a share."),
        Tool("wetter", "Wettervorhersage", "Gibt die Wettervorhersage für eine Stadt zurück."),
    ]
)


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("删除发票", "mail/delete"),
        ("预订酒店", "hotel/book"),
        ("ホテルを予約して", "hotel/book"),
        ("перенеси встречу", "meet/move"),
        ("회의 시간을 옮겨 줘", "meet/move"),
        ("verschieb bitte die Besprechung", "meet/move"),
        ("supprime la facture", "mail/delete"),
        ("weather forecast for a city", "wetter"),
        ("quel temps fera-t-il demain, la météo de la ville", "wetter"),
    ],
)
def test_its_tool_is_found(text: str, tool: str, encoder: Encoder) -> None:
    retriever = HybridRetriever(build_in_memory(MAIL, encoder), encoder)
    assert retriever.retrieve([Query("q", text)], 1)["q"][0].tool_id == tool


def test_what_neither_encoder_nor_glossary_knows_takes_no_part(encoder: Encoder) -> None:
    reading = Reader(encoder).read("ยกเลิกคำสั่งซื้อ")
    assert not reading.understood
    assert not reading.vector.any()
    assert not Reader(encoder).read("\u200b").understood  # nothing is left of it to encode
    assert Reader(encoder).read("refund").understood
    assert Reader(encoder).read("删除发票").understood
