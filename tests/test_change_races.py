"""Two who change one order at the same moment, and many who change many. Each race has its control.

What else is raced: who pays twice, returns twice, pays during a cancellation (test_payment_locks.py);
cancellation against expiry, several expiry runs (test_races.py); deliveries against settlements
(test_settlement_races.py).
"""

import random
from collections import Counter

import pytest
from django.utils import timezone

from inventory.locks import lock_stock
from inventory.models import Movement
from orders.changes.batch import begin_change, change
from orders.lifecycle import cancel_order, expire_due, ship_order
from orders.lifecycle.cancelling import Cancel
from orders.models import Order, OrderEvent, Refund
from orders.payments.services import pay
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes, in_threads
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.locks import deadlocks
from tests.support.orders import make_order_at, status_of
from tests.support.races import ROUNDS, goes_wrong, nothing_locked
from yousinsa.errors import Busy, Problem

pytestmark = pytest.mark.django_db(transaction=True)


def told(work):
    """'done', or the refusal's code; Busy is asked again."""
    for _ in range(ROUNDS):
        try:
            work()
        except Busy:
            continue
        except Problem as problem:
            return problem.code
        return "done"
    return "busy"


# --- One order ----------------------------------------------------------------------------------------------


def cancels_of_one_order():
    """What four are told who cancel one paid order at once, the refunds, and the units of its option."""
    (option,) = make_options([50])
    make_order(make_user(), (option, 9))
    order = make_order_at("paid", make_user(address=True), (option, 2))
    found = in_processes(lambda _: told(lambda: cancel_order(order_id=order.pk, actor_id=None)), 4)
    refunds = Refund.objects.filter(payment__order=order).count()
    return Counter(found), refunds, stock_of(option)


CANCELLED_ONCE = (Counter({"invalid_transition": 3, "done": 1}), 1, (50, 9))


def test_of_many_who_cancel_one_order_one_does_and_the_money_goes_back_once():
    assert cancels_of_one_order() == CANCELLED_ONCE
    assert_books_balance()
    assert_money_balances()


@pytest.mark.mariadb
def test_control_without_the_lock_an_order_is_cancelled_several_times(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(cancels_of_one_order, lambda found: found == CANCELLED_ONCE)


def ship_against_cancel():
    """(what both are told, the order's events, its status, the units on hand and reserved)."""
    (option,) = make_options([50])
    make_order(make_user(), (option, 9))
    order = make_order_at("paid", make_user(address=True), (option, 2))

    def work(i):
        if i % 2:
            return told(lambda: cancel_order(order_id=order.pk, actor_id=None))
        return told(lambda: ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None))

    found = Counter(in_processes(work, 4))
    ended = OrderEvent.objects.filter(order=order, from_status="paid").count()
    return found, ended, status_of(order), stock_of(option)


def shipped_or_cancelled(found):
    answers, ended, status, stock = found
    right = {"shipped": (48, 9), "cancelled": (50, 9)}
    return (answers, ended) == (Counter({"invalid_transition": 3, "done": 1}), 1) and right[status] == stock


def test_an_order_is_shipped_or_cancelled_and_never_both():
    for _ in range(3):
        found = ship_against_cancel()
        assert shipped_or_cancelled(found), found
    assert_books_balance()
    assert_money_balances()


