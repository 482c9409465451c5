"""A settlement says what was sold, by whom, at what rate, in a period that is over."""

from datetime import date, datetime, timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from orders.models import Order, OrderLine, Settlement, SettlementEntry, Status
from orders.placement import lanes
from orders.placement.requests import PlaceRequest
from orders.settlements import entries, services
from orders.settlements.entries import commission
from orders.settlements.services import approve, settle
from shop.models import Product, Role, Store
from tests.support.books import figures, make_settlement
from tests.support.corruption import sql
from tests.support.desk import signed_in, staff, url
from tests.support.factories import make_options, make_store
from tests.support.invariants import assert_stores_are_owed_what_buyers_keep
from tests.support.orders import MARCH, delivered, give_back
from yousinsa.errors import Conflict

pytestmark = pytest.mark.django_db
FIRST, LAST = MARCH
APRIL = (date(2020, 4, 1), date(2020, 4, 30))
MAY = (date(2020, 5, 1), date(2020, 5, 31))
SEOUL = ZoneInfo("Asia/Seoul")
VIEW = "orders.view_settlement"


@pytest.fixture
def store():
    return make_store(name="Cheongdam")


@pytest.fixture
def option(store):
    (option,) = make_options([50], store=store, price=10_000)
    return option


def settled(first, last, by, **scope):
    """Settle and approve; the settlements that were approved."""
    rows = settle(first, last, **scope).written
    return [approve(row.pk, actor_id=by.pk) for row in rows]


def move_to(store, product):
    Product.objects.filter(pk=product.pk).update(store=store)


def kept_of(store):
    """What all settlements of a store come to: gross less refunds, commission, payable."""
    rows = Settlement.objects.filter(store=store)
    return (
        sum(row.gross - row.refunds for row in rows),
        sum(row.commission for row in rows),
        sum(row.payable for row in rows),
    )


# --- A period that is over ------------------------------------------------------------------------------


def test_a_sale_that_is_committed_after_the_approval_is_in_the_next_settlement(buyer, option, store):
    delivered(buyer, (option, 1))
    settled(FIRST, LAST, buyer)
    delivered(buyer, (option, 2), at="2020-03-31 14:59:55")
    assert settle(FIRST, LAST).written == []
    (april,) = settled(*APRIL, buyer)
    assert figures() == [(1, 10_000, 0, 0, 1_000, 9_000), (2, 20_000, 0, 0, 2_000, 18_000)]
    assert (april.late_entries, april.late_payable) == (1, 18_000)
    clerk = staff(VIEW)
    for page in ("print", "change"):
        shown = clerk.get(url(Settlement, page, april.pk)).content.decode()
        assert "1 sales and returns, 18,000 won" in shown
    assert (
        "settled before"
        not in clerk.get(url(Settlement, "print", Settlement.objects.earliest("pk").pk)).content.decode()
    )
    assert settle(*MAY).written == []


def test_what_is_late_waits_for_a_settlement_that_is_a_draft(buyer, option):
    delivered(buyer, (option, 1))
    settled(FIRST, LAST, buyer)
    delivered(buyer, (option, 1), at="2020-04-10 03:00:00")
    settled(*APRIL, buyer)
    order = delivered(buyer, (option, 2), at="2020-03-20 03:00:00")
    give_back(order, {option.pk: 1}, "2020-04-30 14:59:59")
    settle(*MAY)
    may = Settlement.objects.get(period_start=MAY[0])
    assert (may.units, may.returned_units, may.payable) == (2, 1, 9_000)
    assert (may.late_entries, may.late_payable) == (2, 9_000)


def test_days_that_are_in_no_approved_settlement_are_not_late(buyer, option):
    delivered(buyer, (option, 1), at="2020-02-10 03:00:00")
    delivered(buyer, (option, 2))
    settle(FIRST, LAST)
    delivered(buyer, (option, 3), at="2020-03-31 14:59:55")  # the draft of March will have it
    april = settle(*APRIL)
    assert april.written == []
    (left,) = april.left
    assert (left.store_id, left.entries) == (option.product.store_id, 2)
    with StringIO() as said:
        call_command("settle", "--from", "2020-04-01", "--to", "2020-04-30", stdout=said)
        assert f"Store {left.store_id}: 2 sales and returns since 2020-02-10 are in no" in said.getvalue()
    settle(FIRST, LAST)
    settle(date(2020, 2, 1), date(2020, 2, 29))
    assert settle(*APRIL).left == []
    rows = Settlement.objects.order_by("period_start").values_list("units", "late_entries")
    assert list(rows) == [(1, 0), (5, 0)]


