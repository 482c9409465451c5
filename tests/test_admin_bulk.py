"""Many orders at once at the desk: chosen or read from a list of parcels, looked at, begun, reported."""

import io

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from openpyxl import Workbook

from orders.admin.orders import many
from orders.bulk.drafting import begin, draft_of_orders
from orders.bulk.running import carry_on
from orders.models import BulkRow, BulkRun, Order
from shop.models import Role
from tests.support.desk import act, said, signed_in, staff, text, url
from tests.support.factories import make_order, make_store, make_user
from tests.support.orders import make_order_at as at
from tests.support.orders import status_of

pytestmark = pytest.mark.django_db(transaction=True)

SHIP = "/admin/orders/bulkrun/ship/"


def only_run() -> BulkRun:
    return BulkRun.objects.get()


def step(client, run, name):
    return client.post(url(BulkRun, name, run.pk), follow=True)


def work():
    while carry_on():
        pass


def csv(*lines: str, encoding: str = "utf-8") -> SimpleUploadedFile:
    return SimpleUploadedFile("parcels.csv", "\r\n".join(lines).encode(encoding))


def workbook(*rows: list[str]) -> SimpleUploadedFile:
    book, file = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(file)
    return SimpleUploadedFile("parcels.xlsx", file.getvalue())


# --- From the list of orders -----------------------------------------------------------------------------


def test_chosen_orders_are_looked_at_begun_and_reported(desk, operator, buyer, option):
    shipped, paid = at("shipped", buyer, (option, 1)), at("paid", buyer, (option, 1))
    page = act(desk, "deliver_selected", shipped, paid)
    assert "Nothing has been done yet." in text(page)
    assert "An order that is paid cannot become delivered." in text(page)
    assert "Begin: mark as delivered, 1 order" in text(page)
    run = only_run()
    assert (run.by, run.status) == (operator, "draft")

    page = step(desk, run, "begin")
    assert '<meta http-equiv="refresh"' in page.content.decode()
    assert "0 done, 1 refused" in text(page)
    assert said(step(desk, run, "begin")) == ["It was begun already."]
    work()
    page = desk.get(url(BulkRun, "change", run.pk))
    assert '<meta http-equiv="refresh"' not in page.content.decode()
    assert "2 of 2 orders: 1 done, 1 refused" in text(page)
    assert (status_of(shipped), status_of(paid)) == ("delivered", "paid")

    report = desk.get(f"{url(BulkRow)}export/csv/?run__id__exact={run.pk}")
    lines = b"".join(report.streaming_content).decode()
    assert "An order that is paid cannot become delivered." in lines
    assert shipped.number in lines
    assert operator.email in text(desk.get(url(BulkRun)))


def test_all_that_match_are_taken_and_no_more_than_a_thousand(desk, buyer, option, monkeypatch):
    orders = [at("shipped", buyer, (option, 1)) for _ in range(3)]
    at("paid", buyer, (option, 1))
    across = {"action": "deliver_selected", "index": 0, "select_across": 1}
    chosen = across | {"_selected_action": [orders[0].pk]}
    matching = f"{url(Order)}?status__exact=shipped"
    desk.post(matching, chosen)
    assert only_run().rows.count() == 3
    monkeypatch.setattr(many, "MAX_ORDERS", 2)
    (told,) = said(desk.post(matching, chosen, follow=True))
    assert told.startswith("At most 2 orders at once: narrow the list down")
    assert BulkRun.objects.count() == 1


def test_an_order_that_left_the_list_meanwhile_is_reported(desk, buyer, option):
    gone = at("delivered", buyer, (option, 1))
    chosen = {"action": "deliver_selected", "index": 0, "_selected_action": [gone.pk]}
    page = desk.post(f"{url(Order)}?status__exact=shipped", chosen, follow=True)
    assert "An order that is delivered cannot become delivered." in text(page)


def test_payments_of_many_are_confirmed(desk, buyer, option):
    orders = [make_order(buyer, (option, 1)) for _ in range(2)]
    act(desk, "confirm_selected", *orders)
    step(desk, only_run(), "begin")
    work()
    assert {status_of(order) for order in orders} == {"paid"}


# --- From a list of parcels ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [
    lambda n: {"file": csv("주문번호,택배사,송장번호,비고", f"{n},CJ대한통운,6123-4567-8901,x")},
    lambda n: {"file": csv("주문 번호;택배사;운송장", f"{n};CJ대한통운;6123-4567-8901", encoding="cp949")},
    lambda n: {"file": csv("Tracking Number,Order Number", f"6123-4567-8901,{n}"), "carrier": "CJ대한통운"},
    lambda n: {"file": workbook(["송장번호", "주문번호", "택배사"], ["6123-4567-8901", n, "CJ대한통운"])},
    lambda n: {"text": f"{n}\tCJ대한통운\t6123-4567-8901\r\n"},
    lambda n: {"text": f"\n택배사\t주문번호\t송장번호\nCJ대한통운\t{n.lower()}\t6123-4567-8901"},
])  # fmt: skip
def test_a_list_of_parcels_is_read_however_its_columns_are_called(desk, buyer, option, form):
    order = at("paid", buyer, (option, 1))
    page = desk.post(SHIP, form(order.number), follow=True)
    assert "Begin: ship, 1 order" in text(page)
    assert buyer.recipient in text(page)
    step(desk, only_run(), "begin")
    work()
    order.refresh_from_db()
    assert (order.status, order.carrier, order.tracking_number) == (
        "shipped", "CJ대한통운", "6123-4567-8901",
    )  # fmt: skip


