"""Everybody buys at once. Each race has a control without the lock, which must go wrong."""

import multiprocessing
import random
from collections import Counter

import pytest
from django.db import connection, transaction
from django.db.models import Sum

from inventory import ledger
from inventory.locks import LockedStock
from inventory.models import Movement, Stock
from orders.lifecycle import cancel_order, expire_due
from orders.models import Order, OrderLine
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from yousinsa.errors import Busy, Problem

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 200


def buy(buyer_id, *lines, key=None):
    """What became of an order: its number, or the problem's code. Busy is asked again."""
    for _ in range(ROUNDS):
        request = PlaceRequest.build(buyer_id=buyer_id, lines=lines, idempotency_key=key)
        try:
            return row_lock(request).order.number
        except Busy:
            continue
        except Problem as problem:
            return problem.code
    return "busy"


def test_a_hundred_units_are_sold_exactly_a_hundred_times():
    (option,) = make_options([100])
    buyers = [make_user().pk for _ in range(64)]
    outcomes = in_processes(lambda i: [buy(buyers[i], (option.pk, 1)) for _ in range(3)], 64)
    counts = Counter(
        "insufficient_stock" if o == "insufficient_stock" else "sold" for each in outcomes for o in each
    )
    assert counts == {"sold": 100, "insufficient_stock": 92}
    assert stock_of(option) == (100, 100)
    assert OrderLine.objects.aggregate(units=Sum("quantity"))["units"] == 100
    assert Movement.objects.filter(kind="reserve").count() == 100
    assert_books_balance()


def test_control_without_the_lock_the_same_race_oversells():
    """Read, decide, write what was read: the way shops oversell. The race above is a real one."""
    (option,) = make_options([20])
    buyers = [make_user().pk for _ in range(16)]

    def careless(i):
        sold = 0
        for _ in range(3):
            on_hand, reserved = stock_of(option)
            if on_hand - reserved >= 1:
                with transaction.atomic():
                    number = f"careless-{i}-{sold}"
                    Order.objects.create(
                        id=i * 10 + sold,
                        number=number,
                        buyer_id=buyers[i],
                        total=1,
                        expires_at="2030-01-01T00:00Z",
                    )
                    Stock.objects.filter(option=option).update(reserved=reserved + 1)
                sold += 1
        return sold

    for _attempt in range(20):
        Order.objects.all().delete()
        Stock.objects.filter(option=option).update(reserved=0)
        sold = sum(in_processes(careless, 16))
        if sold > 20 or stock_of(option)[1] != sold:
            return
    pytest.fail("sixteen careless processes never collided: the race test proves nothing")


@pytest.mark.mariadb
def test_without_the_lock_the_ledgers_sequence_still_refuses_the_second_sale():
    """Defence in depth: two movements cannot have one number, so a lost update cannot be committed."""
    (option,) = make_options([5])
    buyers = [make_user().pk, make_user().pk]
    stock = Stock.objects.get(option=option)

    def sell_what_was_read(i):
        row = Stock.objects.values_list("id", "option_id", "on_hand", "reserved", "sequence").get(pk=stock.pk)
        unlocked = {stock.pk: LockedStock(*row)}
        barrier.wait(timeout=30)
        try:
            with transaction.atomic():
                ledger.reserve(unlocked, [(stock.pk, 1)], reference=f"order-{i}", actor_id=buyers[i])
        except Exception as exc:
            return type(exc).__name__
        return "sold"

    barrier = multiprocessing.get_context("fork").Barrier(2)
    outcomes = in_processes(sell_what_was_read, 2)
    # A duplicate sequence, or the deadlock on the way there: whichever the database notices first.
    assert outcomes.count("sold") == 1
    assert stock_of(option) == (5, 1)


@pytest.mark.mariadb
def test_two_thousand_baskets_in_any_order_never_deadlock_a_client():
    options = [option.pk for option in make_options([100_000] * 10)]
    buyers = [make_user().pk for _ in range(32)]

    def shop_around(i):
        rng = random.Random(i)
        numbers = []
        for _ in range(63 if i < 16 else 62):
            lines = [(option_id, rng.randint(1, 3)) for option_id in rng.sample(options, 3)]
            request = PlaceRequest.build(buyer_id=buyers[i], lines=lines)
            numbers.append(row_lock(request).order.number)  # Busy, or a deadlock, would fail the child
        return numbers

    numbers = [number for each in in_processes(shop_around, 32) for number in each]
    assert len(set(numbers)) == 2_000 == Order.objects.count()
    assert_books_balance()


