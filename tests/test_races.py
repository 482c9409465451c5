"""Everybody buys at once. Each race has a control without the lock, which must go wrong."""

import random
from collections import Counter
from contextlib import ExitStack

import pytest
from django.db import IntegrityError
from django.db.models import Sum

from inventory import ledger
from inventory.models import Movement
from orders.lifecycle import cancel_order, expire_due
from orders.models import Order, OrderLine
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import deadlocks
from tests.support.races import (
    ROUNDS,
    buy,
    goes_wrong,
    nothing_locked,
    take_order_away,
    take_row_locks_away,
    without_unique,
)
from yousinsa.errors import Busy, Problem

pytestmark = pytest.mark.django_db(transaction=True)


def sold_of(units, *, processes, each):
    """How many of these units are sold, and how many orders refused, when so many processes buy at once."""
    (option,) = make_options([units])
    buyers = [make_user().pk for _ in range(processes)]
    outcomes = in_processes(lambda i: [buy(buyers[i], (option.pk, 1)) for _ in range(each)], processes)
    counts = Counter(o if o == "insufficient_stock" else "sold" for each in outcomes for o in each)
    lines = OrderLine.objects.filter(option=option).aggregate(units=Sum("quantity"))["units"]
    assert counts["sold"] == lines
    return counts


def test_a_hundred_units_are_sold_exactly_a_hundred_times():
    assert sold_of(100, processes=64, each=3) == {"sold": 100, "insufficient_stock": 92}
    assert Movement.objects.filter(kind="reserve").count() == 100
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_the_same_race_oversells(monkeypatch):
    with nothing_locked(monkeypatch):
        counts = goes_wrong(lambda: sold_of(20, processes=8, each=5), lambda counts: counts["sold"] == 20)
    assert counts["sold"] > 20


@pytest.mark.mariadb
def test_without_the_lock_the_ledgers_sequence_still_refuses_the_second_sale(monkeypatch):
    """Defence in depth: two movements cannot have one number, so a lost update cannot be committed."""
    take_row_locks_away(monkeypatch)
    (option,) = make_options([20])
    buyers = [make_user().pk for _ in range(8)]

    def several(i):
        outcomes = []
        for _ in range(5):
            try:
                outcomes.append(buy(buyers[i], (option.pk, 1)))
            except IntegrityError:  # the number of a movement that somebody else has written
                outcomes.append("refused by the ledger")
        return outcomes

    outcomes = Counter(outcome for each in in_processes(several, 8) for outcome in each)
    units = OrderLine.objects.filter(option=option).aggregate(units=Sum("quantity"))["units"]
    assert outcomes["refused by the ledger"] > 0
    assert units <= 20
    assert_books_balance()


# --- Deadlocks --------------------------------------------------------------------------------------


def deadlocks_of_baskets(settings, *, processes, each):
    """How often the database has to kill one of many who buy three of ten options, in any order."""
    settings.LOCK_WAIT_SECONDS = 30  # a slow machine is no deadlock
    options = [option.pk for option in make_options([100_000] * 10)]
    buyers = [make_user().pk for _ in range(processes)]

    def shop_around(i):
        rng = random.Random(i)
        for _ in range(each):
            lines = [(option_id, rng.randint(1, 3)) for option_id in rng.sample(options, 3)]
            row_lock(PlaceRequest.build(buyer_id=buyers[i], lines=lines))

    before = deadlocks()
    in_processes(shop_around, processes)
    assert Order.objects.filter(buyer__in=buyers).count() == processes * each
    return deadlocks() - before


def deadlocks_of_opposite_lines():
    """How often the database has to kill one of two who order A then B, and B then A."""
    first, second = make_options([1_000, 1_000])
    buyers = [make_user().pk, make_user().pk]

    def opposite(i):
        lines = [(first.pk, 1), (second.pk, 1)]
        if i:
            lines.reverse()
        for _ in range(100):
            row_lock(PlaceRequest.build(buyer_id=buyers[i], lines=lines))

    before = deadlocks()
    in_processes(opposite, 2)
    assert (stock_of(first), stock_of(second)) == ((1_000, 200), (1_000, 200))
    return deadlocks() - before


@pytest.mark.mariadb
def test_two_thousand_baskets_in_any_order_end_in_no_deadlock(settings):
    assert deadlocks_of_baskets(settings, processes=16, each=125) == 0
    assert_books_balance()


@pytest.mark.mariadb
def test_opposite_line_orders_end_in_no_deadlock():
    """The classic: A then B against B then A. Locks are taken in one order, whatever the lines say."""
    assert deadlocks_of_opposite_lines() == 0
    assert_books_balance()


@pytest.mark.mariadb
def test_control_locks_in_line_order_do_deadlock(monkeypatch, settings):
    """The same orders, locking in the order of their lines: the database has to kill one again and again."""
    take_order_away(monkeypatch)
    goes_wrong(deadlocks_of_opposite_lines, lambda killed: killed == 0)
    goes_wrong(lambda: deadlocks_of_baskets(settings, processes=8, each=20), lambda killed: killed == 0)


