"""One contract, every lane: the same behaviour and the same races, on MariaDB and a real Redis."""

import threading
from collections import Counter

import pytest
from django.core.exceptions import ImproperlyConfigured

from orders.models import Order
from orders.placement import distributed_lock as lock_lane
from orders.placement.lanes import LANES, place_order
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes, in_threads
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance
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
    """What became of an order: its number, or the problem's code. Busy is asked again."""
    while True:
        request = PlaceRequest.build(buyer_id=buyer_id, lines=lines, idempotency_key=key)
        try:
            return place_order(request).order.number
        except Busy:
            continue
        except Problem as problem:
            return problem.code


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


def test_a_race_for_fifty_units_sells_fifty(lane):
    (option,) = make_options([50])
    buyers = [make_user().pk for _ in range(8)]

    def process(i):
        outcomes = in_threads(lambda _t: [place(buyers[i], (option.pk, 1)) for _ in range(5)], 2)
        return Counter(o if o == "insufficient_stock" else "sold" for each in outcomes for o in each)

    assert sum(in_processes(process, 8), Counter()) == {"sold": 50, "insufficient_stock": 30}
    assert stock_of(option) == (50, 50)
    assert Order.objects.count() == 50
    assert_books_balance()


def test_baskets_in_any_order_never_deadlock_a_client(lane):
    options = [option.pk for option in make_options([1_000] * 5)]
    buyers = [make_user().pk for _ in range(4)]

    def process(i):
        placed = 0
        for n in range(20):
            mine = options[n % 5 :] + options[: n % 5]
            if i % 2:
                mine.reverse()
            request = PlaceRequest.build(buyer_id=buyers[i], lines=[(option, 1) for option in mine[:3]])
            place_order(request)  # any error fails the child
            placed += 1
        return placed

    assert sum(in_processes(process, 4)) == 80 == Order.objects.count()
    assert_books_balance()


def test_parallel_repeats_of_one_key_make_one_order(lane):
    (option,) = make_options([100])
    buyer = make_user().pk

    def process(_i):
        return in_threads(lambda _t: place(buyer, (option.pk, 1), key="twice"), 5)

    numbers = {number for each in in_processes(process, 4) for number in each}
    assert len(numbers) == 1
    assert stock_of(option) == (100, 1)


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
    inside, go_on = [], threading.Event()

    def stopped_holder(request):
        inside.append(request)
        go_on.wait(30)  # a long pause: swapped out, stopped, a slow disk
        return original([request[0]])

    original = lock_lane.place_batch
    first_done: list[str] = []
    monkeypatch.setattr(lock_lane, "place_batch", stopped_holder)
    holder = threading.Thread(target=lambda: first_done.append(place(buyers[0], (option.pk, 1))))
    holder.start()
    while not inside:
        pass
    # The lock expired under its holder: the second buyer gets it while the first still works inside.
    monkeypatch.setattr(lock_lane, "place_batch", original)
    second = place(buyers[1], (option.pk, 1))
    assert holder.is_alive()
    go_on.set()
    holder.join(30)
    assert second != "insufficient_stock"
    assert first_done == ["insufficient_stock"]
    assert stock_of(option) == (1, 1)
    assert_books_balance()


def test_a_late_holder_does_not_release_its_successors_lock(settings, redis_server, monkeypatch):
    use_redis(settings, redis_server)
    monkeypatch.setattr(lock_lane, "HOLD_SECONDS", 0.1)
    late = lock_lane.option_lock(1)
    assert late.acquire()
    monkeypatch.setattr(lock_lane, "HOLD_SECONDS", 30)
    successor = lock_lane.option_lock(1)
    assert successor.acquire()  # waits until the first has expired
    lock_lane._release(late)
    assert successor.owned()


def test_the_distributed_lock_without_redis_says_what_is_missing(settings):
    settings.PLACEMENT = "distributed_lock"
    (option,) = make_options([1])
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL"):
        place_order(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))


def test_the_distributed_lock_is_busy_while_redis_is_away(settings):
    from tests.support.services import free_port

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
