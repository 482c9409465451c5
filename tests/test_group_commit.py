"""What keeps group commit safe (docs/placement.md), line by line, on MariaDB."""

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction

from inventory import ledger
from inventory.errors import InsufficientStock
from inventory.models import Stock
from orders.engine import queue as request_queue
from orders.engine.committer import Committer
from orders.errors import IdempotencyInFlight, OutcomeUnknown
from orders.lifecycle import cancel_order
from orders.models import Order
from orders.payments.services import pay
from orders.placement.batch import place_batch
from orders.placement.group_commit import committer, group_commit
from orders.placement.requests import PlaceRequest
from tests.support.changes import HeldBatches
from tests.support.concurrency import in_processes, in_threads
from tests.support.factories import ADDRESS, make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import row_locked
from tests.support.proxies import CommitProxy
from yousinsa.errors import Busy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


def request(buyer, *lines, key=None):
    return PlaceRequest.build(
        buyer_id=buyer.pk, lines=[(option.pk, n) for option, n in lines], idempotency_key=key
    )


@pytest.fixture
def held():
    held = HeldBatches(place_batch)
    yield held
    held.go(1_000)


def place(queue, request):
    return queue.submit(request).result()


def occupied(queue, held, pool, request):
    """The order that is being placed, in its own thread: whoever comes now waits."""
    first = pool.submit(place, queue, request)
    held.wait_for_batch()
    return first


def test_an_order_that_finds_nobody_there_commits_in_its_own_thread():
    (option,) = make_options([10])
    threads = []

    def here(requests):
        threads.append(threading.current_thread())
        return place_batch(requests)

    assert not place(Committer(here), request(make_user(), (option, 1))).replayed
    assert threads == [threading.current_thread()]
    assert Order.objects.count() == 1  # on this thread's own connection again


def test_orders_that_wait_commit_together(held):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(40)]
    queue = Committer(held)
    with ThreadPoolExecutor(1) as pool:
        first = occupied(queue, held, pool, request(buyers[0], (option, 1)))
        rest = [queue.submit(request(buyer, (option, 1))) for buyer in buyers[1:]]
        held.go(2)
        numbers = {placed.result().order.number for placed in [first, *rest]}
    assert len(numbers) == 40 == Order.objects.count()
    assert held.sizes == [1, 39]
    assert_books_balance()


def test_a_thousand_shared_keys_in_two_processes_fail_no_neighbour():
    (hot, other) = make_options([10_000, 10_000])
    shared, neighbours = make_user(), [make_user() for _ in range(2)]

    def process(i):
        def thread(t):
            counts = Counter()
            for n in range(t, 1_000, 25):
                # Both processes use the same keys, on different options in every third case.
                option = hot if n % 3 else (hot, other)[i]
                try:
                    placed = group_commit(request(shared, (option, 1), key=f"key-{n}"))
                    counts["replayed" if placed.replayed else "placed"] += 1
                except Exception as exc:
                    counts[getattr(exc, "code", repr(exc))] += 1
                if n % 5 == 0:
                    assert not group_commit(request(neighbours[i], (hot, 1))).replayed
                    counts["neighbour"] += 1
            return counts

        return sum(in_threads(thread, 25), Counter())

    total = sum(in_processes(process, 2), Counter())
    assert total["neighbour"] == 400
    assert total["placed"] == 1_000
    assert total["placed"] + total["replayed"] + total["idempotency_key_reused"] == 2_000, total
    assert Order.objects.count() == 1_400
    assert_books_balance()


