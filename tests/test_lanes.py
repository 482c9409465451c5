"""One contract, every lane: the same behaviour and the same races, on MariaDB and a real Redis."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ImproperlyConfigured

from inventory.models import Stock
from orders.models import Order, OrderLine
from orders.placement import distributed_lock as lock_lane
from orders.placement.lanes import LANES, place_order
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import ChildFailed, in_processes, in_threads
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import deadlocks
from tests.support.races import buy, goes_wrong, nothing_locked, take_order_away, without_unique
from tests.support.services import free_port
from yousinsa.errors import Busy, Problem

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


@pytest.fixture(params=sorted(LANES))
def lane(request, settings):
    """PLACEMENT is this lane; the distributed lock gets its Redis."""
    settings.PLACEMENT = request.param
    if request.param == "distributed_lock":
        use_redis(settings, request.getfixturevalue("redis_server"))
    return request.param


def use_redis(settings, server):
    settings.REDIS_URL = server.url
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}}


def place(buyer_id, *lines, key=None):
    """What became of an order in the lane: its number, or the problem's code."""
    return buy(buyer_id, *lines, key=key, lane=place_order)


def test_it_places_an_order_with_all_that_belongs_to_it(lane, settings):
    first, second = make_options([5, 5], price=3_000)
    buyer = make_user()
    lines = [(second.pk, 1), (first.pk, 2), (second.pk, 1)]
    placed = place_order(PlaceRequest.build(buyer_id=buyer.pk, lines=lines))
    order = Order.objects.get(number=placed.order.number)
    assert (order.buyer_id, order.status, order.total) == (buyer.pk, "pending", 12_000)
    assert list(order.lines.values_list("option_id", "quantity")) == [(first.pk, 2), (second.pk, 2)]
    assert placed.order.expires_at == order.expires_at
    assert (stock_of(first), stock_of(second)) == ((5, 2), (5, 2))
    assert_books_balance()


def test_a_refusal_names_every_short_line_and_changes_nothing(lane):
    first, second, third = make_options([1, 5, 0])
    buyer = make_user()
    lines = [(first.pk, 2), (second.pk, 5), (third.pk, 1)]
    with pytest.raises(Problem) as refused:
        place_order(PlaceRequest.build(buyer_id=buyer.pk, lines=lines))
    assert refused.value.lines == [
        {"option": first.pk, "requested": 2, "available": 1},
        {"option": third.pk, "requested": 1, "available": 0},
    ]
    assert Order.objects.count() == 0
    assert stock_of(second) == (5, 0)
    assert_books_balance()


def test_an_option_that_is_not_on_sale_is_unknown(lane):
    (option,) = make_options([5])
    type(option.product).objects.update(is_active=False)
    assert place(make_user().pk, (option.pk, 1)) == "unknown_option"
    assert place(make_user().pk, (10**9, 1)) == "unknown_option"


def test_a_key_places_once_and_tells_another_body_apart(lane):
    (option,) = make_options([5])
    buyer = make_user().pk
    number = place(buyer, (option.pk, 1), key="k")
    assert place(buyer, (option.pk, 1), key="k") == number
    assert place(buyer, (option.pk, 2), key="k") == "idempotency_key_reused"
    assert place(make_user().pk, (option.pk, 1), key="k") != number
    assert stock_of(option) == (5, 2)


def test_a_placed_order_is_repeated_when_nothing_is_left(lane):
    (option,) = make_options([1])
    buyer = make_user().pk
    number = place(buyer, (option.pk, 1), key="last")
    assert place(buyer, (option.pk, 1)) == "insufficient_stock"
    assert place(buyer, (option.pk, 1), key="last") == number


# --- Races --------------------------------------------------------------------------------------------


def sold_of(units, *, processes, each):
    """How many of these units are sold, and how many orders refused, when processes of two threads buy."""
    (option,) = make_options([units])
    buyers = [make_user().pk for _ in range(processes)]

    def process(i):
        outcomes = in_threads(lambda _t: [place(buyers[i], (option.pk, 1)) for _ in range(each)], 2)
        return Counter(o if o == "insufficient_stock" else "sold" for each in outcomes for o in each)

    counts = sum(in_processes(process, processes), Counter())
    assert counts["sold"] == OrderLine.objects.filter(option=option).count()
    return counts


def test_a_race_for_fifty_units_sells_fifty(lane):
    assert sold_of(50, processes=8, each=5) == {"sold": 50, "insufficient_stock": 30}
    assert_books_balance()


def test_control_without_its_locks_a_lane_oversells(lane, monkeypatch):
    """The row lock, and in front of it the lock in Redis; or the condition of the UPDATE that needs none."""
    with nothing_locked(monkeypatch):
        if lane == "distributed_lock":
            monkeypatch.setattr(lock_lane, "option_lock", lambda option_id: OpenDoor())
        if lane != "conditional_update":
            counts = goes_wrong(lambda: sold_of(20, processes=4, each=5), lambda c: c["sold"] == 20)
            assert counts["sold"] > 20
            return
        rows = Stock.objects.filter
        monkeypatch.setattr(Stock.objects, "filter", lambda on_hand__gte=None, **terms: rows(**terms))
        # More than there is would be promised, but for the database, which knows the rule as well.
        with pytest.raises(ChildFailed, match="stock_reserved_within_on_hand"):
            sold_of(20, processes=4, each=5)


class OpenDoor:
    """A lock that everybody has."""

    def acquire(self):
        return True

    def release(self):
        pass


