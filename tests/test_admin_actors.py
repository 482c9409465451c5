"""Whatever is changed at the desk has its actor: in the log, in the ledger, in an order's history."""

import pytest
from django.contrib.admin.models import LogEntry

from inventory.models import Kind, Movement
from orders.models import Order, OrderEvent, Refund
from shop.models import Category, Option, Store, User
from tests.support.desk import account_form, act, change_stock, product_form, save, url
from tests.support.factories import PASSWORD, make_category, make_options, make_order, make_store

pytestmark = pytest.mark.django_db


def logged(record: object, operator: User) -> int:
    """How often the log has this operator with this record."""
    rows = LogEntry.objects.filter(user=operator, object_id=str(record.pk))  # type: ignore[attr-defined]
    return rows.filter(content_type__model=type(record)._meta.model_name).count()  # type: ignore[attr-defined]


def test_movements_and_order_events_name_the_operator(desk, operator, buyer):
    (option,) = make_options([5])
    change_stock(desk, "receive", option.stock, quantity=2, reason="Delivery")
    change_stock(desk, "adjust", option.stock, delta=-1, reason="damaged")
    first, second = make_order(buyer, (option, 1)), make_order(buyer, (option, 1))
    steps = [
        ("confirm-payment", {}),
        ("ship", {"carrier": "CJ", "tracking_number": "1"}),
        ("deliver", {}),
        ("return", {f"line-{option.pk}": 1, "reason": "Too small"}),
    ]
    for step, form in steps:
        assert desk.post(url(Order, step, first.pk), form).status_code == 302, step
    assert desk.post(url(Order, "cancel", second.pk), {"note": "Double"}).status_code == 302

    by_hand = Movement.objects.exclude(kind=Kind.RESERVE).filter(stock=option.stock).exclude(sequence=1)
    kinds = [Kind.RECEIVE, Kind.ADJUST, Kind.SHIP, Kind.RESTOCK, Kind.RELEASE]
    assert sorted(by_hand.values_list("kind", flat=True)) == sorted(kinds)
    assert set(by_hand.values_list("actor", flat=True)) == {operator.pk}
    assert OrderEvent.objects.count() == 5
    assert set(OrderEvent.objects.values_list("actor", flat=True)) == {operator.pk}
    assert logged(option.stock, operator) == 2
    assert (logged(first, operator), logged(second, operator)) == (4, 1)
    refund = Refund.objects.get()
    assert desk.post(url(Refund, "paid-out", refund.pk)).status_code == 302
    assert logged(refund, operator) == 1


def test_what_is_done_to_many_is_logged_for_each(desk, operator, buyer):
    stores = [make_store(status=Store.Status.REQUESTED) for _number in range(2)]
    act(desk, "accept", *stores)
    act(desk, "close", stores[0], apply=1)
    act(desk, "deactivate", buyer)
    assert [logged(store, operator) for store in stores] == [2, 1]
    assert logged(buyer, operator) == 1


def test_forms_are_logged(desk, operator, buyer):
    (option,) = make_options([1])
    product, store = option.product, option.product.store
    save(desk, product, product_form(product, ("N-1", "L", ""), name="New name"))
    save(desk, store, {"name": "New name", "owner": store.owner_id})
    save(desk, buyer, account_form(buyer, name="New name"))
    password = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "set-password": "1"}
    desk.post(f"/admin/shop/user/{buyer.pk}/password/", password)
    leaf = make_category("leaf")
    desk.post(url(Category, "delete", leaf.pk), {"post": "yes"})
    assert [logged(row, operator) for row in (product, store, buyer)] == [1, 1, 2]
    assert LogEntry.objects.filter(user=operator, object_id=str(leaf.pk), action_flag=3).exists()
    assert (
        "N-1" in LogEntry.objects.get(object_id=str(product.pk), content_type__model="product").change_message
    )
    assert Option.objects.filter(sku="N-1").exists()


def test_moving_a_category_by_dragging_is_logged(desk, operator):
    top, leaf = make_category("top"), make_category("leaf")
    form = {"node": leaf.pk, "target": top.pk, "relation": "child"}
    assert desk.post("/admin/shop/category/move/", form).status_code == 200
    assert logged(leaf, operator) == 1
