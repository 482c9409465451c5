"""What one buyer may hold without paying: so many orders, so many units, in whatever process they come."""

import pytest

from orders.lifecycle import cancel_order
from orders.models import Order, OrderLine
from orders.placement import buyers
from orders.placement.batch import place_batch
from orders.placement.lanes import LANES
from orders.placement.requests import Placed
from tests.support.concurrency import in_processes
from tests.support.drops import make_drop
from tests.support.factories import make_options, make_order, make_user
from tests.support.orders import pay_by_card, run_out
from tests.support.poison import wish
from tests.support.races import buy, goes_wrong

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def caps(settings):
    settings.UNPAID_ORDERS, settings.UNPAID_UNITS = 3, 10


def order_of(api, buyer, option, units=1, **more):
    body = {"lines": [{"option": option.pk, "quantity": units}], **more}
    return api(buyer).post("/api/v1/orders/", body)


def test_beyond_the_cap_is_refused_in_words_with_what_is_held(caps, api, buyer, option):
    orders = [make_order(buyer, (option, 1)) for _ in range(3)]
    refused = order_of(api, buyer, option)
    assert refused.status_code == 409
    body = refused.json()
    assert body["code"] == "too_many_unpaid"
    assert (body["held_orders"], body["limit_orders"]) == (3, 3)
    assert (body["held_units"], body["limit_units"], body["requested_units"]) == (3, 10, 1)
    assert "pay for one of them or cancel one" in body["detail"]
    assert order_of(api, make_user(), option).status_code == 201  # another buyer's is another's

    # Each way out of it.
    for way in (pay_by_card, run_out, lambda order: cancel_order(order_id=order.pk, actor_id=buyer.pk)):
        way(orders.pop())
        assert order_of(api, buyer, option).status_code == 201
        assert order_of(api, buyer, option).status_code == 409


def test_units_are_capped_as_well(caps, api, buyer):
    (option,) = make_options([100])
    assert order_of(api, buyer, option, 6).status_code == 201
    assert order_of(api, buyer, option, 5).status_code == 409
    assert order_of(api, buyer, option, 4).status_code == 201


def test_nought_is_no_cap(settings, api, buyer):
    (option,) = make_options([100])
    settings.UNPAID_ORDERS, settings.UNPAID_UNITS = 0, 10
    for _ in range(5):
        assert order_of(api, buyer, option).status_code == 201
    settings.UNPAID_ORDERS, settings.UNPAID_UNITS = 5, 0
    assert order_of(api, buyer, option, 50).status_code == 409
    settings.UNPAID_ORDERS = 6
    assert order_of(api, buyer, option, 50).status_code == 201


def test_a_repeated_order_is_answered_whatever_is_held(caps, api, buyer, option):
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    first = api(buyer).post("/api/v1/orders/", body, Idempotency_Key="once")
    make_order(buyer, (option, 1), (make_options([5])[0], 1))
    make_order(buyer, (option, 1))
    again = api(buyer).post("/api/v1/orders/", body, Idempotency_Key="once")
    assert again.json()["number"] == first.json()["number"]


def test_orders_of_drops_neither_count_nor_are_refused(caps, api, buyer):
    (option,) = make_options([100])
    drop = make_drop((option, 50), lane="group_commit", limit=50)
    for _ in range(5):
        assert order_of(api, buyer, option, 5, drop=drop.pk).status_code == 201
    for _ in range(3):
        assert order_of(api, buyer, option).status_code == 201
    assert order_of(api, buyer, option).status_code == 409
    assert order_of(api, buyer, option, 5, drop=drop.pk).status_code == 201


def test_within_one_batch_it_is_counted_one_after_the_other(caps, buyer, option):
    outcomes = place_batch([wish(buyer.pk, (option.pk, 1)) for _ in range(5)])
    said = ["placed" if isinstance(outcome, Placed) else outcome.code for outcome in outcomes]
    assert said == ["placed"] * 3 + ["too_many_unpaid"] * 2


def hold_from_everywhere(lane):
    """Four processes, each with an option of its own, so that no stock row makes them wait for each other."""
    buyer, options = make_user(), make_options([100] * 4)

    def process(i):
        return [buy(buyer.pk, (options[i].pk, 1), lane=lane) for _ in range(6)]

    said = [outcome for outcomes in in_processes(process, 4) for outcome in outcomes]
    held = Order.objects.filter(buyer=buyer).count()
    assert (
        len(said) - said.count("too_many_unpaid")
        == held
        == OrderLine.objects.filter(order__buyer=buyer).count()
    )
    return held


@pytest.mark.mariadb
@pytest.mark.parametrize("name", ["conditional_update", "group_commit", "row_lock"])
def test_it_holds_in_a_race(name, caps):
    assert hold_from_everywhere(LANES[name]) == 3


@pytest.mark.mariadb
def test_without_the_buyers_lock_it_does_not(caps, monkeypatch):
    accounts = buyers._accounts
    monkeypatch.setattr(buyers, "_accounts", lambda ids, *, lock: accounts(ids, lock=False))
    assert goes_wrong(lambda: hold_from_everywhere(LANES["row_lock"]), lambda held: held == 3) > 3