def outcomes_of_baskets(*, processes, each):
    """What becomes of baskets of three of five options, in one direction and in the other."""
    options = [option.pk for option in make_options([1_000] * 5)]
    buyers = [make_user().pk for _ in range(processes)]

    def process(i):
        outcomes = Counter()
        for n in range(each):
            mine = options[n % 5 :] + options[: n % 5]
            if i % 2:
                mine.reverse()
            request = PlaceRequest.build(buyer_id=buyers[i], lines=[(option, 1) for option in mine[:3]])
            try:
                place_order(request)
                outcomes["placed"] += 1
            except Busy:
                outcomes["busy"] += 1
        return outcomes

    before = deadlocks()
    outcomes = sum(in_processes(process, processes), Counter())
    assert Order.objects.filter(buyer__in=buyers).count() == outcomes["placed"]
    return outcomes, deadlocks() - before


def test_baskets_in_any_order_never_deadlock_a_client(lane):
    outcomes, killed = outcomes_of_baskets(processes=4, each=20)
    assert (outcomes, killed) == ({"placed": 80}, 0)
    assert_books_balance()


def test_control_locks_in_line_order_do_deadlock(lane, monkeypatch, settings):
    """Two doors in Redis that are closed crosswise stay closed until somebody gives up."""
    take_order_away(monkeypatch)
    settings.LOCK_WAIT_SECONDS = 1
    if lane == "conditional_update":
        monkeypatch.setattr("orders.placement.conditional_update.sorted", list, raising=False)
    each = 5 if lane == "distributed_lock" else 20
    right = ({"placed": 4 * each}, 0)
    goes_wrong(lambda: outcomes_of_baskets(processes=4, each=each), lambda found: found == right)


def test_parallel_repeats_of_one_key_make_one_order(lane):
    assert orders_under_one_key() == (1, 1)
    assert_books_balance()


def test_control_without_the_unique_key_and_the_locks_one_key_makes_several_orders(lane, monkeypatch):
    if lane == "distributed_lock":
        monkeypatch.setattr(lock_lane, "option_lock", lambda option_id: OpenDoor())
    with nothing_locked(monkeypatch), without_unique(Order, "buyer", "idempotency_key"):
        goes_wrong(orders_under_one_key, lambda found: found == (1, 1))


def orders_under_one_key():
    """How many orders twenty threads of four processes make under one key, and how many they are told of."""
    (option,) = make_options([1_000])
    buyer = make_user().pk

    def process(_i):
        return in_threads(lambda _t: place(buyer, (option.pk, 1), key="twice"), 5)

    numbers = {number for each in in_processes(process, 4) for number in each}
    return Order.objects.filter(buyer=buyer).count(), len(numbers)


# --- What one lane alone can or cannot promise ----------------------------------------------------------


def test_an_expired_distributed_lock_lets_two_in_and_the_row_lock_still_counts(
    settings, redis_server, monkeypatch
):
    """A holder that is stopped longer than the lock lives no longer has it, and does not know."""
    use_redis(settings, redis_server)
    settings.PLACEMENT = "distributed_lock"
    monkeypatch.setattr(lock_lane, "HOLD_SECONDS", 0.2)
    (option,) = make_options([1])
    buyers = [make_user().pk, make_user().pk]
    holder = StoppedHolder(monkeypatch, lambda: place(buyers[0], (option.pk, 1)))
    # The lock expired under its holder: the second buyer gets it while the first still works inside.
    second = place(buyers[1], (option.pk, 1))
    assert second != "insufficient_stock"
    assert holder.goes_on() == "insufficient_stock"
    assert stock_of(option) == (1, 1)
    assert_books_balance()


class StoppedHolder:
    """Somebody who has the locks of an order and is stopped before it is placed: swapped out, a slow disk."""

    def __init__(self, monkeypatch, order):
        original, inside, self._go_on = lock_lane.place_batch, threading.Event(), threading.Event()

        def stopped(requests):
            inside.set()
            assert self._go_on.wait(60)
            return original(requests)

        with monkeypatch.context() as patched:
            patched.setattr(lock_lane, "place_batch", stopped)
            self._order = ThreadPoolExecutor(1).submit(order)
            assert inside.wait(60)

    def goes_on(self):
        """What becomes of the order."""
        self._go_on.set()
        return self._order.result(60)


def test_a_late_holder_does_not_release_its_successors_lock(settings, redis_server, monkeypatch):
    use_redis(settings, redis_server)
    settings.PLACEMENT = "distributed_lock"
    monkeypatch.setattr(lock_lane, "HOLD_SECONDS", 0.1)
    (option,) = make_options([1])
    buyer = make_user().pk
    holder = StoppedHolder(monkeypatch, lambda: place(buyer, (option.pk, 1)))
    monkeypatch.setattr(lock_lane, "HOLD_SECONDS", 60)
    successor = lock_lane.option_lock(option.pk)
    assert successor.acquire()  # waits until the first has expired
    assert holder.goes_on() == Order.objects.get().number
    assert successor.owned()


def test_the_distributed_lock_without_redis_says_what_is_missing(settings):
    settings.PLACEMENT = "distributed_lock"
    (option,) = make_options([1])
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL"):
        place_order(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))


def test_the_distributed_lock_is_busy_while_redis_is_away(settings):
    settings.PLACEMENT = "distributed_lock"
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.REDIS_URL}
    }
    (option,) = make_options([1])
    with pytest.raises(Busy):
        place_order(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))
    assert stock_of(option) == (1, 0)


def test_an_unknown_lane_is_named(settings):
    settings.PLACEMENT = "hope"
    (option,) = make_options([1])
    with pytest.raises(ImproperlyConfigured, match="hope"):
        place_order(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))
