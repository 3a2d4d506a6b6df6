"""The page at `/`, in a real browser against a real server: by keyboard, on a phone, in the dark, with hostile tools."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Server
from tests.service.conftest import HOSTILE, Open, ask

PHONE = {"width": 390, "height": 844}


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def test_asking_and_reading_without_a_mouse(open_page: Open) -> None:
    page = open_page()
    ask(page, "refund order 8841")
    first = page.locator("#results article").first
    expect(first).to_contain_text("shop/request_refund")
    expect(page.locator("#results article")).to_have_count(5)
    expect(page.locator("#ask-status")).to_contain_text("5 tools in")
    expect(page.locator("#summary")).to_contain_text("no, ranked as asked")
    expect(page.locator("#summary")).to_contain_text("encode")
    page.keyboard.press("ArrowDown")
    expect(first).to_be_focused()
    expect(first.locator("details").first).not_to_have_attribute("open", "")
    page.keyboard.press("Enter")
    expect(first.locator("dl")).to_contain_text("order_id")
    expect(first.locator("dl")).to_contain_text("required")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#results article").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("/")  # in the field it is a character like any other
    expect(page.locator("#query")).to_have_value("refund order 8841/")


def test_the_number_of_tools_is_chosen(open_page: Open) -> None:
    page = open_page()
    page.select_option("#k", "10")
    page.focus("#query")
    ask(page, "refund order 8841")
    expect(page.locator("#results article")).to_have_count(10)


def test_nothing_asked_is_an_error_that_says_what_to_do(open_page: Open) -> None:
    page = open_page()
    page.keyboard.type("  ")
    page.get_by_role("button", name="Find tools").click()
    expect(page.get_by_role("alert").filter(has_text="what is to be done")).to_be_visible()
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#query")).to_have_attribute("aria-invalid", "true")
    ask(page, "refund order 8841")
    expect(page.locator("#ask-error")).to_be_empty()


def test_an_error_of_the_service_is_shown_and_old_results_are_not(open_page: Open) -> None:
    page = open_page()
    ask(page, "refund order 8841")
    page.evaluate("document.getElementById('query').removeAttribute('maxlength')")
    page.fill("#query", "x" * 10_001)
    page.keyboard.press("Enter")
    expect(page.locator("#ask-error")).to_contain_text("at most 10000 characters")
    expect(page.locator("#results")).not_to_be_visible()


def test_a_service_that_is_gone_is_said(open_page: Open) -> None:
    page = open_page()
    page.route("**/retrieve", lambda route: route.abort())
    page.keyboard.type("refund")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-error")).to_contain_text("does not answer")


@pytest.mark.parametrize("view", ["", "#catalogue"])
def test_texts_of_tools_are_texts(open_page: Open, view: str) -> None:
    page = open_page(view)
    if view:
        page.fill("#search", "zoo/hostile")
    else:
        ask(page, "zebra crossing")
    found = page.locator("article", has_text="zoo/hostile")
    expect(found.locator("h2")).to_have_text(HOSTILE)
    expect(found.locator(".description")).to_have_text(HOSTILE)
    for summary in found.locator("summary").all():
        summary.click()
    expect(found.locator("dd")).to_have_text(HOSTILE)
    assert page.locator("article b, article img, article script").count() == 0
    assert page.evaluate("window.broken") is None


def test_what_is_no_text_is_refused_by_the_browser_itself(browser: Browser, own: Server) -> None:
    refused = "() => { try { document.body.innerHTML = '<b>x</b>'; return '' } catch (error) { return error.name } }"
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(own.url)
        assert page.evaluate(refused) == "TypeError"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["", "#catalogue", "#evaluation"])
def test_nothing_is_wider_than_a_phone_and_axe_has_nothing_to_say(open_page: Open, view: str, scheme: str) -> None:
    page = open_page(view, viewport=PHONE, color_scheme=scheme, is_mobile=True, has_touch=True)
    if not view:
        ask(page, "zebra crossing")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("f")
    if view == "#catalogue":
        page.fill("#search", "zoo")
        expect(page.locator("#search-status")).to_contain_text("2 of 2 tools")
    for summary in page.locator("summary:visible").all():
        summary.click()
    assert not scrolls_sideways(page)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 60)")
    assert dark == (scheme == "dark")


def test_the_catalogue_is_browsed_and_searched(open_page: Open, own: Server) -> None:
    page = open_page()
    page.get_by_role("link", name="Catalogue").click()
    tools = page.locator("#tools article")
    expect(tools).to_have_count(50)
    expect(page.locator("#search-status")).to_have_text("50 of 260 tools")
    page.get_by_role("button", name="Show more").click()
    expect(tools).to_have_count(100)
    expect(tools.nth(50)).to_be_focused()
    ids = [tool["id"] for tool in own.ask("/tools?limit=100").json["tools"]]
    assert [article.get_attribute("data-id") for article in tools.all()] == ids
    page.keyboard.press("/")
    page.keyboard.type("REFUND")
    expect(page.locator("#search-status")).to_contain_text("2 of 2 tools")
    expect(tools.first).to_contain_text("refund")
    expect(page.get_by_role("button", name="Show more")).not_to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(tools.first.locator("dl")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.type(" no such tool")
    expect(page.locator("#search-status")).to_have_text("No tool has that in its name or id.")
    expect(tools).to_have_count(0)
    page.go_back()
    expect(page.locator("#query")).to_be_focused()


def test_the_plot_is_shown_where_there_is_one(open_page: Open) -> None:
    page = open_page("#evaluation")
    expect(page.locator("#plot")).to_be_visible()
    assert page.evaluate("document.getElementById('plot').naturalWidth") > 1000
    without = open_page()
    without.route("**/sufficiency.png", lambda route: route.fulfill(status=404))
    without.reload()
    expect(without.get_by_role("link", name="Evaluation")).to_have_count(0)