# --- One key ----------------------------------------------------------------------------------------


def orders_under_one_key(carts, *, processes):
    """What became of one buyer's orders under one key, one a process, and how many there are."""
    buyer = make_user()
    outcomes = in_processes(lambda i: buy(buyer.pk, *carts[i % len(carts)], key="checkout"), processes)
    return Counter(outcomes), Order.objects.filter(buyer=buyer).count()


def test_fifty_identical_posts_make_one_order():
    (option,) = make_options([100])
    outcomes, orders = orders_under_one_key([[(option.pk, 2)]], processes=50)
    assert (len(outcomes), orders) == (1, 1)
    assert stock_of(option) == (100, 2)
    assert_books_balance()


def test_one_key_for_many_carts_places_one_and_names_the_rest():
    """Different options: no stock row orders these requests, only the unique key does."""
    options = make_options([10] * 12)
    outcomes, orders = orders_under_one_key([[(option.pk, 1)] for option in options], processes=12)
    assert outcomes.pop("idempotency_key_reused") == 11
    assert (len(outcomes), orders) == (1, 1)
    assert_books_balance()


@pytest.mark.mariadb
@pytest.mark.parametrize("options", [1, 6])
def test_control_without_the_unique_key_and_the_locks_one_key_places_several(monkeypatch, options):
    """Of one option, the stock row's lock orders the requests as well; of several, only the key does."""
    carts = [[(option.pk, 1)] for option in make_options([1_000] * options)]
    with ExitStack() as away:
        away.enter_context(without_unique(Order, "buyer", "idempotency_key"))
        if options == 1:
            away.enter_context(nothing_locked(monkeypatch))
        goes_wrong(lambda: orders_under_one_key(carts, processes=12), lambda found: found[1] == 1)


# --- Holds that end ---------------------------------------------------------------------------------


def released_by_sweeps(orders, *, processes):
    """How many of so many orders' holds several expiry runs end, and how many movements that makes."""
    options = make_options([orders, orders])
    buyer = make_user()
    for _ in range(orders):
        make_order(buyer, (options[0], 1), (options[1], 1))

    def sweep(_i):
        ended = 0
        for _ in range(ROUNDS):
            try:
                found = expire_due(limit=7)
            except (Busy, Problem):
                continue
            if found is None:
                return ended
            ended += found
        return ended

    ended = sum(in_processes(sweep, processes))
    released = Movement.objects.filter(kind="release", stock__option__in=options).count()
    return ended, released, [stock_of(option) for option in options]


def test_several_expiry_runs_release_each_hold_once(settings):
    settings.ORDER_HOLD_MINUTES = 0
    assert released_by_sweeps(30, processes=6) == (30, 60, [(30, 0), (30, 0)])
    assert_books_balance()


def released_by_cancel_and_expiry(orders):
    """How often the holds of so many orders are ended when they are cancelled and expire at once."""
    (option,) = make_options([50])
    ids = [make_order(make_user(), (option, 1)).pk for _ in range(orders)]

    def end(i):
        ended = 0
        for order_id in ids:
            try:
                if i % 2:
                    cancel_order(order_id=order_id, actor_id=None)
                    ended += 1
                else:
                    ended += expire_due(limit=1) or 0
            except Problem:
                continue
        return ended

    ended = sum(in_processes(end, 4))
    while expire_due() is not None:
        continue
    return ended, Movement.objects.filter(kind="release", stock__option=option).count(), stock_of(option)


def test_cancel_and_expiry_of_the_same_order_release_it_once(settings):
    settings.ORDER_HOLD_MINUTES = 0
    ended, released, stock = released_by_cancel_and_expiry(20)
    assert ended <= 20
    assert (released, stock) == (20, (50, 0))
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_a_hold_is_released_twice(monkeypatch, settings):
    settings.ORDER_HOLD_MINUTES = 0
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: released_by_sweeps(30, processes=4)[1], lambda released: released == 60)
        goes_wrong(lambda: released_by_cancel_and_expiry(20)[1], lambda released: released == 20)


# --- Changes of stock -------------------------------------------------------------------------------


def stock_after_adjusting_and_buying():
    """A hundred units, of which six buy ten each while two find ten more each."""
    (option,) = make_options([100])
    buyers = [make_user().pk for _ in range(8)]

    def adjust():
        for _ in range(ROUNDS):
            try:
                return ledger.adjust(option_id=option.pk, delta=1, reason="found behind the shelf")
            except Busy:
                continue
        raise AssertionError("always busy")

    def work(i):
        for _ in range(10):
            if i % 4 == 0:
                adjust()
            else:
                buy(buyers[i], (option.pk, 1))

    in_processes(work, 8)
    return stock_of(option)


def test_adjusting_and_buying_at_once_loses_no_update():
    assert stock_after_adjusting_and_buying() == (120, 60)
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_adjusting_and_buying_undo_each_other(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(stock_after_adjusting_and_buying, lambda stock: stock == (120, 60))
