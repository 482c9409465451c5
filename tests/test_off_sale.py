"""A store, a product or one option that is taken off sale sells nothing more."""

import pytest

from inventory.selectors import in_stock, sold_out_products
from orders.drops.audit.rebuild import rebuild
from orders.drops.schedule import run_due
from orders.drops.selectors import drop_views
from orders.drops.services import open_drop
from orders.models import Lane, Order
from shop.models import Option, Product, Store
from shop.services import decide_store
from tests.support.drops import assert_all_adds_up, drain_all, make_drop
from tests.support.factories import make_options, make_user, stock_of
from yousinsa.errors import Conflict


def take_off_sale(option: Option) -> None:
    Option.objects.filter(pk=option.pk).update(is_active=False)


def test_an_option_off_sale_is_neither_shown_nor_sold(api, buyer):
    small, large = make_options([5, 5])
    take_off_sale(small)
    shown = api().get(f"/api/v1/products/{small.product_id}/").json()["options"]
    assert [option["id"] for option in shown] == [large.pk]
    body = {"lines": [{"option": small.pk, "quantity": 1}]}
    refused = api(buyer).post("/api/v1/orders/", body)
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_option")
    body = {"lines": [{"option": large.pk, "quantity": 1}]}
    assert api(buyer).post("/api/v1/orders/", body).status_code == 201


@pytest.mark.django_db
def test_a_product_whose_last_option_goes_off_sale_is_not_in_stock():
    small, _sold_out = make_options([5, 0])
    assert in_stock([small.product_id]) == {small.product_id}
    take_off_sale(small)
    assert in_stock([small.product_id]) == set()
    assert sold_out_products() == {small.product_id}


# --- In drops -----------------------------------------------------------------------------------------


def close_the_store(option):
    decide_store(store=option.product.store, status=Store.Status.CLOSED)


def hide_the_product(option):
    option.product.is_active = False
    option.product.save()


def hide_the_option(option):
    option.is_active = False
    option.save()


WAYS = [close_the_store, hide_the_product, hide_the_option]


def buy_from(api, drop, option):
    body = {"lines": [{"option": option.pk, "quantity": 1}], "drop": drop.pk}
    return api(make_user()).post("/api/v1/orders/", body)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lane", Lane.values)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_taken_off_sale_stops_in_drops(way, lane, on_redis, api):
    (option,), (other,) = make_options([10]), make_options([10])
    drop = make_drop((option, 5), (other, 5), lane=lane, limit=5)
    assert buy_from(api, drop, option).status_code in (201, 202)
    way(option)
    refused = buy_from(api, drop, option)
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
    assert refused.json()["lines"] == [{"option": option.pk, "requested": 1, "available": 0}]
    assert buy_from(api, drop, other).status_code in (201, 202)
    drop_views.clear()
    shown = {row["option"]: row["remaining"] for row in api().get(f"drops/{drop.pk}/").json()["options"]}
    assert shown == {option.pk: 0, other.pk: 4}
    # What was admitted is sold, and what is left is there still.
    if lane != Lane.GROUP_COMMIT:
        drain_all()
    assert Order.objects.count() == 2
    Store.objects.update(status=Store.Status.ACCEPTED)
    Product.objects.update(is_active=True)
    Option.objects.update(is_active=True)
    run_due()
    assert buy_from(api, drop, option).status_code in (201, 202)
    if lane != Lane.GROUP_COMMIT:
        drain_all()
    assert_all_adds_up()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lane", [Lane.REDIS_LUA, Lane.GROUP_COMMIT])
@pytest.mark.parametrize("way", WAYS)
def test_a_drop_of_nothing_on_sale_is_not_opened(way, lane, on_redis):
    (option,) = make_options([10])
    drop = make_drop((option, 5), lane=lane, opened=False)
    way(option)
    with pytest.raises(Conflict, match="None of it is on sale"):
        open_drop(drop.pk)
    assert stock_of(option) == (10, 0)


@pytest.mark.django_db(transaction=True)
def test_a_rebuild_keeps_off_sale_what_is(on_redis, api):
    small, large = make_options([10, 10])
    drop = make_drop((small, 5), (large, 5), limit=5)
    hide_the_option(small)
    rebuild(drop.pk)
    assert buy_from(api, drop, small).json()["code"] == "insufficient_stock"
    assert buy_from(api, drop, large).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_the_worker_follows_what_was_changed_past_the_models(on_redis, api):
    (option,) = make_options([10])
    drop = make_drop((option, 5))
    Store.objects.update(status=Store.Status.CLOSED)
    run_due()
    assert buy_from(api, drop, option).json()["code"] == "insufficient_stock"


