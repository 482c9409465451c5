"""A drop, in every lane: its window, its limit, its units, its orders' way into the database."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import Count
from django.utils import timezone

from inventory.errors import InsufficientStock
from inventory.models import Movement
from orders.api import _unwritten
from orders.drops.admission.tallies import tallies
from orders.drops.errors import OrderNotWritten
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.redis.answers import GiveBack
from orders.drops.redis.connections import client
from orders.drops.redis.keys import keys_of
from orders.drops.schedule import run_due
from orders.drops.services import close_drop, open_drop, pause_drop, resume_drop
from orders.errors import OrderNotFound
from orders.lifecycle import cancel_order, expire_due
from orders.models import Order
from orders.models.drops import DropItem, DropRelease, DropStatus, DropTally, Lane
from shop.models import Product
from tests.support.concurrency import in_processes, in_threads
from tests.support.drops import (
    REDIS_LANES,
    assert_all_adds_up,
    assert_escrow_adds_up,
    drain_all,
    item_of,
    left_in_redis,
    make_drop,
)
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.problems import problem
from yousinsa.errors import Conflict, Invalid

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[*REDIS_LANES, Lane.GROUP_COMMIT])
def lane(request, settings):
    if request.param != Lane.GROUP_COMMIT:
        request.getfixturevalue("on_redis")
    return request.param


@pytest.fixture
def shopper(api):
    return api(make_user(address=True))


def buy(shopper, drop, *lines, **headers):
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": n} for option, n in lines]}
    return shopper.post("orders/", body, **headers)


# --- Opening, the window, closing -------------------------------------------------------------------------


def test_opening_sets_the_allotment_aside_and_closing_gives_the_rest_back(lane, shopper):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=lane, opened=False)
    assert stock_of(option) == (10, 0)
    for _ in range(2):  # said twice, done once
        open_drop(drop.pk)
        assert stock_of(option) == (10, 4)
    assert buy(shopper, drop, (option, 1)).status_code == (201 if lane == Lane.GROUP_COMMIT else 202)
    for _ in range(2):
        assert close_drop(drop.pk)
        assert stock_of(option) == (10, 1)
    drop.refresh_from_db()
    assert (drop.status, item_of(drop)) == (DropStatus.SETTLED, (4, 1, 3))
    kinds = Movement.objects.exclude(kind="receive").order_by("id").values_list("kind", "delta_reserved")
    assert list(kinds) == [("allot", 4), ("unallot", -1), ("reserve", 1), ("unallot", -3)]
    assert Order.objects.get().drop == drop
    with pytest.raises(Conflict):
        open_drop(drop.pk)
    assert_all_adds_up()


def test_more_than_there_is_cannot_be_set_aside(lane):
    (option,) = make_options([3])
    drop = make_drop((option, 4), lane=lane, opened=False)
    with pytest.raises(InsufficientStock) as refused:
        open_drop(drop.pk)
    assert refused.value.lines == [{"option": option.pk, "requested": 4, "available": 3}]
    drop.refresh_from_db()
    assert (drop.status, stock_of(option)) == (DropStatus.SCHEDULED, (3, 0))


def test_it_sells_at_the_drops_price_from_opening_to_closing_only(lane, shopper, api):
    (option,) = make_options([10], price=10_000)
    opens = timezone.now() + timedelta(hours=1)
    items = [ItemDraft(option.pk, 3, price=7_000)]
    drop = create_drop(name="Air", items=items, limit=1, lane=lane, opens_at=opens)
    early = problem(buy(shopper, drop, (option, 1)), 409, "drop_not_open")
    assert early["opens_at"].startswith(f"{opens:%Y-%m-%dT}")
    open_drop(drop.pk)
    order = buy(shopper, drop, (option, 1)).json()
    assert (order["total"], order["lines"][0]["unit_price"], order["drop"]) == (7_000, 7_000, drop.pk)
    drain_all()
    assert Order.objects.get(number=order["number"]).total == 7_000
    close_drop(drop.pk)
    problem(buy(api(make_user()), drop, (option, 1)), 409, "drop_not_open")
    assert_all_adds_up()


def test_the_price_of_an_admitted_order_is_frozen(on_redis, shopper):
    (option,) = make_options([10], price=10_000)
    drop = make_drop((option, 3))
    order = buy(shopper, drop, (option, 1)).json()
    DropItem.objects.update(price=1)
    Product.objects.update(price=2, is_active=False)
    drain_all()
    placed = Order.objects.get(number=order["number"])
    assert (placed.total, placed.lines.get().unit_price) == (10_000, 10_000)


def test_pausing_stops_the_sale_and_resuming_goes_on(lane, shopper):
    (option,) = make_options([10])
    drop = make_drop((option, 3), lane=lane)
    for _ in range(2):
        pause_drop(drop.pk)
    problem(buy(shopper, drop, (option, 1)), 409, "drop_not_open")
    for _ in range(2):
        resume_drop(drop.pk)
    assert buy(shopper, drop, (option, 1)).status_code in (201, 202)
    close_drop(drop.pk)
    with pytest.raises(Conflict):
        resume_drop(drop.pk)
    assert_all_adds_up()


def test_drops_open_and_close_by_themselves_once_however_many_look(lane):
    (option,) = make_options([10])
    now = timezone.now()
    drop = make_drop((option, 4), lane=lane, opened=False, closes_at=now + timedelta(hours=1))
    assert sum(in_threads(lambda _i: run_due(), 3)) >= 1
    drop.refresh_from_db()
    assert (drop.status, stock_of(option)) == (DropStatus.OPEN, (10, 4))
    type(drop).objects.update(opens_at=now - timedelta(hours=2), closes_at=now - timedelta(hours=1))
    for _ in range(5):
        in_threads(lambda _i: run_due(), 3)
    drop.refresh_from_db()
    assert (drop.status, stock_of(option), item_of(drop)) == (DropStatus.SETTLED, (10, 0), (4, 0, 4))
    assert (
        Movement.objects.filter(kind="allot").count() == Movement.objects.filter(kind="unallot").count() == 1
    )
    assert_books_balance()


def test_what_cannot_be_opened_says_why_and_stops_no_other(lane):
    scarce, plenty = make_options([1, 10])
    stuck, fine = (make_drop((o, 4), lane=lane, opened=False) for o in (scarce, plenty))
    assert run_due() == 1
    stuck.refresh_from_db()
    fine.refresh_from_db()
    assert (stuck.status, fine.status) == (DropStatus.SCHEDULED, DropStatus.OPEN)
    assert "4 asked for" in stuck.problem


# --- Orders -----------------------------------------------------------------------------------------------


def test_an_admitted_order_is_shown_at_once_and_pending_once_it_is_written(on_redis, shopper, api):
    (option,) = make_options([10])
    drop = make_drop((option, 3))
    answer = buy(shopper, drop, (option, 1))
    number = answer.json()["number"]
    assert (answer.status_code, answer["Location"]) == (202, f"/api/v1/orders/{number}/")
    shown = shopper.get(f"orders/{number}/").json()
    assert (shown["status"], shown["expires_at"], shown["lines"][0]["option"]) == (
        "accepted",
        None,
        option.pk,
    )
    assert api(make_user()).get(f"orders/{number}/").status_code == 404
    for action, body in (("pay", {"provider": "sandbox", "token": "ok"}), ("cancel", {})):
        refused = shopper.post(f"orders/{number}/{action}/", body)
        problem(refused, 409, "order_not_settled")
        assert refused["Retry-After"] == "1"
    assert drain_all() == 1
    shown = shopper.get(f"orders/{number}/").json()
    assert shown["status"] == "pending"
    assert shown["expires_at"]
    assert shopper.post(f"orders/{number}/pay/", {"provider": "sandbox", "token": "ok"}).status_code == 200
    assert_all_adds_up()


def test_an_order_that_is_written_between_two_questions_is_not_said_to_be_missing(on_redis, shopper):
    (option,) = make_options([10])
    number = buy(shopper, make_drop((option, 3)), (option, 1)).json()["number"]
    assert drain_all() == 1
    # A change that had not found it in the database, just before, looks for it in Redis, just after.
    assert isinstance(_unwritten(OrderNotFound(), number, shopper.user.pk), OrderNotWritten)
    assert isinstance(_unwritten(OrderNotFound(), number, make_user().pk), OrderNotFound)


def test_a_key_orders_once_in_whatever_state_the_order_is(lane, shopper):
    (option,) = make_options([10])
    drop = make_drop((option, 5), lane=lane, limit=3)
    first = buy(shopper, drop, (option, 1), Idempotency_Key="k")
    for _ in range(2):
        again = buy(shopper, drop, (option, 1), Idempotency_Key="k")
        assert again.json()["number"] == first.json()["number"]
        assert again["Idempotent-Replayed"] == "true"
        problem(buy(shopper, drop, (option, 2), Idempotency_Key="k"), 422, "idempotency_key_reused")
        drain_all()
    assert again.status_code in (201, 202)
    assert buy(shopper, drop, (option, 1), Idempotency_Key="k").status_code == 201
    close_drop(drop.pk)
    assert buy(shopper, drop, (option, 1), Idempotency_Key="k").status_code in (201, 409)
    assert Order.objects.count() == 1
    assert_all_adds_up()


def test_sold_out_says_what_is_left(lane, api):
    first, second = make_options([10, 10])
    drop = make_drop((first, 2), (second, 1), lane=lane, limit=5)
    answer = buy(api(make_user()), drop, (first, 1), (second, 2))
    lines = problem(answer, 409, "insufficient_stock")["lines"]
    assert lines == [{"option": second.pk, "requested": 2, "available": 1}]
    assert buy(api(make_user()), drop, (second, 1), (first, 1), (first, 1)).status_code in (201, 202)
    problem(buy(api(make_user()), drop, (first, 1)), 409, "insufficient_stock")
    drain_all()
    assert_all_adds_up()


def test_what_a_drop_does_not_sell_is_unknown(lane, shopper):
    option, other = make_options([10, 10])
    drop = make_drop((option, 2), lane=lane)
    problem(buy(shopper, drop, (other, 1)), 400, "unknown_option", "lines.option")
    drop.pk = 10**9
    problem(buy(shopper, drop, (option, 1)), 400, "unknown_drop", "drop")


def test_the_limit_counts_all_orders_and_comes_back_with_them(lane, shopper):
    (option,) = make_options([10])
    drop = make_drop((option, 6), lane=lane, limit=2)
    assert problem(buy(shopper, drop, (option, 3)), 409, "purchase_limit")["bought"] == 0
    number = buy(shopper, drop, (option, 1)).json()["number"]
    assert buy(shopper, drop, (option, 1)).status_code in (201, 202)
    refusal = problem(buy(shopper, drop, (option, 1)), 409, "purchase_limit")
    assert (refusal["limit"], refusal["bought"], refusal["requested"]) == (2, 2, 1)
    drain_all()
    assert shopper.post(f"orders/{number}/cancel/", {}).status_code == 200
    assert item_of(drop) == (6, 1, 0)
    assert buy(shopper, drop, (option, 1)).status_code in (201, 202)
    drain_all()
    problem(buy(shopper, drop, (option, 1)), 409, "purchase_limit")
    assert expire_due(now=timezone.now() + timedelta(days=1)) == 2
    run_due()
    assert item_of(drop) == (6, 0, 0)
    assert buy(shopper, drop, (option, 2)).status_code in (201, 202)
    drain_all()
    assert_all_adds_up()


def test_what_comes_back_after_settling_is_available(lane, shopper):
    (option,) = make_options([10])
    drop = make_drop((option, 6), lane=lane, limit=2)
    buy(shopper, drop, (option, 2))
    close_drop(drop.pk)
    assert (stock_of(option), item_of(drop)) == ((10, 2), (6, 2, 4))
    cancel_order(order_id=Order.objects.get().pk, actor_id=None)
    assert (stock_of(option), item_of(drop)) == ((10, 0), (6, 0, 6))
    assert_all_adds_up()


def test_units_come_back_once_however_often_it_is_said(on_redis, shopper):
    from orders.drops.writing import outbox

    (option,) = make_options([10])
    drop = make_drop((option, 6), limit=2)
    buy(shopper, drop, (option, 2))
    drain_all()
    cancel_order(order_id=Order.objects.get().pk, actor_id=None)
    release = DropRelease.objects.get()
    assert release.told_at
    assert left_in_redis(drop, option) == 6
    DropRelease.objects.update(told_at=None)
    assert_escrow_adds_up()  # it is known not to be on its way any more
    assert outbox.deliver_due() == 1
    assert outbox.deliver(release) == GiveBack.AGAIN
    assert (left_in_redis(drop, option), client().hgetall(keys_of(drop.pk).customers)) == (6, {})
    assert_all_adds_up()


@pytest.mark.mariadb
def test_parallel_requests_of_one_customer_stay_within_the_limit(lane, settings):
    (option,) = make_options([100])
    drop = make_drop((option, 90), lane=lane, limit=3)
    buyers = [make_user().pk for _ in range(4)]

    def process(i):
        outcomes = in_threads(lambda _t: [attempt(buyers[n % 4], drop, option) for n in range(8)], 4)
        return Counter(outcome for each in outcomes for outcome in each)

    total = sum(in_processes(process, 3), Counter())
    drain_all()
    assert total["sold"] == 12 == Order.objects.count()
    assert total["purchase_limit"] == 3 * 4 * 8 - 12
    assert set(Order.objects.values_list("buyer").annotate(n=Count("id")).values_list("n", flat=True)) == {3}
    assert item_of(drop) == (90, 12, 0)
    assert_all_adds_up()


def attempt(buyer_id, drop, option, key=None):
    from orders.drops.admission.door import buy as purchase
    from orders.placement.requests import PlaceRequest
    from yousinsa.errors import Busy, Problem

    while True:
        request = PlaceRequest.build(
            buyer_id=buyer_id, lines=[(option.pk, 1)], drop_id=drop.pk, idempotency_key=key
        )
        try:
            purchase(request)
        except Busy:
            continue
        except Problem as refusal:
            return refusal.code
        return "sold"


@pytest.mark.mariadb
def test_a_race_for_thirty_units_sells_thirty(lane):
    (option,) = make_options([100])
    drop = make_drop((option, 30), lane=lane, limit=100)
    buyers = [make_user().pk for _ in range(4)]

    def process(i):
        outcomes = in_threads(lambda _t: [attempt(buyers[i], drop, option) for _ in range(5)], 4)
        return Counter(outcome for each in outcomes for outcome in each)

    assert sum(in_processes(process, 4), Counter()) == {"sold": 30, "insufficient_stock": 50}
    drain_all()
    assert (Order.objects.count(), item_of(drop)) == (30, (30, 30, 0))
    assert_all_adds_up()


# --- Who is refused costs the database nothing ------------------------------------------------------------


@pytest.mark.parametrize("lane", REDIS_LANES)
def test_a_refusal_asks_the_database_nothing(on_redis, lane, api, django_assert_num_queries):
    (option,) = make_options([10])
    drop = make_drop((option, 1), lane=lane)
    winner, loser = api(make_user()), api(make_user())
    assert buy(winner, drop, (option, 1)).status_code == 202
    drain_all()
    with django_assert_num_queries(0):
        for _ in range(5):
            problem(buy(loser, drop, (option, 1)), 409, "insufficient_stock")
            problem(buy(winner, drop, (option, 1)), 409, "purchase_limit")
        pause = client().hset(keys_of(drop.pk).gate, "status", "paused")
    assert pause == 0
    tallies().flush()
    tally = DropTally.objects.get(drop=drop)
    assert (tally.acknowledged, tally.refused) == (1, 10)


# --- Bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": " "}),
        ("limit", {"limit": 0}),
        ("lane", {"lane": "fax"}),
        ("closes_at", {"closes_at": timezone.now() - timedelta(days=1)}),
        ("admission_rate", {"admission_rate": 0}),
        ("admission_rate", {"admission_rate": 5, "lane": Lane.GROUP_COMMIT}),
        ("option", {"items": []}),
        ("option", {"items": [ItemDraft(10**9, 1)]}),
        ("allotment", {"items": [ItemDraft(1, 0)]}),
        ("price", {"items": [ItemDraft(1, 1, -1)]}),
    ],
)
def test_a_drop_that_makes_no_sense_is_refused_with_the_field(field, change):
    (option,) = make_options([10])
    sound = {"name": "Air", "items": [ItemDraft(option.pk, 1)], "limit": 1}
    with pytest.raises(Invalid) as refused:
        create_drop(**sound | change)
    assert list(refused.value.errors) == [field]


def test_without_redis_the_redis_lanes_are_refused(shopper, settings):
    (option,) = make_options([10])
    drop = make_drop((option, 1), opened=False)
    settings.REDIS_URL = ""
    with pytest.raises(Conflict) as refused:
        open_drop(drop.pk)
    assert refused.value.code == "redis_needed"
    drop.refresh_from_db()
    assert (drop.status, stock_of(option)) == (DropStatus.SCHEDULED, (10, 0))


def test_a_redis_that_evicts_is_refused(on_redis):
    (option,) = make_options([10])
    drop = make_drop((option, 1), opened=False)
    client().config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Conflict) as refused:
            open_drop(drop.pk)
    finally:
        client().config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in str(refused.value.detail)
    assert stock_of(option) == (10, 0)