def test_a_period_is_over_when_nothing_of_it_can_be_on_its_way(buyer, option, monkeypatch):
    delivered(buyer, (option, 1))
    clock = {"now": datetime(2020, 4, 1, 0, 0, 1, tzinfo=SEOUL)}
    monkeypatch.setattr(timezone, "now", lambda: clock["now"])
    (draft,) = settle(FIRST, LAST).written
    with pytest.raises(Conflict, match="from 2020-04-01 00:10 on"):
        approve(draft.pk, actor_id=buyer.pk)
    clock["now"] += timedelta(minutes=10)
    with pytest.raises(Conflict, match="computed before"):
        approve(draft.pk, actor_id=buyer.pk)
    settle(FIRST, LAST)
    approve(draft.pk, actor_id=buyer.pk)


def test_the_time_is_noted_before_anything_is_read(buyer, option):
    delivered(buyer, (option, 1))
    asked = []

    def note(execute, statement, *args):
        if "settlemententry" in statement:
            asked.append(timezone.now())
        return execute(statement, *args)

    with connection.execute_wrapper(note):
        (row,) = settle(FIRST, LAST, store_id=option.product.store_id).written
    assert row.computed_at <= asked[0]


def test_however_many_entries_one_transaction_claims_all_are_claimed(buyer, option, monkeypatch):
    monkeypatch.setattr(services, "CLAIMED_AT_ONCE", 2)
    for _ in range(3):
        delivered(buyer, (option, 1))  # at one moment
    for day in (11, 12, 13):
        delivered(buyer, (option, 1), at=f"2020-03-{day} 03:00:00")
    settle(FIRST, LAST)
    assert figures() == [(6, 60_000, 0, 0, 6_000, 54_000)]


def test_what_was_not_computed_to_the_end_is_not_approved(buyer, option):
    """A run that was killed between claiming and adding up leaves a draft that says less than it holds."""
    delivered(buyer, (option, 1))
    (row,) = settle(FIRST, LAST).written
    order = delivered(buyer, (option, 1))
    SettlementEntry.objects.filter(line__order=order).update(settlement=row)
    with pytest.raises(Conflict, match="not to the end"):
        approve(row.pk, actor_id=buyer.pk)
    settle(FIRST, LAST)
    assert approve(row.pk, actor_id=buyer.pk).payable == 18_000


# --- By whom --------------------------------------------------------------------------------------------


def test_who_sold_it_is_paid_for_it_and_charged_for_what_comes_back(buyer, option, store):
    order = delivered(buyer, (option, 2))
    settled(FIRST, LAST, buyer)
    other = make_store(name="Seongsu")
    move_to(other, option.product)
    assert settle(FIRST, LAST).written == []
    assert settle(FIRST, LAST, store_id=other.pk).written == []
    give_back(order, {option.pk: 2}, "2020-04-02 03:00:00")
    settle(*APRIL)
    assert figures(store=other) == []
    assert kept_of(store) == (0, 0, 0)
    delivered(buyer, (option, 1), at="2020-04-03 03:00:00")
    settle(*APRIL)
    assert figures(store=other) == [(1, 10_000, 0, 0, 1_000, 9_000)]


def test_the_owner_who_sold_it_sees_the_order(buyer, option, store):
    order = delivered(buyer, (option, 2))
    other = make_store(name="Seongsu")
    move_to(other, option.product)
    for seller, sees in ((store, True), (other, False)):
        owner = seller.owner
        owner.is_staff = True
        owner.save()
        for codename in ("view_order", "view_orderline"):
            owner.user_permissions.add(permission(codename))
        assert owner.role == Role.STORE_OWNER
        desk = signed_in(owner)
        for model in (Order, OrderLine):
            assert len(desk.get(url(model)).context["cl"].result_list) == sees
            assert len(desk.get(url(model), {"q": order.number}).context["cl"].result_list) == sees
            exported = b"".join(desk.get(url(model, "export", "csv")).streaming_content).decode()
            assert (order.number in exported) == sees
        page = desk.get(url(Order, "change", order.pk))
        assert (page.status_code == 200 and option.sku in page.content.decode()) == sees


