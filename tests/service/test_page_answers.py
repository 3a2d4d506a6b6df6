"""What the page shows of an answer and sends back: the rewrite, reasons, tokens, feedback, keys; and what is missing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route, expect

from qta.keys import KeyStore
from tests.conftest import Server, serving
from tests.qta.rewriting.test_endpoint import Endpoint
from tests.service.conftest import Open, ask


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.server.shutdown()
    running.server.server_close()


def fulfil(route: Route, status: int, **content: Any) -> None:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": "x", **content}
    route.fulfill(status=status, content_type="application/problem+json", body=json.dumps(body))


def test_the_rewrite_is_shown(open_page: Open, sample_folder: Path, endpoint: Endpoint) -> None:
    with serving(sample_folder, "--workers", "1", "--rewriter", endpoint.url, "--rewriter-model", "tiny") as server:
        page = open_page(server=server)
        endpoint.answers = ["find the order; <i>pay the money back</i>"]
        page.select_option("#rewrite", "always")
        page.focus("#query")
        ask(page, "they want their cash back")
        expect(page.locator(".rewritten")).to_have_text("find the order; <i>pay the money back</i>")
        expect(page.locator("#summary")).to_contain_text("rewrite ")
        endpoint.answers = [500] * 9
        ask(page, " at once")
        expect(page.locator("#degraded")).to_contain_text("the request was ranked as it is")


def test_why_a_tool_is_there_and_what_was_saved(open_page: Open, own: Server) -> None:
    page = open_page()
    ask(
        page,
        "list_comments on file f_20931 in my storage please, and then tell the customer that order 8841 is refunded",
    )
    first = page.locator("#results article").first
    expect(first.locator(".chips")).to_have_text("named in the request")
    expect(first.locator(".why")).to_contain_text("meaning")
    widths = [bar.bounding_box()["width"] for bar in first.locator(".bar > span").all()]
    assert widths[0] > widths[1] > 5
    chips = page.locator("#results .chips").all_inner_texts()
    assert "for “tell the customer that order 8841 is refunded”" in chips
    assert any(chip.startswith("provides an id for ") for chip in chips)
    expect(page.locator("#summary")).to_contain_text(" for the whole catalogue")


def test_feedback_is_given_and_kept(open_page: Open, own: Server) -> None:
    page = open_page()
    ask(page, "refund order 8841")
    send = page.locator("#feedback button")
    expect(send).to_have_text("None was of use")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    second = page.locator("#results article").nth(1)
    expect(second.get_by_role("button", name="Used")).to_have_attribute("aria-pressed", "true")
    expect(send).to_have_text("Send: 1 tool used")
    with page.expect_request("**/feedback") as sent:
        send.click()
    assert sent.value.post_data_json["used"] == [second.get_attribute("data-id")]
    expect(page.locator("#feedback-status")).to_have_text("Kept, thank you.")
    page.focus("#query")
    page.keyboard.press("Enter")
    expect(page.locator("#results .chips", has_text="used before")).to_have_count(1)


def test_an_older_service_is_asked_for_what_it_has(open_page: Open) -> None:
    page = open_page()
    asked = []

    def refuse(route: Route) -> None:
        body = route.request.post_data_json
        asked.append(set(body))
        extra = [name for name in ("explain", "token_budget") if name in body]
        if extra:
            errors = [{"field": name, "message": "Extra inputs are not permitted"} for name in extra]
            return fulfil(route, 422, errors=errors)
        answer = route.fetch().json()
        tools = [{name: value for name, value in tool.items() if name != "why"} for tool in answer["tools"]]
        return route.fulfill(json={"tools": tools, "query": answer["query"], "request_id": "r"})

    page.route("**/retrieve", refuse)
    page.route("**/feedback", lambda route: fulfil(route, 404))
    ask(page, "refund order 8841")
    ask(page, " please")
    assert asked == [{"query", "k", "rewrite", "explain", "token_budget"}, *[{"query", "k", "rewrite"}] * 2]
    expect(page.locator("#feedback")).not_to_be_visible()
    expect(page.get_by_role("button", name="Used")).to_have_count(0)


def test_a_key_is_asked_for_and_kept_in_this_tab_only(open_page: Open) -> None:
    page = open_page()

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer qta_secret":
            route.continue_()
        else:
            fulfil(route, 401, detail="send a key as `Authorization: Bearer KEY`")

    page.context.route(lambda url: urlsplit(url).path in ("/retrieve", "/tools", "/feedback"), guard)
    page.keyboard.type("refund order 8841")
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#key-reason")).to_contain_text("Bearer KEY")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_be_empty()
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type("qta_secret")
    page.keyboard.press("Enter")
    expect(page.locator("#results article").first).to_contain_text("shop/request_refund")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.reload()
    page.goto(page.url.partition("#")[0] + "#catalogue")
    expect(page.locator("#tools article")).to_have_count(50)
    page.get_by_role("button", name="Forget the API key").click()
    expect(page.locator("#key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_service_that_has_keys_is_used_with_one(open_page: Open, sample_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sample_folder, tmp_path / "index"))
    _, token = KeyStore(folder).create("team", "retrieve", ["team-a"])
    with serving(folder, "--workers", "1") as server:
        page = open_page(server=server)
        page.keyboard.type("refund order 8841")
        page.keyboard.press("Enter")
        expect(page.locator("#key")).to_be_focused()
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        expect(page.locator("#results article").first).to_contain_text("shop/request_refund")
        expect(page.locator("#index")).to_be_empty()  # how many tools there are, this key is not told