@pytest.mark.mariadb
def test_opposite_line_orders_held_open_end_in_no_deadlock():
    """The classic: A then B against B then A. Locks are taken in one order, whatever the lines say."""
    first, second = make_options([1_000, 1_000])
    buyers = [make_user().pk, make_user().pk]

    def opposite(i):
        lines = [(first.pk, 1), (second.pk, 1)]
        if i:
            lines.reverse()
        for _ in range(100):
            row_lock(PlaceRequest.build(buyer_id=buyers[i], lines=lines))
        return deadlocks()

    before = deadlocks()
    in_processes(opposite, 2)
    assert deadlocks() == before
    assert (stock_of(first), stock_of(second)) == ((1_000, 200), (1_000, 200))


def deadlocks():
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        return int(cursor.fetchone()[1])


@pytest.mark.mariadb
def test_control_locks_in_line_order_do_deadlock():
    """The same two orders, locking in the order of their lines: the database has to kill one."""
    ids = [Stock.objects.get(option=option).pk for option in make_options([10, 10])]
    barrier = multiprocessing.get_context("fork").Barrier(2)

    def lock_in_line_order(i):
        mine = ids if i == 0 else list(reversed(ids))
        try:
            with transaction.atomic():
                Stock.objects.select_for_update().get(pk=mine[0])
                barrier.wait(timeout=30)
                Stock.objects.select_for_update().get(pk=mine[1])
        except Exception as exc:
            return exc.args[0]
        return "ok"

    assert sorted(map(str, in_processes(lock_in_line_order, 2))) == ["1213", "ok"]


def test_fifty_identical_posts_make_one_order():
    (option,) = make_options([100])
    buyer = make_user()
    outcomes = in_processes(lambda _i: buy(buyer.pk, (option.pk, 2), key="checkout-1"), 50)
    assert len(set(outcomes)) == 1
    assert Order.objects.count() == 1
    assert stock_of(option) == (100, 2)
    assert_books_balance()


def test_one_key_for_many_carts_places_one_and_names_the_rest():
    """Different options: no stock row orders these requests, only the unique key does."""
    options = make_options([10] * 12)
    buyer = make_user()
    outcomes = Counter(in_processes(lambda i: buy(buyer.pk, (options[i].pk, 1), key="one"), 12))
    assert outcomes.pop("idempotency_key_reused") == 11
    assert len(outcomes) == 1
    assert Order.objects.count() == 1
    assert_books_balance()


def test_several_expiry_runs_release_each_hold_once(settings):
    settings.ORDER_HOLD_MINUTES = 0
    options = make_options([30, 30])
    buyer = make_user()
    for _ in range(30):
        make_order(buyer, (options[0], 1), (options[1], 1))

    def sweep(_i):
        ended = 0
        while True:
            try:
                found = expire_due(limit=7)
            except Busy:
                continue
            if found is None:
                return ended
            ended += found

    assert sum(in_processes(sweep, 6)) == 30
    assert [stock_of(option) for option in options] == [(30, 0), (30, 0)]
    assert Movement.objects.filter(kind="release").count() == 60
    assert_books_balance()


def test_cancel_and_expiry_of_the_same_order_release_it_once(settings):
    settings.ORDER_HOLD_MINUTES = 0
    (option,) = make_options([50])
    orders = [make_order(make_user(), (option, 1)).pk for _ in range(20)]

    def end(i):
        ended = 0
        for order_id in orders:
            try:
                if i % 2:
                    cancel_order(order_id=order_id, actor_id=None)
                    ended += 1
                else:
                    ended += expire_due(limit=1) or 0
            except Problem:
                continue
        return ended

    assert sum(in_processes(end, 4)) <= 20
    while expire_due() is not None:
        pass
    assert stock_of(option) == (50, 0)
    assert_books_balance()


def test_adjusting_and_buying_at_once_loses_no_update():
    (option,) = make_options([100])
    buyers = [make_user().pk for _ in range(8)]

    def work(i):
        for _ in range(10):
            if i % 4 == 0:
                while True:
                    try:
                        ledger.adjust(option_id=option.pk, delta=1, reason="found behind the shelf")
                        break
                    except Busy:
                        continue
            else:
                buy(buyers[i], (option.pk, 1))

    in_processes(work, 8)
    assert stock_of(option) == (120, 60)
    assert_books_balance()
