"""What keeps group commit safe (docs/placement.md), line by line, on MariaDB."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction

from inventory import ledger
from inventory.errors import InsufficientStock
from inventory.models import Stock
from orders.errors import IdempotencyInFlight, OutcomeUnknown
from orders.lifecycle import cancel_order
from orders.models import Order
from orders.payments.services import pay
from orders.placement import order_queue
from orders.placement.batch import place_batch
from orders.placement.group_commit import Committer, committer, group_commit
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes, in_threads
from tests.support.environment import mariadb_server
from tests.support.factories import ADDRESS, make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import row_locked
from tests.support.proxies import CommitProxy
from tests.support.server import WebServer, environment_of_tests
from tests.support.wire import token_of
from yousinsa.errors import Busy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


def wish(buyer, *lines, key=None):
    return PlaceRequest.build(
        buyer_id=buyer.pk, lines=[(option.pk, n) for option, n in lines], idempotency_key=key
    )


@pytest.fixture
def new_committer():
    """Makes committers; afterwards their connections go back to the pool, which has few."""
    made = []

    def make(place):
        made.append(Committer(place))
        return made[-1]

    yield make
    for queue in made:
        queue._connection.close()


def place(queue, request):
    return queue.submit(request).result()


def test_an_order_that_finds_nobody_there_commits_in_its_own_thread(new_committer):
    (option,) = make_options([10])
    threads = []

    def here(requests):
        threads.append(threading.current_thread())
        return place_batch(requests)

    assert not place(new_committer(here), wish(make_user(), (option, 1))).replayed
    assert threads == [threading.current_thread()]
    assert Order.objects.count() == 1  # on this thread's own connection again


def test_orders_that_wait_commit_together(new_committer):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(40)]
    sizes = []
    started, go = threading.Event(), threading.Event()

    def slow_first(requests):
        if not sizes:
            started.set()
            go.wait(30)  # while the first batch is under way, the others gather
        sizes.append(len(requests))
        return place_batch(requests)

    queue = new_committer(slow_first)
    with ThreadPoolExecutor(40) as pool:
        first = pool.submit(place, queue, wish(buyers[0], (option, 1)))
        started.wait(30)
        rest = [pool.submit(place, queue, wish(buyer, (option, 1))) for buyer in buyers[1:]]
        while len(queue.queue) < 40:
            pass
        go.set()
        numbers = {placed.result().order.number for placed in [first, *rest]}
    assert len(numbers) == 40 == Order.objects.count()
    assert sizes == [1, 39]
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
                    placed = group_commit(wish(shared, (option, 1), key=f"key-{n}"))
                    counts["replayed" if placed.replayed else "placed"] += 1
                except Exception as exc:
                    counts[getattr(exc, "code", repr(exc))] += 1
                if n % 5 == 0:
                    assert not group_commit(wish(neighbours[i], (hot, 1))).replayed
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
        placed = group_commit(wish(victim, (free if what == "buyer" else blocked, 1)))
        return placed, unlocked.is_set()

    def undisturbed(buyer):
        for _ in range(20):
            group_commit(wish(buyer, (free, 1)))
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
        group_commit(wish(make_user(), (option, 1)))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_lost_at_commit_places_once(moment):
    (option,) = make_options([10])
    buyer = make_user()

    def order_through_the_proxy(_i):
        with CommitProxy(int(connection.settings_dict["PORT"])) as proxy:
            connections["default"].settings_dict["PORT"] = str(proxy.port)
            proxy.arm(moment)
            placed = group_commit(wish(buyer, (option, 1), key="once"))
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
                group_commit(wish(buyer, (option, 1), key="once"))
            except OutcomeUnknown as unknown:
                number = unknown.members["number"]
            proxy.open()
            again = group_commit(wish(buyer, (option, 1), key="once"))
            return number, again.order.number, again.replayed

    ((unknown, found, replayed),) = in_processes(order_through_the_proxy, 1)
    assert (found, replayed) == (unknown, True)
    assert Order.objects.count() == 1
    assert_books_balance()


def test_it_refuses_to_run_inside_a_transaction():
    (option,) = make_options([1])
    buyer = make_user()
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        group_commit(wish(buyer, (option, 1)))


def test_each_process_has_a_committer_of_its_own():
    (option,) = make_options([10])
    buyer = make_user()
    group_commit(wish(buyer, (option, 1)))
    mine = id(committer())
    theirs = in_processes(lambda _i: (group_commit(wish(buyer, (option, 1))).replayed, os.getpid()), 2)
    assert id(committer()) == mine
    assert len({pid for _, pid in theirs}) == 2
    assert Order.objects.count() == 3


def test_a_full_queue_refuses_and_says_so(settings, new_committer):
    settings.ORDER_QUEUE = 2
    (option,) = make_options([10])
    buyers = [make_user() for _ in range(3)]
    hold, started = threading.Event(), threading.Event()

    def held(requests):
        started.set()
        hold.wait(30)
        return place_batch(requests)

    queue = new_committer(held)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(place, queue, wish(buyer, (option, 1))) for buyer in buyers[:2]]
        started.wait(30)
        while len(queue.queue) < 2:
            pass
        with pytest.raises(Busy):
            place(queue, wish(buyers[2], (option, 1)))
        hold.set()
        assert [future.result().replayed for future in waiting] == [False, False]
    assert Order.objects.count() == 2


def test_a_repeated_key_waits_for_the_first_and_past_the_limit_says_so(monkeypatch, new_committer):
    (option,) = make_options([10])
    buyer = make_user()
    hold, started = threading.Event(), threading.Event()

    def held(requests):
        started.set()
        hold.wait(30)
        return place_batch(requests)

    queue = new_committer(held)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(place, queue, wish(buyer, (option, 1), key="k"))
        started.wait(30)
        patient = pool.submit(place, queue, wish(buyer, (option, 1), key="k"))
        while len(queue.queue) < 2:
            pass
        monkeypatch.setattr(order_queue, "QUEUE_SECONDS", 0.2)
        with pytest.raises(IdempotencyInFlight):
            place(queue, wish(buyer, (option, 1), key="k"))
        hold.set()
        placed, repeated = first.result(), patient.result()
    assert (placed.replayed, repeated.replayed) == (False, True)
    assert placed.order.number == repeated.order.number
    assert not queue.queue._keys


def test_who_gives_up_before_a_batch_claims_it_is_certainly_not_placed(monkeypatch, new_committer):
    (option,) = make_options([10])
    buyers = [make_user(), make_user()]
    hold, started = threading.Event(), threading.Event()
    monkeypatch.setattr(order_queue, "QUEUE_SECONDS", 0.2)

    def held(requests):
        started.set()
        hold.wait(30)
        return place_batch(requests)

    queue = new_committer(held)
    with ThreadPoolExecutor(1) as pool:
        claimed = pool.submit(place, queue, wish(buyers[0], (option, 1)))
        started.wait(30)
        with pytest.raises(Busy):
            place(queue, wish(buyers[1], (option, 1)))
        hold.set()
        claimed.result()
    assert list(Order.objects.values_list("buyer", flat=True)) == [buyers[0].pk]


def test_a_claimed_order_that_is_not_answered_is_unknown_and_breaks_no_neighbour(monkeypatch, new_committer):
    (option,) = make_options([10])
    buyers = [make_user() for _ in range(2)]
    hold, started = threading.Event(), threading.Event()

    def held(requests):
        started.set()
        hold.wait(30)
        return place_batch(requests)

    queue = new_committer(held)
    monkeypatch.setattr(order_queue, "CLAIMED_SECONDS", 0.1)
    with ThreadPoolExecutor(2) as pool:
        claimed = pool.submit(place, queue, wish(buyers[0], (option, 1)))
        started.wait(30)
        (order,) = queue.queue._waiting
        with pytest.raises(OutcomeUnknown):
            order.result()
        monkeypatch.setattr(order_queue, "CLAIMED_SECONDS", 30)
        later = pool.submit(place, queue, wish(buyers[1], (option, 1)))
        hold.set()
        assert not later.result(timeout=30).replayed
        with pytest.raises(OutcomeUnknown):
            claimed.result(timeout=30)
    assert Order.objects.count() == 2  # the first was placed: only its buyer does not know
    assert not len(queue.queue)
    assert not queue.queue._keys


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
            group_commit(wish(buyers[i], (option, 1)))
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


# --- As it is deployed -----------------------------------------------------------------------------


def post_order(server, buyer, option, key=None):
    """(status, problem code or order number) of an order over HTTP."""
    headers = {
        "Authorization": f"Bearer {token_of(buyer)}",
        "Content-Type": "application/json",
    }
    if key:
        headers["Idempotency-Key"] = key
    body = json.dumps({"lines": [{"option": option.pk, "quantity": 1}]}).encode()
    request = urllib.request.Request(f"{server.url}/api/v1/orders/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["number"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["code"]


@pytest.fixture
def environment(tmp_path):
    return environment_of_tests(tmp_path, PLACEMENT="group_commit", WEB_CONCURRENCY="1", WEB_THREADS="4")


def test_waiting_orders_keep_no_threads(environment, tmp_path):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(60)]
    stock = Stock.objects.get(option=option)
    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(60) as pool:
        with row_locked("inventory_stock", stock.pk):
            futures = [pool.submit(post_order, server, buyer, option) for buyer in buyers]
            wait_for_lock_waiters()
            # More orders than threads wait, and everything else answers.
            assert server.answers()
            with urllib.request.urlopen(f"{server.url}/api/v1/products/", timeout=10) as answer:
                assert json.load(answer)["results"][0]["options"][0]["available"] == 1_000
            assert not any(future.done() for future in futures)
        outcomes = Counter(future.result(timeout=60)[0] for future in futures)
    assert outcomes[201] == Order.objects.count() > 0
    assert outcomes[201] + outcomes[503] == 60
    assert_books_balance()


def test_a_clean_stop_finishes_what_was_accepted(environment, tmp_path):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(20)]
    stock = Stock.objects.get(option=option)
    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(20) as pool:
        with row_locked("inventory_stock", stock.pk):
            futures = [pool.submit(post_order, server, buyer, option) for buyer in buyers]
            wait_for_lock_waiters()
            server.terminate()
        statuses = [future.result(timeout=60)[0] for future in futures]
        server.process.wait(timeout=60)
        assert server.process.returncode == 0
    # Whoever was answered 201 has an order, and nobody else has one; no answer was simply dropped.
    assert Counter(statuses)[201] == Order.objects.count() >= 1
    assert set(statuses) <= {201, 503}
    assert_books_balance()


def wait_for_lock_waiters():
    """Until somebody waits for a row in the database."""
    with mariadb_server().root() as root:
        cursor = root.cursor()
        while True:
            cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_LOCK_WAITS")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.15)  # InnoDB refreshes this table only for who has not read it for 0.1 s


def test_a_killed_worker_loses_no_answered_order_and_no_unit(environment, tmp_path):
    (option,) = make_options([10_000])
    buyers = [make_user() for _ in range(16)]
    environment["WEB_CONCURRENCY"] = "2"
    answered, failed = [], []
    enough = threading.Event()

    def shop(server, buyer):
        for n in range(40):
            try:
                status, number = post_order(server, buyer, option, key=f"{buyer.pk}-{n}")
            except OSError:
                failed.append((buyer, f"{buyer.pk}-{n}"))
                continue
            assert status == 201
            answered.append(number)
            if len(answered) > 100:
                enough.set()

    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(shop, server, buyer) for buyer in buyers]
        enough.wait(60)
        os.kill(server.workers()[0], signal.SIGKILL)
        for future in futures:
            future.result(timeout=120)
        # Whoever got no answer asks again with the same key, and has one order after it.
        for buyer, key in failed:
            status, number = post_order(server, buyer, option, key=key)
            assert status == 201
            answered.append(number)
    assert len(set(answered)) == len(answered) == 16 * 40
    assert set(answered) == set(Order.objects.values_list("number", flat=True))
    assert_books_balance()