@pytest.mark.parametrize("what", ["buyer", "option", "stock"])
def test_a_locked_row_delays_only_its_own_orders(what):
    victim, others = make_user(), [make_user() for _ in range(10)]
    blocked, free = make_options([1_000, 1_000])
    table, row_id = {
        "buyer": ("shop_user", victim.pk),
        "option": ("shop_option", blocked.pk),
        "stock": ("inventory_stock", Stock.objects.get(option=blocked).pk),
    }[what]
    unlocked = threading.Event()
    placed_while_locked = []

    def delayed():
        # The buyer's lock delays this buyer on any option; the others delay this option's orders.
        placed = group_commit(request(victim, (free if what == "buyer" else blocked, 1)))
        return placed, unlocked.is_set()

    def undisturbed(buyer):
        for _ in range(20):
            group_commit(request(buyer, (free, 1)))
            placed_while_locked.append(not unlocked.is_set())

    with ThreadPoolExecutor(11) as pool:
        with row_locked(table, row_id):
            late = pool.submit(delayed)
            for future in [pool.submit(undisturbed, buyer) for buyer in others]:
                future.result(timeout=60)  # all of them, while the row is still locked
            assert not late.done() or isinstance(late.exception(), Busy)
            unlocked.set()
        try:
            _placed, after = late.result(timeout=60)
            assert after
        except Busy:
            pass  # the others took longer than the lock wait: refused, certainly not placed
    assert len(placed_while_locked) == 200
    assert all(placed_while_locked)
    assert Order.objects.filter(buyer__in=others).count() == 200
    assert_books_balance()


def test_what_is_sold_out_is_refused_without_waiting_for_the_lock():
    (option,) = make_options([0])
    stock = Stock.objects.get(option=option)
    with row_locked("inventory_stock", stock.pk), pytest.raises(InsufficientStock):
        group_commit(request(make_user(), (option, 1)))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_lost_at_commit_places_once(moment):
    (option,) = make_options([10])
    buyer = make_user()

    def order_through_the_proxy(_i):
        with CommitProxy(int(connection.settings_dict["PORT"])) as proxy:
            connections["default"].settings_dict["PORT"] = str(proxy.port)
            proxy.arm(moment)
            placed = group_commit(request(buyer, (option, 1), key="once"))
            return proxy.cut.wait(30), placed.order.number

    ((was_cut, number),) = in_processes(order_through_the_proxy, 1)
    assert was_cut
    assert list(Order.objects.values_list("number", flat=True)) == [number]
    assert stock_of(option) == (10, 1)
    assert_books_balance()


def test_a_database_that_stays_away_after_commit_leaves_the_outcome_unknown(settings):
    settings.LOCK_WAIT_SECONDS = 1
    (option,) = make_options([10])
    buyer = make_user()

    def order_through_the_proxy(_i):
        with CommitProxy(int(connection.settings_dict["PORT"])) as proxy:
            connections["default"].settings_dict["PORT"] = str(proxy.port)
            proxy.arm("after", stay_away=True)
            try:
                group_commit(request(buyer, (option, 1), key="once"))
            except OutcomeUnknown as unknown:
                number = unknown.members["number"]
            proxy.open()
            again = group_commit(request(buyer, (option, 1), key="once"))
            return number, again.order.number, again.replayed

    ((unknown, found, replayed),) = in_processes(order_through_the_proxy, 1)
    assert (found, replayed) == (unknown, True)
    assert Order.objects.count() == 1
    assert_books_balance()


def test_it_refuses_to_run_inside_a_transaction():
    (option,) = make_options([1])
    buyer = make_user()
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        group_commit(request(buyer, (option, 1)))


def test_each_process_has_a_committer_of_its_own():
    (option,) = make_options([10])
    buyer = make_user()
    group_commit(request(buyer, (option, 1)))
    mine = id(committer())
    theirs = in_processes(lambda _i: (group_commit(request(buyer, (option, 1))).replayed, os.getpid()), 2)
    assert id(committer()) == mine
    assert len({pid for _, pid in theirs}) == 2
    assert Order.objects.count() == 3


def test_a_full_queue_refuses_and_has_room_again(settings, held):
    settings.ORDER_QUEUE = 2
    (option,) = make_options([10])
    buyers = [make_user() for _ in range(4)]
    queue = Committer(held)
    with ThreadPoolExecutor(1) as pool:
        first = occupied(queue, held, pool, request(buyers[0], (option, 1)))
        second = queue.submit(request(buyers[1], (option, 1)))
        with pytest.raises(Busy):
            place(queue, request(buyers[2], (option, 1)))
        held.go(2)
        assert [order.result().replayed for order in (first, second)] == [False, False]
    settings.ORDER_QUEUE = 1
    held.go()
    assert not place(queue, request(buyers[3], (option, 1))).replayed
    assert Order.objects.count() == 3


