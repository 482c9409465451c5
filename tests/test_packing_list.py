"""Packing lists: one order a page, what and where to, no prices; of paid orders only."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders.admin.orders import packing
from orders.lifecycle import ship_order
from orders.models import Order
from tests.support.desk import act, said, staff, text, url
from tests.support.factories import ADDRESS, make_options, make_order
from tests.support.orders import make_order_at

pytestmark = pytest.mark.django_db


def test_a_list_says_what_goes_where_and_not_what_it_costs(desk, buyer):
    shirt, coat = make_options([10, 10], price=12_345, name="Linen shirt")
    order = make_order_at("paid", buyer, (shirt, 2), (coat, 1))
    page = desk.get(url(Order, "packing-list", order.pk))
    words = text(page)
    for part in (
        *ADDRESS.values(),
        order.number,
        f"{shirt.sku} Linen shirt 0 2",
        f"{coat.sku} Linen shirt 1 1",
    ):
        assert part in words
    assert "Units in all 3" in words
    assert "12,345" not in words
    assert "12345" not in words
    assert "orders/packing_list.css" in page.content.decode()
    assert url(Order, "packing-list", order.pk) in desk.get(url(Order, "change", order.pk)).content.decode()


def test_many_are_one_a_page_oldest_first_and_what_is_not_paid_is_named(desk, buyer):
    (option,) = make_options([10])
    first, second = (make_order_at("paid", buyer, (option, 1)) for _ in range(2))
    pending, shipped = make_order(buyer, (option, 1)), make_order_at("paid", buyer, (option, 1))
    ship_order(order_id=shipped.pk, carrier="CJ", tracking_number="1", actor_id=None)
    page = act(desk, "print_packing_lists", second, pending, first, shipped)
    assert [entry["order"] for entry in page.context["lists"]] == [first, second]
    assert page.content.decode().count("<article>") == 2
    assert f"{pending.number}, {shipped.number}" in text(page)

    assert said(act(desk, "print_packing_lists", pending)) == [
        "None of the selected orders is paid: there is nothing to pack."
    ]
    alone = desk.get(url(Order, "packing-list", pending.pk), follow=True)
    assert said(alone) == [f"{pending.number} is pending: only orders that are paid are packed."]
    assert "packing-list" not in desk.get(url(Order, "change", pending.pk)).content.decode()


def test_it_is_bounded_and_costs_the_same_number_of_queries(desk, buyer, monkeypatch):
    (option,) = make_options([10])
    orders = [make_order_at("paid", buyer, (option, 1)) for _ in range(4)]
    monkeypatch.setattr(packing, "MOST_AT_ONCE", 3)
    assert said(act(desk, "print_packing_lists", *orders)) == [
        "At most 3 packing lists at once: select fewer."
    ]
    form = {"action": "print_packing_lists", "index": 0}
    counts = []
    for some in (orders[:1], orders[:3]):
        with CaptureQueriesContext(connection) as captured:
            desk.post(url(Order), form | {"_selected_action": [order.pk for order in some]})
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_who_may_see_orders_may_pack_them(buyer):
    (option,) = make_options([10])
    order = make_order_at("paid", buyer, (option, 1))
    address = url(Order, "packing-list", order.pk)
    assert staff("orders.view_order").get(address).status_code == 200
    assert staff("shop.view_product").get(address).status_code == 403
    assert staff("orders.view_order").get(url(Order, "packing-list", 42)).status_code == 302