@pytest.mark.mariadb
def test_control_without_the_lock_an_order_is_shipped_and_cancelled(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(ship_against_cancel, shipped_or_cancelled)


def pay_against_expiry():
    """Orders whose holds end while their buyers pay: (pays and ends of each order, units reserved)."""
    (option,) = make_options([50])
    make_order(make_user(), (option, 9))
    orders = [make_order(make_user(address=True), (option, 1)) for _ in range(6)]
    Order.objects.filter(pk__in=[order.pk for order in orders]).update(expires_at=timezone.now())

    def work(i):
        if i:
            return [told(lambda: expire_due())]
        return [
            told(lambda order=order: pay(order_id=order.pk, provider="sandbox", actor_id=order.buyer_id))
            for order in orders
        ]

    in_processes(work, 4)
    while expire_due() is not None:
        continue
    ends = Counter(
        OrderEvent.objects.filter(order__in=orders, from_status="pending").values_list("order", flat=True)
    )
    paid = sum(status_of(order) == "paid" for order in orders)
    return set(ends.values()), stock_of(option)[1] - paid


def test_an_order_is_paid_or_its_hold_ends_and_who_pays_late_takes_the_units_again():
    for _ in range(3):
        assert pay_against_expiry() == ({1}, 9)
    assert_books_balance()
    assert_money_balances()


@pytest.mark.mariadb
def test_control_without_the_lock_a_paid_orders_hold_ends(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(pay_against_expiry, lambda found: found == ({1}, 9), attempts=40)


# --- Many orders --------------------------------------------------------------------------------------------


def cancels_at_once(orders):
    """What as many as there are orders are told, who cancel them at once, each in a process of its own."""
    return Counter(
        in_processes(lambda i: told(lambda: cancel_order(order_id=orders[i].pk, actor_id=None)), len(orders))
    )


def released_of_one_option(count):
    (option,) = make_options([1_000])
    orders = [make_order(make_user(), (option, 1)) for _ in range(count)]
    answers = cancels_at_once(orders)
    return answers, Movement.objects.filter(stock__option=option, kind="release").count(), stock_of(option)


def test_sixty_four_at_once_on_one_option():
    assert released_of_one_option(64) == ({"done": 64}, 64, (1_000, 0))
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_what_they_give_back_is_lost(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: released_of_one_option(16), lambda found: found[2] == (1_000, 0))


def deadlocks_of_one_buyer(settings, count):
    """How often the database has to kill one of many who cancel and place baskets of one buyer at once."""
    settings.LOCK_WAIT_SECONDS, settings.UNPAID_ORDERS = 30, 1_000
    options = make_options([10_000] * 8)
    buyer, rng = make_user(), random.Random(7)
    baskets = [[(option, 1) for option in rng.sample(options, 5)] for _ in range(count)]
    orders = [make_order(buyer, *basket) for basket in baskets]

    def work(i):
        if i % 4 == 3:
            lines = [(option.pk, units) for option, units in baskets[i]]
            told(lambda: row_lock(PlaceRequest.build(buyer_id=buyer.pk, lines=lines)))
        return told(lambda: change(Cancel(order_id=orders[i].pk, actor_id=buyer.pk)))

    before = deadlocks()
    assert Counter(in_processes(work, count)) == {"done": count}
    assert Order.objects.filter(buyer=buyer, status="pending").count() == count // 4
    return deadlocks() - before


@pytest.mark.mariadb
def test_sixty_four_at_once_of_one_buyer_end_in_no_deadlock(settings):
    assert deadlocks_of_one_buyer(settings, 64) == 0
    assert_books_balance()


@pytest.mark.mariadb
def test_control_stock_that_is_locked_in_any_order_deadlocks(settings, monkeypatch):
    def in_any_order(stock_ids):
        ids = sorted(set(stock_ids), key=lambda _: random.random())
        return {id: row for stock_id in ids for id, row in lock_stock([stock_id]).items()}

    monkeypatch.setattr("orders.changes.locking.lock_stock", in_any_order)
    goes_wrong(lambda: deadlocks_of_one_buyer(settings, 16), lambda killed: killed == 0)


@pytest.mark.mariadb
def test_sixty_four_at_once_in_the_group_commit_of_several_processes(settings):
    """Some of each process commit together, and the processes wait for each other's row locks."""
    settings.PLACEMENT = "group_commit"
    (option,) = make_options([1_000])
    buyer = make_user()
    numbers = [make_order(buyer, (option, 1)).number for _ in range(64)]

    def process(i):
        def thread(n):
            cancel = Cancel(number=numbers[(i * 16 + n) % 64], owner_id=buyer.pk, actor_id=buyer.pk)
            return told(lambda: begin_change(cancel).result())

        return Counter(in_threads(thread, 32))

    # Each order is cancelled by two processes.
    assert sum(in_processes(process, 4), Counter()) == {"done": 64, "invalid_transition": 64}
    assert stock_of(option) == (1_000, 0)
    assert OrderEvent.objects.filter(to_status="cancelled").count() == 64
    assert_books_balance()
