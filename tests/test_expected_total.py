"""The price that a buyer saw, the bounds of prices and totals, and how long a transfer is waited for."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from orders.drops.planning import ItemDraft, create_drop
from orders.models import Drop, DropItem, Hold, Lane, Order
from orders.placement.lanes import place_order
from shop.models import MAX_PRICE, Product
from tests.support.desk import text, url
from tests.support.drops import drain_all, make_drop
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.payments import pay_for
from tests.support.poison import wish
from tests.support.problems import problem
from yousinsa.errors import Invalid, Problem

pytestmark = pytest.mark.django_db(transaction=True)


def send(api, buyer, *lines, **more):
    body = {"lines": [{"option": option.pk, "quantity": n} for option, n in lines], **more}
    return api(buyer).post("orders/", body)


@pytest.mark.parametrize("lane", ["conditional_update", "row_lock"])
def test_an_order_at_another_price_than_was_seen_is_not_placed(lane, settings, api, buyer, option):
    settings.PLACEMENT = lane
    Product.objects.update(price=19_000)
    refused = send(api, buyer, (option, 2), expected_total=20_000)
    body = problem(refused, 409, "price_changed")
    assert (body["expected_total"], body["total"]) == (20_000, 38_000)
    assert (Order.objects.count(), stock_of(option)) == (0, (10, 0))
    placed = send(api, buyer, (option, 2), expected_total=38_000)
    assert (placed.status_code, placed.json()["total"]) == (201, 38_000)


@pytest.mark.mariadb
def test_so_it_is_in_the_group_commit(settings, buyer, option):
    settings.PLACEMENT = "group_commit"
    with pytest.raises(Problem) as refused:
        place_order(wish(buyer.pk, (option.pk, 1), expected=1))
    assert refused.value.code == "price_changed"


@pytest.mark.parametrize("lane", Lane.values)
def test_so_it_is_in_drops(lane, on_redis, api, option):
    drop = make_drop((option, 5), lane=lane)
    refused = send(api, make_user(), (option, 1), drop=drop.pk, expected_total=9_999)
    problem(refused, 409, "price_changed")
    accepted = send(api, make_user(), (option, 1), drop=drop.pk, expected_total=10_000)
    assert accepted.status_code in (201, 202)
    if lane != Lane.GROUP_COMMIT:
        drain_all()
    assert Order.objects.get().total == 10_000


def test_a_key_belongs_to_the_price_too(api, buyer, option, on_redis):
    for more in ({}, {"drop": make_drop((option, 5), limit=5).pk}):
        key = f"key-{len(more)}"
        body = {"lines": [{"option": option.pk, "quantity": 1}], "expected_total": 10_000, **more}
        first = api(buyer).post("orders/", body, Idempotency_Key=key)
        assert first.status_code in (201, 202)
        drain_all()
        assert (
            api(buyer).post("orders/", body, Idempotency_Key=key).json()["number"] == first.json()["number"]
        )
        del body["expected_total"]
        problem(api(buyer).post("orders/", body, Idempotency_Key=key), 422, "idempotency_key_reused")


@pytest.mark.parametrize("wrong", [-1, 2**53, "1000", 1.5, True])
def test_what_is_no_price_is_told(api, buyer, option, wrong):
    refused = problem(send(api, buyer, (option, 1), expected_total=wrong), 400, "invalid")
    assert [error["field"] for error in refused["errors"]] == ["expected_total"]


def test_a_total_that_no_client_could_show_is_refused(api, buyer):
    dear = make_options([1_000_000] * 10, price=MAX_PRICE)
    problem(send(api, buyer, *((option, 1_000_000) for option in dear)), 400, "invalid")
    assert send(api, buyer, *((option, 1_000_000) for option in dear[:9])).status_code == 201


# --- Bounds at every door -------------------------------------------------------------------------------


def test_a_drops_price_has_the_bounds_of_a_products(option, desk):
    for price in (-1, MAX_PRICE + 1, 2**60):
        with pytest.raises(Invalid) as refused:
            create_drop(name="Air", items=[ItemDraft(option.pk, 1, price)], limit=1)
        assert "price" in refused.value.errors
    item = DropItem(drop=Drop(name="Air"), option=option, price=2**60, allotted=2**40)
    with pytest.raises(Exception, match="less than or equal to") as refused_by_the_form:
        item.clean_fields()
    assert {"price", "allotted"} <= set(refused_by_the_form.value.message_dict)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("orders_order", "total", 2**53),
        ("orders_orderline", "unit_price", MAX_PRICE + 1),
        ("orders_dropitem", "price", MAX_PRICE + 1),
    ],
)
def test_the_database_keeps_the_bounds(table, column, value, order, option):
    create_drop(name="Air", items=[ItemDraft(option.pk, 1)], limit=1, lane=Lane.GROUP_COMMIT)
    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s", [value])


# --- Transfers ------------------------------------------------------------------------------------------


def test_a_transfer_holds_the_units_for_a_day(order, desk):
    answer = pay_for(order, "manual")
    order.refresh_from_db()
    day = timedelta(hours=24)
    assert abs(order.expires_at - timezone.now() - day) < timedelta(minutes=1)
    assert answer.json()["expires_at"] == order.expires_at.isoformat().replace("+00:00", "Z")
    assert "23:59:" in text(desk.get(url(Hold)))

    # Once: who chooses it again, after another way, is held no longer for it.
    until = order.expires_at
    pay_for(order, token="tok-decline")
    pay_for(order, "manual")
    order.refresh_from_db()
    assert order.expires_at == until


def test_a_shop_says_how_long(settings, buyer, option):
    settings.TRANSFER_HOLD_HOURS = 0
    order = make_order(buyer, (option, 1))
    before = order.expires_at
    pay_for(order, "manual")
    order.refresh_from_db()
    assert order.expires_at == before  # never shorter than it was