def test_an_owner_is_not_told_who_computed_and_approved(buyer, store):
    row = make_settlement(store.pk, approved_by=buyer, computed_by=buyer)
    owner = store.owner
    owner.is_staff = True
    owner.save()
    owner.user_permissions.add(permission("view_settlement"))
    for page in ("change", "print"):
        shown = signed_in(owner).get(url(Settlement, page, row.pk)).content.decode()
        assert "9,000" in shown
        assert buyer.email not in shown


def permission(codename):
    return Permission.objects.get(codename=codename)


@pytest.mark.parametrize("lane", ["row_lock", "conditional_update"])
def test_a_line_keeps_its_store_and_its_rate(buyer, option, store, settings, lane):
    settings.COMMISSION_RATE = 1_234
    place = lanes.LANES[lane]
    place(PlaceRequest.build(buyer_id=buyer.pk, lines=[(option.pk, 1)], idempotency_key=None))
    Store.objects.filter(pk=store.pk).update(commission_rate=0)
    place(PlaceRequest.build(buyer_id=buyer.pk, lines=[(option.pk, 1)], idempotency_key=None))
    move_to(make_store(), option.product)
    rows = OrderLine.objects.order_by("id").values_list("store", "commission_rate")
    assert list(rows) == [(store.pk, 1_234), (store.pk, 0)]


# --- At what rate ---------------------------------------------------------------------------------------


def test_what_comes_back_takes_back_the_commission_that_was_kept(buyer, option, store):
    order = delivered(buyer, (option, 10))
    settled(FIRST, LAST, buyer)
    Store.objects.filter(pk=store.pk).update(commission_rate=3_000)
    give_back(order, {option.pk: 10}, "2020-04-02 03:00:00")
    settle(*APRIL)
    assert kept_of(store) == (0, 0, 0)


def test_a_draft_is_computed_at_the_rate_of_the_sale(buyer, option, store):
    delivered(buyer, (option, 10))
    settle(FIRST, LAST)
    Store.objects.filter(pk=store.pk).update(commission_rate=3_000)
    settle(FIRST, LAST)
    row = Settlement.objects.get()
    assert (row.commission_rate, row.commission, row.payable) == (1_000, 10_000, 90_000)


def test_a_period_of_several_rates_says_so_rate_by_rate(buyer, option, store):
    delivered(buyer, (option, 10))
    Store.objects.filter(pk=store.pk).update(commission_rate=3_000)
    delivered(buyer, (option, 10))
    (row,) = settled(FIRST, LAST, buyer)
    assert (row.commission_rate, row.commission, row.payable) == (None, 40_000, 160_000)
    clerk = staff(VIEW)
    assert "several rates" in clerk.get(url(Settlement)).content.decode()
    page = clerk.get(url(Settlement, "print", row.pk)).content.decode()
    for shown in ("Commission, 10.00%", "-10,000", "Commission, 30.00%", "-30,000", "160,000"):
        assert shown in page
    exported = b"".join(clerk.get(url(Settlement, "export", "csv")).streaming_content).decode()
    assert ",200000,0,0,,40000,160000," in exported


# --- To the won -----------------------------------------------------------------------------------------


def test_three_units_that_come_back_one_by_one_leave_nothing(buyer, store):
    (option,) = make_options([9], store=store, price=15)
    order = delivered(buyer, (option, 3))
    settled(FIRST, LAST, buyer)
    for month in (4, 5, 6):
        give_back(order, {option.pk: 1}, f"2020-0{month}-10 03:00:00")
        settled(date(2020, month, 1), date(2020, month, 30), buyer)
    assert figures() == [
        (3, 45, 0, 0, 4, 41), (0, 0, 1, 15, -1, -14), (0, 0, 1, 15, -1, -14), (0, 0, 1, 15, -2, -13),
    ]  # fmt: skip
    assert kept_of(store) == (0, 0, 0)
    assert_stores_are_owed_what_buyers_keep()


