"""Stores and what they list."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction
from django.db.models import F

from inventory.models import Kind, Movement, Stock
from shop import services
from shop.models import MAX_OPTIONS, Option, Product, Role, Store
from tests.support.concurrency import in_threads
from tests.support.factories import make_category, make_options, make_store, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import until_somebody_waits
from tests.support.problems import nothing_changes, problem
from tests.support.races import goes_wrong, take_row_locks_away, without_unique
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db


# --- Stores -----------------------------------------------------------------------------------------------


@pytest.fixture
def owner(db):
    return make_user("owner@example.com", role=Role.STORE_OWNER)


def names(answer):
    return [(store["name"], store["status"]) for store in answer.json()["results"]]


def test_an_owner_applies_and_an_operator_decides(owner):
    answer = Wire(owner).post("stores/", {"name": " Denim & Co "})
    assert answer.status_code == 201
    store = Store.objects.get()
    assert answer.json() == {"id": store.pk, "name": "Denim & Co", "status": "requested"}
    assert names(Wire().get("stores/")) == []
    assert names(Wire(owner).get("stores/")) == [("Denim & Co", "requested")]
    services.decide_store(store=store, status=Store.Status.ACCEPTED)
    assert names(Wire().get("stores/")) == [("Denim & Co", "accepted")]


def test_everybody_sees_accepted_stores_and_their_owner_all_of_them(owner):
    for status in Store.Status.values:
        make_store(owner=owner, status=status, name=f"mine {status}")
        make_store(status=status, name=f"other {status}")
    accepted = {("mine accepted", "accepted"), ("other accepted", "accepted")}
    mine = {(f"mine {status}", status) for status in Store.Status.values}
    assert set(names(Wire().get("stores/"))) == accepted
    assert set(names(Wire(make_user()).get("stores/"))) == accepted
    assert set(names(Wire(owner).get("stores/"))) == accepted | mine


def test_stores_come_in_pages_newest_first():
    for i in range(5):
        make_store(name=f"store {i}")
    first = Wire().get("stores/?page_size=2")
    second = Wire().get(first.json()["next"].partition("testserver")[2])
    third = Wire().get(second.json()["next"].partition("testserver")[2])
    seen = [name for page in (first, second, third) for name, _ in names(page)]
    assert seen == [f"store {i}" for i in reversed(range(5))]
    assert third.json()["next"] is None
    assert names(Wire().get(third.json()["previous"].partition("testserver")[2])) == names(second)


def test_a_buyer_may_not_apply(buyer):
    with nothing_changes():
        problem(Wire(buyer).post("stores/", {"name": "A"}), 403, "not_a_store_owner")


def test_no_two_stores_have_the_same_name(owner):
    wire = Wire(owner)
    assert wire.post("stores/", {"name": "A"}).status_code == 201
    with nothing_changes():
        problem(wire.post("stores/", {"name": " A "}), 409, "store_exists", "name")
    assert wire.post("stores/", {"name": "B"}).status_code == 201
    other = Wire(make_user(role=Role.STORE_OWNER))
    with nothing_changes():
        problem(other.post("stores/", {"name": "a"}), 409, "store_exists", "name")


# --- New products -----------------------------------------------------------------------------------------


def product_body(store, *options, **changes):
    options = options or ({"sku": "A-1"},)
    return {
        "store": store.pk,
        "name": "Shirt",
        "category": "top",
        "price": 29_000,
        "options": options,
        **changes,
    }


def test_a_product_is_listed_with_its_stock():
    store = make_store()
    answer = Wire(store.owner).post(
        "products/",
        product_body(
            store, {"sku": " A-M ", "size": "M", "color": "red", "stock": 5}, {"sku": "A-L", "size": "L"},
            name=" Shirt ",
        ),
    )  # fmt: skip
    assert answer.status_code == 201, answer.content
    body = answer.json()
    first, second = Option.objects.order_by("id")
    assert body == {
        "id": first.product_id, "name": "Shirt", "category": "top", "price": 29_000, "store": store.pk,
        "is_active": True,
        "options": [
            {"id": first.pk, "sku": "A-M", "size": "M", "color": "red", "available": 5, "is_active": True},
            {"id": second.pk, "sku": "A-L", "size": "L", "color": "", "available": 0, "is_active": True},
        ],
    }  # fmt: skip
    assert answer["Location"].endswith(f"/api/v1/products/{body['id']}/")
    assert Wire().get(answer["Location"]).json() == body
    assert Wire().get("products/").json()["results"] == [body]
    # Stock came as a movement; an option without stock has a row and no movement.
    (movement,) = Movement.objects.all()
    assert (movement.kind, movement.delta_on_hand, movement.actor_id) == (Kind.RECEIVE, 5, store.owner_id)
    assert (stock_of(first), stock_of(second)) == ((5, 0), (0, 0))
    assert_books_balance()


def test_a_product_may_have_200_options(django_assert_max_num_queries):
    store = make_store()
    options = [{"sku": f"A-{i}", "size": str(i), "stock": i} for i in range(MAX_OPTIONS)]
    with django_assert_max_num_queries(40):
        answer = Wire(store.owner).post("products/", product_body(store, *options))
    assert answer.status_code == 201, answer.content
    shown = answer.json()["options"]
    assert [(o["sku"], o["available"]) for o in shown] == [(f"A-{i}", i) for i in range(MAX_OPTIONS)]
    assert Stock.objects.count() == MAX_OPTIONS
    assert_books_balance()


@pytest.mark.parametrize("status", [Store.Status.REQUESTED, Store.Status.REJECTED, Store.Status.CLOSED])
def test_only_an_accepted_store_lists_products(status):
    store = make_store(status=status)
    with nothing_changes():
        body = problem(Wire(store.owner).post("products/", product_body(store)), 403, "store_not_accepted")
    assert body["store_status"] == status


def test_nobody_lists_products_in_another_store(buyer):
    store, other = make_store(), make_store()
    with nothing_changes():
        for user in (buyer, other.owner):
            problem(Wire(user).post("products/", product_body(store)), 403, "not_your_store")


def test_a_sku_is_taken_in_the_whole_shop_byte_by_byte():
    store, other = make_store(), make_store()
    assert Wire(store.owner).post("products/", product_body(store, {"sku": "Denim-1"})).status_code == 201
    body = product_body(other, {"sku": "new", "size": "S"}, {"sku": " Denim-1", "size": "M"})
    with nothing_changes():
        problem(Wire(other.owner).post("products/", body), 409, "sku_taken", "options.1.sku")
    for sku in ("denim-1", "D\u00e9nim-1"):
        assert Wire(other.owner).post("products/", product_body(other, {"sku": sku})).status_code == 201


def one_sku_at_once():
    """What four stores are answered that list a product with the same SKU at once."""
    make_category()
    stores = [make_store() for _ in range(4)]
    answers = in_threads(
        lambda i: Wire(stores[i].owner).post(
            "products/", product_body(stores[i], {"sku": f"own-{i}", "size": "S"}, {"sku": "A", "size": "M"})
        ),
        4,
    )
    return sorted(answers, key=lambda answer: answer.status_code)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_one_sku_at_once_one_gets_it():
    taken, *refused = one_sku_at_once()
    assert taken.status_code == 201
    for answer in refused:
        problem(answer, 409, "sku_taken", "options.1.sku")
    assert (Product.objects.count(), Option.objects.count(), Stock.objects.count()) == (1, 2, 2)


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_unique_sku_several_get_it():
    def got_it():
        answers = one_sku_at_once()
        Option.objects.update(sku=F("id"))
        return sum(answer.status_code == 201 for answer in answers)

    with without_unique(Option, "sku"):
        goes_wrong(got_it, lambda stores: stores == 1)


# --- Changes ----------------------------------------------------------------------------------------------


@pytest.fixture
def shirt():
    store = make_store()
    body = product_body(
        store,
        {"sku": "A-M", "size": "M", "color": "red", "stock": 5},
        {"sku": "A-L", "size": "L", "color": "red"},
    )
    answer = Wire(store.owner).post("products/", body)
    return Product.objects.select_related("store__owner").get(pk=answer.json()["id"])


def change(product, body, user=None):
    return Wire(user or product.store.owner).patch(f"products/{product.pk}/", body)


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"name": " Blouse "}, "name", "Blouse"),
        ({"category": "outer"}, "category", "outer"),
        ({"price": 0}, "price", 0),
    ],
)
def test_one_field_changes_and_the_others_stay(shirt, body, field, value):
    before = Wire().get(f"products/{shirt.pk}/").json()
    answer = change(shirt, body)
    assert answer.status_code == 200, answer.content
    assert answer.json() == {**before, field: value}
    assert Wire().get(f"products/{shirt.pk}/").json() == answer.json()


def test_an_empty_change_changes_nothing(shirt):
    with nothing_changes():
        assert change(shirt, {}).status_code == 200


def looks(answer):
    return {o["sku"]: (o["size"], o["color"], o["available"]) for o in answer.json()["options"]}


def test_options_are_recognised_by_sku(shirt):
    changes = [{"sku": "A-M", "size": "m"}, {"sku": "A-L", "color": "blue"}, {"sku": "A-S", "size": "S"}]
    answer = change(shirt, {"options": changes})
    assert answer.status_code == 200, answer.content
    # What is left out stays: the colour of the one, the size of the other, and stock anyway.
    assert looks(answer) == {"A-M": ("m", "red", 5), "A-L": ("L", "blue", 0), "A-S": ("S", "", 0)}
    assert looks(change(shirt, {"options": [{"sku": "A-S", "color": ""}]})) == looks(answer)
    assert stock_of(Option.objects.get(sku="A-S")) == (0, 0)
    assert Movement.objects.count() == 1


def test_two_options_can_trade_their_looks(shirt):
    answer = change(shirt, {"options": [{"sku": "A-M", "size": "L"}, {"sku": "A-L", "size": "M"}]})
    assert looks(answer) == {"A-M": ("L", "red", 5), "A-L": ("M", "red", 0)}


def test_an_option_cannot_take_the_look_of_another(shirt):
    with nothing_changes():
        for size in ("L", "l "):
            answer = change(shirt, {"options": [{"sku": "A-M", "size": size}]})
            problem(answer, 400, "invalid", "options.0.size")
        answer = change(
            shirt, {"options": [{"sku": "A-S", "size": "S"}, {"sku": "new", "size": "L", "color": "red"}]}
        )
        problem(answer, 400, "invalid", "options.1.size")


def test_a_change_is_made_whole_or_not_at_all(shirt):
    taken = make_options([1])[0].sku
    with nothing_changes():
        answer = change(shirt, {"name": "Blouse", "options": [{"sku": "A-M", "size": "XS"}, {"sku": taken}]})
        problem(answer, 409, "sku_taken", "options.1.sku")


def test_a_product_has_at_most_200_options_however_they_come(shirt):
    more = [{"sku": f"B-{i}", "size": f"B{i}"} for i in range(MAX_OPTIONS - 1)]
    with nothing_changes():
        problem(change(shirt, {"options": more}), 400, "invalid", "options")
    assert change(shirt, {"options": more[:-1]}).status_code == 200
    assert shirt.options.count() == MAX_OPTIONS


def two_changes_of_one_product(*, locked):
    """One fills a product with options, another adds one more: both answers, and how many there are then.

    The first is held up between its reading and its writing, at an option that it changes.
    """
    (option,) = make_options([1])
    full = [
        {"sku": option.sku, "size": "B"},
        *({"sku": f"B-{i}", "size": f"B{i}"} for i in range(1, MAX_OPTIONS)),
    ]
    one_more = [{"sku": "C", "size": "C"}]
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            Option.objects.select_for_update().get(pk=option.pk)
            first = pool.submit(lambda: change(option.product, {"options": full}))
            until_somebody_waits()
            second = pool.submit(lambda: change(option.product, {"options": one_more}))
            if not locked:
                second.result(timeout=60)
        return first.result(), second.result(), option.product.options.count()


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_two_changes_of_one_product_come_one_after_the_other():
    first, second, options = two_changes_of_one_product(locked=True)
    problem(second, 400, "invalid", "options")
    assert (first.status_code, options) == (200, MAX_OPTIONS)


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_a_product_gets_more_options_than_it_may(monkeypatch):
    take_row_locks_away(monkeypatch, Product)
    first, second, options = two_changes_of_one_product(locked=False)
    assert (first.status_code, second.status_code, options) == (200, 200, MAX_OPTIONS + 1)


def test_only_its_owner_changes_a_product(shirt, buyer):
    others = [buyer, make_store().owner, make_user(staff=True)]
    with nothing_changes():
        for user in others:
            problem(change(shirt, {"price": 1}, user), 403, "not_your_store")
        problem(Wire(buyer).patch("products/999999999/", {"price": 1}), 404, "not_found")


def test_a_store_that_was_closed_changes_nothing_any_more(shirt):
    owner = shirt.store.owner
    Store.objects.update(status=Store.Status.CLOSED)
    with nothing_changes():
        problem(change(shirt, {"price": 1}, owner), 403, "store_not_accepted")


def test_a_new_price_is_no_matter_to_orders_that_are_placed(shirt, buyer):
    option = shirt.options.first()
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    placed = Wire(buyer).post("orders/", body)
    assert change(shirt, {"price": 1, "name": "Blouse"}).status_code == 200
    order = Wire(buyer).get(placed["Location"]).json()
    assert (order["total"], order["lines"][0]["name"]) == (29_000, "Shirt")


def test_a_hidden_product_is_not_found(shirt):
    Product.objects.update(is_active=False)
    problem(Wire().get(f"products/{shirt.pk}/"), 404, "not_found")