def test_a_repeated_key_waits_for_the_first_and_past_the_limit_says_so(monkeypatch, held):
    (option,) = make_options([10])
    buyer = make_user()
    queue = Committer(held)
    with ThreadPoolExecutor(1) as pool:
        first = occupied(queue, held, pool, request(buyer, (option, 1), key="k"))
        patient = queue.submit(request(buyer, (option, 1), key="k"))
        monkeypatch.setattr(request_queue, "QUEUE_SECONDS", 0.2)
        with pytest.raises(IdempotencyInFlight):
            place(queue, request(buyer, (option, 1), key="k"))
        held.go(2)
        placed, repeated = first.result(), patient.result()
    assert (placed.replayed, repeated.replayed) == (False, True)
    assert placed.order.number == repeated.order.number


def test_a_key_whose_order_was_decided_is_not_in_flight(monkeypatch, held):
    (option,) = make_options([10])
    buyer = make_user()
    queue = Committer(held)
    held.go()
    number = place(queue, request(buyer, (option, 1), key="k")).order.number
    held.wait_for_batch()
    with ThreadPoolExecutor(1) as pool:
        occupied(queue, held, pool, request(make_user(), (option, 1)))
        with monkeypatch.context() as impatient:
            impatient.setattr(request_queue, "QUEUE_SECONDS", 0.2)
            again = queue.submit(request(buyer, (option, 1), key="k"))
        with pytest.raises(Busy):
            again.result()
        held.go(2)
    assert place(queue, request(buyer, (option, 1), key="k")).order.number == number


def test_who_gives_up_before_a_batch_claims_it_is_certainly_not_placed(monkeypatch, held):
    (option,) = make_options([10])
    buyers = [make_user(), make_user()]
    monkeypatch.setattr(request_queue, "QUEUE_SECONDS", 0.2)
    queue = Committer(held)
    with ThreadPoolExecutor(1) as pool:
        claimed = occupied(queue, held, pool, request(buyers[0], (option, 1)))
        with pytest.raises(Busy):
            place(queue, request(buyers[1], (option, 1)))
        held.go()
        claimed.result()
    assert list(Order.objects.values_list("buyer", flat=True)) == [buyers[0].pk]


def test_a_claimed_order_that_is_not_answered_is_unknown_and_breaks_no_neighbour(monkeypatch, held):
    (option,) = make_options([10])
    buyers = [make_user() for _ in range(3)]
    queue = Committer(held)
    with ThreadPoolExecutor(1) as pool:
        first = occupied(queue, held, pool, request(buyers[0], (option, 1)))
        with monkeypatch.context() as impatient:
            impatient.setattr(request_queue, "CLAIMED_SECONDS", 0.1)
            claimed = queue.submit(request(buyers[1], (option, 1)))
            held.go()
            held.wait_for_batch()
            with pytest.raises(OutcomeUnknown):
                claimed.result()
        later = queue.submit(request(buyers[2], (option, 1)))
        held.go(2)
        assert [order.result().replayed for order in (first, later)] == [False, False]
    with pytest.raises(OutcomeUnknown):
        claimed.result()
    assert Order.objects.count() == 3  # the second was placed: only its buyer does not know


def test_operators_and_cancelling_buyers_get_through_a_flood():
    (option,) = make_options([100_000])
    victim = make_user(address=True)
    orders = [make_order(victim, (option, 1)) for _ in range(10)]
    flooding = threading.Event()
    stop = threading.Event()

    buyers = [make_user() for _ in range(24)]

    def flood(i):
        placed = 0
        while not stop.is_set():
            group_commit(request(buyers[i], (option, 1)))
            placed += 1
            if placed == 5:
                flooding.set()
        return placed

    with ThreadPoolExecutor(24) as pool:
        floods = [pool.submit(flood, i) for i in range(24)]
        flooding.wait(60)
        try:
            for n, order in enumerate(orders):
                if n % 2:
                    cancel_order(order_id=order.pk, actor_id=victim.pk)
                else:
                    pay(order_id=order.pk, provider="sandbox", shipping=ADDRESS, actor_id=victim.pk)
                ledger.adjust(option_id=option.pk, delta=1, reason="stocktake")
        finally:
            stop.set()
        placed = sum(future.result(timeout=60) for future in floods)
    assert Order.objects.filter(buyer=victim, status="cancelled").count() == 5
    assert Order.objects.filter(buyer=victim, status="paid").count() == 5
    assert stock_of(option) == (100_010, placed + 5)
    assert_books_balance()
