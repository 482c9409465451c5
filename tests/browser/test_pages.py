"""Every room of the desk opens whole: no script fails, and nothing that a page asks for is missing."""

import pytest
from playwright.sync_api import Page, expect

from inventory.documents import begin_stocktake
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.services import open_drop
from orders.lifecycle import add_note
from orders.models.drops import Lane
from tests.browser.conftest import Desk
from tests.support.books import make_books
from tests.support.corruption import open_shop
from tests.support.drop_rows import make_drop_rows

pytestmark = pytest.mark.sqlite


def speak(page: Page, language: str) -> None:
    """Choose a language in the menu below the sidebar."""
    button = page.locator(f"form:has(input[name=language][value={language}]) button")
    if not button.first.is_visible():
        page.locator("#nav-sidebar").get_by_text("operator@example.com").click()
    button.first.click()
    expect(page.locator("html")).to_have_attribute("lang", language)


def rooms(page: Page) -> list[str]:
    addresses = [a.get_attribute("href") or "" for a in page.locator("#nav-sidebar-apps a").all()]
    return [address for address in addresses if address.startswith("/admin/")]


@pytest.fixture(scope="module")
def furnished(signed_in: Desk) -> None:
    """Something in every room."""
    shop = open_shop()
    make_books(shop.option, signed_in.operator)
    make_drop_rows(shop.option)
    drop = create_drop(
        name="Seongsu drop", items=[ItemDraft(shop.option.pk, 5)], limit=1, lane=Lane.GROUP_COMMIT
    )
    open_drop(drop.pk)
    add_note(order_id=shop.orders["paid"].pk, text="gift", author_id=signed_in.operator.pk)
    begin_stocktake(stock_ids=[shop.stock.pk], actor_id=signed_in.operator.pk)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_room_and_the_first_record_in_it_opens(desk: Desk, furnished: None, language: str) -> None:
    page = desk.page
    speak(page, language)
    found = rooms(page)
    assert len(found) >= 25, found
    opened = 0
    for address in found:
        desk.open(address)
        expect(page.locator("#content")).to_be_visible()
        assert desk.wrong == []
        assert page.locator("html").get_attribute("lang") == language
        record = page.locator("#result_list th a").first
        if record.count():
            record.click()
            expect(page.locator("#content")).to_be_visible()
            page.wait_for_load_state()
            opened += 1
    assert opened >= 20
    speak(page, "en")


def test_records_unfold_by_keyboard_and_stay_open_on_their_own_pages(desk: Desk) -> None:
    side = desk.page.locator("#nav-sidebar")
    records, lines = side.get_by_role("button", name="Records"), side.get_by_role("link", name="Order lines")
    expect(records).to_have_attribute("aria-expanded", "false")
    expect(lines).to_be_hidden()
    records.focus()
    desk.page.keyboard.press("Enter")
    expect(records).to_have_attribute("aria-expanded", "true")
    lines.click()
    expect(lines).to_have_attribute("aria-current", "page")
    expect(records).to_have_attribute("aria-expanded", "true")


def test_what_is_read_of_a_link_is_not_its_icons_name(desk: Desk) -> None:
    """An icon is a word in a font: "filter_list"."""
    for address in ("/admin/", "/admin/shop/product/"):
        desk.open(address)
        for icon in desk.page.locator("a:visible .material-symbols-outlined").all():
            expect(icon).to_have_attribute("aria-hidden", "true")


@pytest.mark.parametrize("room", ["Orders", "Holds", "Stock", "Movements"])
def test_the_lists_of_every_day_fit_a_desk_of_1280_px(desk: Desk, furnished: None, room: str) -> None:
    desk.room(room)
    frame = desk.page.locator(
        "[data-simplebar]:has(> #result_list), .simplebar-content-wrapper:has(#result_list)"
    )
    assert frame.last.evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0