@given(
    price=st.integers(0, 1_000_000_000), rate=st.integers(0, 10_000),
    back=st.lists(st.integers(1, 1_000), max_size=20), kept=st.integers(0, 1_000),
)  # fmt: skip
def test_however_a_line_comes_back_what_is_left_is_rounded_once(price, rate, back, kept):
    if not back and not kept:
        return
    line = OrderLine(
        pk=1, store_id=1, quantity=sum(back) + kept, unit_price=price, commission_rate=rate, returned=0
    )
    now = timezone.now()
    rows = [entries.sale(line, at=now)]
    for units in back:
        line.returned += units
        rows.append(entries.taken_back(line, units, at=now))
    assert sum(units for _l, _s, units, *_ in rows) == kept
    assert sum(won for _l, _s, _u, won, *_ in rows) == kept * price
    assert sum(share for _l, _s, _u, _w, share, *_ in rows) == commission(kept * price, rate)
    sold, *returned = rows
    assert 0 <= sold[4] <= sold[3]
    assert all(row[4] <= 0 for row in returned)


# --- Periods of one store -------------------------------------------------------------------------------


def test_a_store_that_was_settled_in_other_days_stops_no_other(buyer, option, store, capsys):
    (other,) = make_options([9], price=5_000)
    delivered(buyer, (option, 1), (other, 1))
    delivered(buyer, (option, 1), at="2020-03-20 03:00:00")
    settled(FIRST, date(2020, 3, 15), buyer, store_id=store.pk)
    with pytest.raises(CommandError, match="Not settled: 1 store"):
        call_command("settle", "--from", "2020-03-01", "--to", "2020-03-31")
    out, err = capsys.readouterr()
    assert "1 settlement computed, 4,500 won payable" in out
    assert f"Store {store.pk} was not settled: Settlement" in err
    assert figures(store=other.product.store) == [(1, 5_000, 0, 0, 500, 4_500)]
    settle(date(2020, 3, 16), LAST, store_id=store.pk)
    assert kept_of(store) == (20_000, 2_000, 18_000)


# --- What the database itself keeps ---------------------------------------------------------------------


def test_an_entry_is_written_once_and_never_changed(buyer, option):
    delivered(buyer, (option, 2))
    (row,) = settle(FIRST, LAST).written
    entry = SettlementEntry.objects.get()
    copy = {"line_id": entry.line_id, "store_id": entry.store_id, "units": 2, "won": 1, "commission": 0}
    for returned, units, constraint in (
        (0, 2, "entry_line_returned_unique|orders_settlemententry.line_id"),
        (1, 1, "entry_is_a_sale_or_a_return"),
    ):
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            SettlementEntry.objects.create(**copy | {"returned": returned, "units": units})
    other = make_settlement(row.store_id)
    for change in (
        "won = won + 1", "commission = 0", "units = 1", "store_id = store_id + 1",
        "created_at = '2020-03-11 00:00:00'", f"settlement_id = {other.pk}",
    ):  # fmt: skip
        with pytest.raises(DatabaseError, match="entry cannot be changed"), transaction.atomic():
            sql(f"UPDATE orders_settlemententry SET {change} WHERE id = %s", entry.pk)


@pytest.mark.mariadb
def test_an_approved_settlement_lets_no_entry_go(buyer, option):
    delivered(buyer, (option, 2))
    settled(FIRST, LAST, buyer)
    with pytest.raises(DatabaseError, match="entry cannot be changed"), transaction.atomic():
        sql("UPDATE orders_settlemententry SET settlement_id = NULL")
    with pytest.raises(DatabaseError, match="entry cannot be changed"), transaction.atomic():
        Settlement.objects.all().delete()


def test_a_sale_is_noted_when_it_is_delivered_and_not_before(buyer, option):
    order = delivered(buyer, (option, 2))
    assert SettlementEntry.objects.count() == 1
    give_back(order, None, "2020-03-20 03:00:00")
    assert Order.objects.get().status == Status.RETURNED
    assert_stores_are_owed_what_buyers_keep()
    assert SettlementEntry.objects.count() == 2