# --- By whom it is sold -----------------------------------------------------------------------------------


def change(api, option, body):
    return api(option.product.store.owner).patch(f"products/{option.product_id}/", body)


@pytest.mark.django_db
def test_an_owner_takes_a_product_off_sale_and_puts_it_on_again(api, buyer):
    (option,) = make_options([5])
    address, body = f"products/{option.product_id}/", {"lines": [{"option": option.pk, "quantity": 1}]}
    store = option.product.store
    answer = change(api, option, {"is_active": False})
    assert (answer.status_code, answer.json()["is_active"]) == (200, False)
    for other in (None, buyer, make_user(staff=True), make_options([1])[0].product.store.owner):
        assert api(other).get(address).status_code == 404
        assert api(other).get(f"products/?store={store.pk}").json()["results"] == []
    assert api(buyer).post("orders/", body).json()["code"] == "unknown_option"
    # Who sells it sees it.
    owner = api(store.owner)
    assert owner.get(address).json() == answer.json()
    assert owner.get(f"products/?store={store.pk}").json()["results"] == [answer.json()]
    assert owner.get("products/?search=Shirt").json()["results"] != [answer.json()]

    answer = change(api, option, {"is_active": True})
    assert answer.json() == api().get(address).json() == owner.get(address).json()
    assert answer.json()["is_active"]
    assert api(buyer).post("orders/", body).status_code == 201


@pytest.mark.django_db
def test_an_owner_takes_one_option_off_sale_and_puts_it_on_again(api, buyer):
    small, large = make_options([5, 5])
    address = f"products/{small.product_id}/"
    answer = change(api, small, {"options": [{"sku": small.sku, "is_active": False}]})
    assert answer.status_code == 200, answer.content
    assert [(o["sku"], o["is_active"]) for o in answer.json()["options"]] == [
        (small.sku, False), (large.sku, True),
    ]  # fmt: skip
    assert [o["sku"] for o in api().get(address).json()["options"]] == [large.sku]
    owner = api(small.product.store.owner)
    assert owner.get(address).json() == answer.json()
    assert owner.get(f"products/?store={answer.json()['store']}").json()["results"] == [answer.json()]
    body = {"lines": [{"option": small.pk, "quantity": 1}]}
    assert api(buyer).post("orders/", body).json()["code"] == "unknown_option"
    # What is not said stays.
    assert not change(api, small, {"options": [{"sku": small.sku, "color": "red"}]}).json()["options"][0][
        "is_active"
    ]
    new = {"sku": "NEW-1", "size": "new", "is_active": False}
    answer = change(api, small, {"options": [{"sku": small.sku, "is_active": True}, new]})
    assert [o["is_active"] for o in answer.json()["options"]] == [True, True, False]
    assert api(buyer).post("orders/", body).status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"is_active": "no"}, "is_active"), ({"is_active": None}, "is_active"),
        ({"is_active": 0}, "is_active"),
        ({"active": False}, "active"), ({"options": [{"sku": "A", "is_active": 1}]}, "options.0.is_active"),
        ({"options": [{"sku": "A", "active": True}]}, "options.0.active"),
    ],
)  # fmt: skip
def test_what_is_on_sale_is_said_by_true_or_false(api, body, field):
    (option,) = make_options([5])
    answer = change(api, option, body)
    assert (answer.status_code, [e["field"] for e in answer.json()["errors"]]) == (400, [field])


@pytest.mark.django_db
def test_only_the_owner_takes_it_off_sale(api):
    (option,) = make_options([5])
    for other in (make_user(), make_options([1])[0].product.store.owner):
        refused = api(other).patch(f"products/{option.product_id}/", {"is_active": False})
        assert refused.status_code == 403
    assert api().get(f"products/{option.product_id}/").status_code == 200


def by_product(option):
    return {"is_active": False}


def by_option(option):
    return {"options": [{"sku": option.sku, "is_active": False}]}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lane", Lane.values)
@pytest.mark.parametrize("way", [by_product, by_option])
def test_what_an_owner_takes_off_sale_stops_in_drops_at_once(way, lane, on_redis, api):
    (option,) = make_options([10])
    drop = make_drop((option, 5), lane=lane, limit=5)
    assert buy_from(api, drop, option).status_code in (201, 202)
    assert change(api, option, way(option)).status_code == 200
    assert buy_from(api, drop, option).json()["code"] == "insufficient_stock"
    back = {"is_active": True, "options": [{"sku": option.sku, "is_active": True}]}
    assert change(api, option, back).status_code == 200
    assert buy_from(api, drop, option).status_code in (201, 202)
