"""Settlements that are made, approved and outrun at the same moment."""

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import Sum
from django.utils import timezone

from orders.lifecycle import deliver_order, return_order, ship_order
from orders.models import Settlement, SettlementEntry
from orders.models.settlements import Frozen
from orders.payments.services import pay
from orders.settlements.services import approve, settle
from shop.models import Store
from tests.support.concurrency import in_processes, in_threads
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user
from tests.support.invariants import assert_stores_are_owed_what_buyers_keep
from tests.support.locks import until_somebody_waits
from tests.support.orders import MARCH, delivered
from tests.support.races import take_row_locks_away
from yousinsa.errors import Busy, Conflict, NotFound

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]
FIRST, LAST = MARCH
HALF = date(2020, 3, 15)
APRIL = (date(2020, 4, 1), date(2020, 4, 30))
MAY = (date(2020, 5, 1), date(2020, 5, 31))
LIMIT = 60


@pytest.fixture
def option():
    (option,) = make_options([50], store=make_store(name="Cheongdam"), price=10_000)
    return option


@pytest.fixture
def clerk():
    return make_user("clerk@example.com", staff=True, address=True)


def stopping_at(words: str, wait: Any) -> Any:
    """Calls `wait` once, before this thread's first statement with these words."""
    state = {"done": False}

    def wrapper(execute, statement, *args):
        if words in statement and not state["done"]:
            state["done"] = True
            wait()
        return execute(statement, *args)

    return connection.execute_wrapper(wrapper)


def two_settle_at_once(option, *, until):
    """Half of March and all of March, the second while the first is about to write; what each came to."""
    begun, done = threading.Event(), threading.Event()

    def work(i):
        store_id = option.product.store_id
        if i:
            assert begun.wait(LIMIT)
            try:
                return settle(FIRST, LAST, store_id=store_id).written
            except Conflict as refusal:
                return str(refusal)
            finally:
                done.set()

        def wait():
            begun.set()
            until(done)

        with stopping_at("INSERT INTO `orders_settlement`", wait):
            return settle(FIRST, HALF, store_id=store_id).written

    return in_threads(work, 2)


def test_of_two_overlapping_periods_at_once_one_is_settled(clerk, option):
    delivered(clerk, (option, 1))
    first, second = two_settle_at_once(option, until=lambda done: until_somebody_waits())
    assert [row.payable for row in first] == [9_000]
    assert "overlaps" in second
    assert Settlement.objects.count() == 1


def test_control_without_the_stores_lock_both_periods_are_settled(clerk, option, monkeypatch):
    """And yet the sale is in one of them: its entry is claimed once, lock or no lock."""
    take_row_locks_away(monkeypatch, Store)
    delivered(clerk, (option, 1))
    two_settle_at_once(option, until=lambda done: done.wait(LIMIT))
    assert Settlement.objects.count() == 2
    assert Settlement.objects.aggregate(won=Sum("payable"))["won"] == 9_000


def two_approve_at_once(settlement_id, clerk, *, until):
    begun, done = threading.Event(), threading.Event()

    def work(i):
        try:
            if i:
                assert begun.wait(LIMIT)
                return approve(settlement_id, actor_id=clerk.pk).approved_at
            with stopping_at("UPDATE `orders_settlement`", lambda: (begun.set(), until(done))):
                return approve(settlement_id, actor_id=clerk.pk).approved_at
        except (Frozen, OperationalError) as refusal:
            return refusal
        finally:
            done.set() if i else None

    return in_threads(work, 2)


def test_of_two_approvals_at_once_one_is_told_that_it_is_frozen(clerk, option):
    delivered(clerk, (option, 1))
    (row,) = settle(FIRST, LAST).written
    first, second = two_approve_at_once(row.pk, clerk, until=lambda done: until_somebody_waits())
    assert Settlement.objects.get().approved_at == first
    assert isinstance(second, Frozen)


def test_control_without_the_settlements_lock_the_database_stops_the_second(clerk, option, monkeypatch):
    delivered(clerk, (option, 1))
    (row,) = settle(FIRST, LAST).written
    take_row_locks_away(monkeypatch, Settlement)
    first, second = two_approve_at_once(row.pk, clerk, until=lambda done: done.wait(LIMIT))
    assert "cannot be changed" in str(first)
    assert Settlement.objects.get().approved_at == second


