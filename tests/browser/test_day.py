"""An operator's day at the desk, done with a mouse and a keyboard, and what the database says of it after."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from inventory.models import Kind, Movement, ReconciliationRun, Stock, Stocktake
from orders.bulk.running import carry_on
from orders.models import Order, OrderEvent, Payment, Refund, Settlement, Status
from orders.payments.services import pay
from orders.settlements.services import settle
from shop.models import Option, Store
from tests.browser.conftest import Desk
from tests.support.corruption import sql
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user, stock_of
from tests.support.orders import LEADS_TO, MARCH, delivered, make_order_at

pytestmark = pytest.mark.sqlite


def press(page: Page, button: str) -> None:
    page.locator("#content").get_by_role("button", name=button, exact=True).click()


def follow(page: Page, name: str) -> None:
    page.locator("#content, #main").get_by_role("link", name=name, exact=True).first.click()


def says(page: Page, text: str) -> None:
    expect(page.locator("#main")).to_contain_text(text)


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


def last_movement(option: Option) -> Movement:
    return Movement.objects.filter(stock__option=option).latest("sequence")


def test_a_store_is_accepted(desk: Desk) -> None:
    store = make_store(name="Atelier Seongsu", status=Store.Status.REQUESTED)
    page = desk.room("Stores")
    follow(page, "Atelier Seongsu")
    follow(page, "Accept")
    says(page, "The store's products are listed and sold from now on.")
    press(page, "Accept")
    says(page, "Atelier Seongsu: accepted.")
    store.refresh_from_db()
    assert (store.status, store.decided_at is not None) == (Store.Status.ACCEPTED, True)
    expect(page.get_by_role("link", name="Accept", exact=True)).to_have_count(0)


def test_stock_is_received_and_adjusted(desk: Desk) -> None:
    option, *_ = make_options([10], name="Linen shirt")
    page = desk.room("Stock")
    follow(page, option.sku)
    follow(page, "Receive")
    page.get_by_label("Units received").fill("5")
    page.get_by_label("Reason").fill("Delivery from Dongdaemun")
    page.get_by_label("Reference").fill("DN-7")
    press(page, "Preview")
    expect(row(page, option.sku)).to_contain_text("10 → 15")
    assert stock_of(option) == (10, 0), "a preview changes nothing"
    press(page, "Receive")
    says(page, f"{option.sku}: +5. 15 on hand, 15 available now.")
    done = last_movement(option)
    assert (done.kind, done.delta_on_hand, done.on_hand_after) == (Kind.RECEIVE, 5, 15)
    assert (done.actor, done.reason, done.reference) == (desk.operator, "Delivery from Dongdaemun", "DN-7")

    follow(page, "Adjust")
    page.get_by_label("Difference").fill("-16")
    page.get_by_label("Reason").select_option("damaged")
    page.get_by_label("Note").fill("wet box")
    press(page, "Preview")
    says(page, "At most 15 can be taken away")
    page.get_by_label("Difference").fill("-2")
    press(page, "Preview")
    press(page, "Adjust")
    says(page, f"{option.sku}: -2. 13 on hand, 13 available now.")
    done = last_movement(option)
    assert (done.kind, done.delta_on_hand, done.actor) == (Kind.ADJUST, -2, desk.operator)
    assert done.reason == "damaged: wet box"
    assert stock_of(option) == (13, 0)

    follow(page, "Timeline")
    expect(row(page, "damaged: wet box")).to_contain_text(desk.operator.email)
    says(page, "13 on hand, 0 reserved, 13 available")


def test_a_stocktake_is_counted_and_applied(desk: Desk) -> None:
    small, large, right = make_options([10, 20, 30], name="Wool coat")
    page = desk.room("Stock")
    for option in (small, large, right):
        row(page, option.sku).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label="Count selected options")
    press(page, "Run")
    page.get_by_label(small.sku).fill("9")
    page.get_by_label(large.sku).fill("22")
    page.get_by_label(right.sku).fill("30")
    press(page, "Save and preview")
    says(page, "1 line was counted as it is on record.")
    expect(row(page, small.sku)).to_contain_text("10 → 9")
    expect(row(page, large.sku)).to_contain_text("20 → 22")
    assert stock_of(small) == (10, 0), "a preview changes nothing"
    press(page, "Apply the differences")
    expect(page.get_by_role("button", name="Apply the differences")).to_have_count(0)
    assert [stock_of(option)[0] for option in (small, large, right)] == [9, 22, 30]
    assert {last_movement(option).actor for option in (small, large)} == {desk.operator}
    assert last_movement(right).kind == Kind.RECEIVE, "what was right has no movement"
    stocktake = Stocktake.objects.latest("pk")
    assert (stocktake.status, stocktake.ended_by) == ("applied", desk.operator)


def test_an_order_is_paid_shipped_delivered_and_returned(desk: Desk) -> None:
    buyer = make_user(address=True)
    option, *_ = make_options([10], name="Denim jacket", price=30_000)
    order = make_order(buyer, (option, 3))
    pay(order_id=order.pk, provider="manual", token="", shipping=ADDRESS, actor_id=buyer.pk)
    page = desk.room("Orders")
    follow(page, order.number)

    follow(page, "Confirm payment")
    says(page, "90,000")
    press(page, "Confirm payment")
    says(page, f"{order.number}: paid.")
    order.refresh_from_db()
    assert order.status == Status.PAID
    assert Payment.objects.get(order=order).status == Payment.Status.APPROVED

    follow(page, "Packing list")
    expect(page.get_by_role("heading", name="Packing list")).to_be_visible()
    expect(row(page, option.sku)).to_contain_text("Denim jacket")
    page.go_back()

    follow(page, "Ship")
    page.get_by_label("Carrier").fill("CJ Logistics")
    page.get_by_label("Tracking number").fill("6300-1234")
    press(page, "Ship")
    says(page, f"{order.number}: shipped.")
    assert stock_of(option) == (7, 0)
    assert last_movement(option).kind == Kind.SHIP

    follow(page, "Mark as delivered")
    press(page, "Mark as delivered")
    says(page, f"{order.number}: delivered.")

    follow(page, "Take units back")
    page.get_by_label("Reason").fill("too small")
    page.get_by_label("Denim jacket").fill("2")
    press(page, "Take units back")
    says(page, f"{order.number}: units taken back.")
    restocked = last_movement(option)
    assert (restocked.kind, restocked.delta_on_hand) == (Kind.RESTOCK, 2)
    assert (restocked.actor, restocked.reference) == (desk.operator, order.number)
    order.refresh_from_db()
    assert order.status == Status.DELIVERED, "one unit is still out"

    follow(page, "Take units back")
    page.get_by_label("Reason").fill("the last one as well")
    page.get_by_label("Denim jacket").fill("1")
    press(page, "Take units back")
    order.refresh_from_db()
    assert order.status == Status.RETURNED
    assert stock_of(option) == (10, 0)
    assert sum(Refund.objects.filter(payment__order=order).values_list("amount", flat=True)) == 90_000
    steps = OrderEvent.objects.filter(order=order, actor=desk.operator).order_by("id")
    assert list(steps.values_list("to_status", flat=True)) == ["paid", "shipped", "delivered", "returned"]


def test_a_difference_is_found_and_fixed(desk: Desk) -> None:
    option, *_ = make_options([10], name="Silk scarf")
    sql("UPDATE inventory_stock SET on_hand = 12 WHERE option_id = %s", option.pk)
    page = desk.room("Reconciliation runs")
    follow(page, "Run now")
    page.get_by_label("SKU").fill(option.sku)
    press(page, "Run now")
    says(page, "1 stock row checked. 1 difference found.")
    expect(row(page, option.sku)).to_contain_text("The counter was overwritten without a movement")
    run = ReconciliationRun.objects.latest("pk")
    assert (run.by, run.found, run.fixed) == (desk.operator, 1, 0)

    row(page, option.sku).get_by_role("link").first.click()
    follow(page, "Fix")
    press(page, "Fix")
    says(page, "Movement 2:")
    assert stock_of(option) == (10, 0)
    done = last_movement(option)
    assert (done.kind, done.delta_on_hand, done.actor) == (Kind.CORRECT, 0, desk.operator)
    assert run.differences.get().fixed_by == done

    desk.room("Reconciliation runs")
    follow(page, "Run now")
    page.get_by_label("SKU").fill(option.sku)
    press(page, "Run now")
    says(page, "1 stock row checked. 0 differences found.")
    assert Stock.objects.get(option=option).sequence == 2


def test_a_settlement_is_approved(desk: Desk) -> None:
    option, *_ = make_options([10], name="Canvas bag", price=20_000)
    delivered(make_user(address=True), (option, 2))
    settle(*MARCH, store_id=option.product.store_id)
    page = desk.page

    desk.room("Settlements")
    expect(row(page, "36,000")).to_contain_text("10.00%")
    row(page, "36,000").get_by_role("link").first.click()
    follow(page, "Approve")
    says(page, "36,000")
    press(page, "Approve")
    says(page, "approved.")
    settlement = Settlement.objects.get(store=option.product.store_id)
    assert (settlement.status, settlement.approved_by) == (Settlement.Status.APPROVED, desk.operator)
    assert (settlement.gross, settlement.commission, settlement.payable) == (40_000, 4_000, 36_000)
    expect(page.get_by_role("link", name="Approve", exact=True)).to_have_count(0)

    page.get_by_role("link", name="to print").click()
    expect(page.get_by_role("heading")).to_have_text(re.compile("Settlement"))
    expect(page.locator("body")).to_contain_text("36,000")
    expect(page.locator("body")).to_contain_text("Approved on")


def test_an_order_is_found_by_phone_sent_elsewhere_and_lost(desk: Desk) -> None:
    (option,) = make_options([10], name="Wool coat", price=50_000)
    order = make_order_at(Status.PAID, make_user(address=True), (option, 1))
    page = desk.room("Orders")
    search = page.locator("#searchbar")
    search.fill("1234-5678")
    search.press("Enter")
    follow(page, order.number)

    follow(page, "Correct address")
    expect(page.get_by_label("Recipient")).to_have_value(ADDRESS["recipient"])
    page.get_by_label("Phone").fill("010-8765-4321")
    press(page, "Correct address")
    says(page, f"{order.number}: address corrected.")
    says(page, f"{ADDRESS['phone']} → 010-8765-4321")

    LEADS_TO[Status.SHIPPED](order)
    page.reload()
    follow(page, "Correct tracking number")
    page.get_by_label("Tracking number").fill("6012-3456-7890")
    press(page, "Correct tracking number")
    says(page, f"{order.number}: tracking number corrected.")

    follow(page, "Mark as lost")
    page.get_by_label("Reason").fill("burnt in the depot")
    press(page, "Mark as lost")
    says(page, f"{order.number}: marked as lost.")
    order.refresh_from_db()
    assert (order.status, order.tracking_number) == (Status.RETURNED, "6012-3456-7890")
    assert stock_of(option) == (9, 0)
    assert sum(Refund.objects.filter(payment__order=order).values_list("amount", flat=True)) == 50_000


def test_parcels_are_shipped_from_a_pasted_list(desk: Desk) -> None:
    (option,) = make_options([10])
    orders = [make_order_at(Status.PAID, make_user(address=True), (option, 1)) for _ in range(2)]
    rows = "".join(f"{order.number}\tCJ\t61234567890{n}\n" for n, order in enumerate(orders))
    page = desk.room("Orders")
    page.get_by_role("link", name="Ship from a list", exact=True).click()
    pasted = page.get_by_label("Or rows, pasted from a spreadsheet")
    pasted.fill(f"주문번호\t택배사\t송장번호\n{rows}NO-SUCH\tCJ\t1\n")
    press(page, "Read and preview")
    says(page, "2 orders: ship.")
    expect(row(page, "NO-SUCH")).to_contain_text("There is no order with this number")
    page.get_by_role("button", name="Begin: ship, 2 orders").dblclick()
    says(page, "0 done, 1 refused")
    while carry_on():
        pass
    says(page, "3 of 3 orders: 2 done, 1 refused")  # the page looks again by itself
    assert [Order.objects.get(pk=order.pk).status for order in orders] == [Status.SHIPPED] * 2
    assert OrderEvent.objects.filter(order__in=orders, to_status=Status.SHIPPED).count() == 2