@pytest.mark.parametrize(("form", "why"), [
    ({}, "Send a file, or paste rows: one of the two."),
    ({"file": csv("a,b", "1,2"), "text": "x"}, "Send a file, or paste rows: one of the two."),
    ({"file": csv("order,carrier", "1,2")}, "tracking number is missing among order, carrier"),
    ({"file": csv("order,tracking", "1,2")}, "carrier is missing among order, tracking"),
    ({"file": csv("1,CJ,612345678901")}, "The first row must name the columns"),
    ({"file": csv("order,carrier,tracking")}, "There is no order in it."),
    ({"file": SimpleUploadedFile("parcels.pdf", b"x")}, "Send a .csv or an .xlsx file."),
    ({"file": SimpleUploadedFile("parcels.xlsx", b"x")}, "Error:"),
    ({"text": "\n".join(f"N{n},CJ,612345678901" for n in range(1_001))}, "At most 1000 orders at once"),
])  # fmt: skip
def test_a_list_that_cannot_be_read_says_why_and_drafts_nothing(desk, form, why):
    assert why in text(desk.post(SHIP, form))
    assert not BulkRun.objects.exists()


def test_wrong_rows_are_named_and_left_out(desk, buyer, option):
    order = at("paid", buyer, (option, 1))
    page = desk.post(SHIP, {"text": f"{order.number},CJ,612345678901\nNO-SUCH,CJ,612345678902"}, follow=True)
    assert "1 row is left out" in text(page)
    assert "2 NO-SUCH refused There is no order with this number" in text(page)
    run = only_run()
    assert "Discarded" in text(step(desk, run, "discard"))
    assert not BulkRun.objects.exists()
    assert status_of(order) == "paid"


def test_what_was_refused_is_tried_again(desk, operator, buyer, option):
    order = make_order(buyer, (option, 1))
    paid = at("paid", buyer, (option, 1))
    desk.post(SHIP, {"text": f"{order.number},CJ,612345678901\n{paid.number},CJ,612345678902"})
    step(desk, only_run(), "begin")
    work()
    Order.objects.filter(pk=order.pk).update(status="paid")
    page = step(desk, only_run(), "again")
    assert "Begin: ship, 1 order" in text(page)


# --- Who may -----------------------------------------------------------------------------------------------


def test_runs_are_seen_and_begun_by_who_may_do_the_same_to_one_order(operator, buyer, option):
    run = draft_of_orders("deliver", [at("shipped", buyer, (option, 1)).pk], actor_id=operator.pk)
    ships, delivers = staff("orders.ship_order"), staff("orders.deliver_order")
    assert ships.get(url(BulkRun)).context["cl"].result_count == 0
    assert ships.get(url(BulkRun, "change", run.pk)).status_code == 302  # to the front page
    assert delivers.get(SHIP).status_code == 403
    assert delivers.get(url(BulkRun)).context["cl"].result_count == 1
    page = step(delivers, run, "begin")
    assert "Somebody else drafted it" in said(page)[0]
    run.refresh_from_db()
    assert run.status == "draft"
    assert staff("orders.view_order").get(url(BulkRun)).status_code == 403


def test_a_store_owner_sees_none_of_it_whatever_rights_they_have(operator, buyer, option):
    owner = make_user(role=Role.STORE_OWNER)
    make_store(owner=owner)
    owner.is_staff = True
    owner.save()
    for codename in ("ship_order", "deliver_order", "confirm_payment", "view_order"):
        owner.user_permissions.add(Permission.objects.get(codename=codename))
    order = at("shipped", buyer, (option, 1))
    run = draft_of_orders("deliver", [order.pk], actor_id=operator.pk)
    client = signed_in(owner)
    for address in (url(BulkRun), url(BulkRow), url(BulkRun, "change", run.pk), SHIP):
        assert client.get(address).status_code == 403
    assert client.post(url(BulkRun, "begin", run.pk)).status_code == 403
    act(client, "deliver_selected", order)
    assert BulkRun.objects.count() == 1
    begin(run, actor_id=operator.pk)
    work()
    assert status_of(order) == "delivered"


def test_nothing_is_begun_by_looking(desk, operator, buyer, option):
    run = draft_of_orders("deliver", [at("shipped", buyer, (option, 1)).pk], actor_id=operator.pk)
    for name in ("begin", "discard", "again"):
        desk.get(url(BulkRun, name, run.pk))
    run.refresh_from_db()
    assert run.status == "draft"