def test_a_delivery_that_commits_after_the_approval_is_settled_next(clerk, option, monkeypatch):
    """It was written a moment before midnight, and its transaction outlived every wait."""
    delivered(clerk, (option, 1))
    order = make_order(clerk, (option, 2))
    pay(order_id=order.pk, provider="sandbox", token="tok-approve", shipping=ADDRESS, actor_id=clerk.pk)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    written, approved = threading.Event(), threading.Event()

    def work(i):
        if i:
            with connection.execute_wrapper(back_to_march(written, approved)):
                deliver_order(order_id=order.pk, actor_id=None)
            return None
        assert written.wait(LIMIT)
        (row,) = settle(FIRST, LAST).written
        approve(row.pk, actor_id=clerk.pk)
        approved.set()
        return row.payable

    assert in_threads(work, 2) == [9_000, None]
    assert settle(FIRST, LAST).written == []
    (april,) = settle(*APRIL).written
    assert (april.payable, april.late_entries, april.late_payable) == (18_000, 1, 18_000)


def back_to_march(written, approved):
    """After the entry was written: date it to the last seconds of March, and hold the commit back."""

    def wrapper(execute, statement, *args):
        result = execute(statement, *args)
        if "INSERT INTO `orders_settlemententry`" in statement:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE orders_settlemententry SET created_at = '2020-03-31 14:59:55' "
                    "WHERE created_at > '2021-01-01'"
                )
            written.set()
            assert approved.wait(LIMIT)
        return result

    return wrapper


def test_what_is_late_is_claimed_by_one_of_two_settlements_at_once(clerk, option):
    delivered(clerk, (option, 1))
    (march,) = settle(FIRST, LAST).written
    approve(march.pk, actor_id=clerk.pk)
    delivered(clerk, (option, 2), at="2020-03-31 14:59:55")
    found, claimed = threading.Event(), threading.Event()

    def work(i):
        store_id = option.product.store_id
        if i:
            assert found.wait(LIMIT)
            written = settle(*MAY, store_id=store_id).written
            claimed.set()
            return [row.payable for row in written]
        wait = lambda: (found.set(), claimed.wait(LIMIT))  # noqa: E731
        with stopping_at("UPDATE `orders_settlemententry`", wait):
            return [row.payable for row in settle(*APRIL, store_id=store_id).written]

    assert in_threads(work, 2) == [[0], [18_000]]
    assert Settlement.objects.aggregate(won=Sum("payable"))["won"] == 27_000


def test_sellers_and_settlers_at_once_lose_nothing_and_count_nothing_twice(clerk):
    """Deliveries and returns of last month go on while everybody settles and approves it, and the next."""
    options = [make_options([500], store=make_store(), price=price)[0] for price in (15, 9_999)]
    orders = [(make_order(clerk, (option, 3)).pk, option.pk) for _ in range(12) for option in options]
    for order_id, _option_id in orders:
        pay(order_id=order_id, provider="sandbox", token="tok-approve", shipping=ADDRESS, actor_id=clerk.pk)
        ship_order(order_id=order_id, carrier="CJ", tracking_number="1", actor_id=None)
    today = timezone.localdate()
    first, last = today - timedelta(days=60), today - timedelta(days=20)
    periods = [(first, last), (first, last - timedelta(days=5)), (first, last),
               (last + timedelta(days=1), last + timedelta(days=10))]  # fmt: skip
    lately = timezone.now() - timedelta(days=1)

    def date_back(order_id):
        """What was just committed happened 40 days ago: it is late for whoever has settled these."""
        new = SettlementEntry.objects.filter(line__order=order_id, created_at__gt=lately)
        new.update(created_at=lately - timedelta(days=39))

    everything = 24 + 12 * 1 + 12 * 3  # sales, and the returns of either seller

    def work(i):
        if i < 2:
            for order_id, option_id in orders[i::2]:
                deliver_order(order_id=order_id, actor_id=None)
                date_back(order_id)
                for _ in range(1 + 2 * i):
                    return_order(order_id=order_id, units={option_id: 1}, actor_id=None)
                    date_back(order_id)
            return
        while SettlementEntry.objects.count() < everything:
            for row in settle(*periods[i - 2]).written:
                try:
                    approve(row.pk, actor_id=clerk.pk)
                except (Conflict, NotFound, Busy):
                    continue

    in_processes(work, 6)
    settle(first, last)  # a store whose sales came after the settlers had gone
    settle(last + timedelta(days=11), last + timedelta(days=12))
    for row in Settlement.objects.filter(status="draft"):
        settle(row.period_start, row.period_end, store_id=row.store_id)
    assert_stores_are_owed_what_buyers_keep()
    for row in Settlement.objects.all():
        sums = row.entries.aggregate(won=Sum("won"), share=Sum("commission"))
        assert (row.gross - row.refunds, row.commission) == (sums["won"] or 0, sums["share"] or 0)
    assert not SettlementEntry.objects.filter(settlement=None).exists()
