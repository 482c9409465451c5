"""Store owners at the desk: what belongs to their own stores, and nothing of anybody else's."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from inventory import documents
from inventory.models import Delivery, DeliveryLine, Movement, Stock, Stocktake, StocktakeLine
from orders.lifecycle import add_note
from orders.models import Hold, Order, OrderLine, OrderNote, Settlement
from orders.payments.services import confirm_transfer
from shop.desk import bounds
from shop.models import Category, Option, Product, Role, Store, User
from shop.rights import groups as permissions
from tests.support.books import make_settlement
from tests.support.desk import act, buttons, change_stock, product_form, save, signed_in, text, url
from tests.support.factories import (
    make_category,
    make_options,
    make_order,
    make_store,
    make_user,
    stock_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    user = make_user("owner@example.com", role=Role.STORE_OWNER)
    user.is_staff = True
    user.save()
    group, _made = Group.objects.get_or_create(name=permissions.STORE_OWNER)
    permissions.grant_groups()
    user.groups.add(group)
    return user


@pytest.fixture
def own(owner: User) -> Option:
    return make_options([5], store=make_store(owner=owner, name="Own"), name="Own shirt")[0]


@pytest.fixture
def other() -> Option:
    return make_options([5], store=make_store(name="Other"), name="Other coat")[0]


@pytest.fixture
def desk(owner: User) -> Client:
    return signed_in(owner)


def listed(desk: Client, model: Any, **query: str) -> list[Any]:
    return list(desk.get(url(model), query).context["cl"].result_list)


def test_lists_show_what_is_ones_own(desk, own, other, buyer):
    both = make_order(buyer, (own, 1), (other, 2))
    make_order(buyer, (other, 1))
    assert listed(desk, Product) == [own.product]
    assert listed(desk, Option) == [own]
    assert listed(desk, Stock) == [own.stock]
    assert listed(desk, Store) == [own.product.store]
    assert {movement.stock_id for movement in listed(desk, Movement)} == {own.stock.pk}
    assert listed(desk, Order) == [both]
    assert [line.option for line in listed(desk, OrderLine)] == [own]
    for model, term in ((Product, "coat"), (Stock, other.sku), (Movement, other.sku), (OrderLine, other.sku)):
        assert listed(desk, model, q=term) == []


def test_an_order_shows_ones_own_lines_and_not_who_bought_it(desk, own, other, buyer):
    order = make_order(buyer, (own, 1), (other, 2))
    page = desk.get(url(Order, "change", order.pk)).content.decode()
    assert own.sku in page
    for secret in (other.sku, buyer.email, f"{order.total:,}"):
        assert secret not in page
    assert buttons(desk, order) == set()
    listed_orders = desk.get(url(Order)).content.decode()
    assert f"1 × {own.product.name}" in listed_orders
    for secret in (buyer.email, other.product.name, "+1 more", f"{order.total:,}", "Seongsui-ro"):
        assert secret not in listed_orders
    assert listed(desk, Order, q=buyer.email) == []
    assert listed(desk, Order, q=order.number[:10]) == [order]


def test_who_moved_the_stock_is_not_shown(desk, own, buyer):
    order = make_order(buyer, (own, 1))
    movement = Movement.objects.get(reference=order.number)
    Movement.objects.filter(pk=movement.pk).update(actor=buyer)
    for address in (url(Stock, "change", own.stock.pk), url(Movement), url(Movement, "change", movement.pk)):
        page = desk.get(address).content.decode()
        assert order.number in page
        assert buyer.email not in page


def test_lists_reach_back_and_a_search_finds_what_is_older(desk, own, buyer, monkeypatch):
    older, newer = make_order(buyer, (own, 1)), make_order(buyer, (own, 1))
    monkeypatch.setattr(bounds, "COUNT_LIMIT", 1)
    assert listed(desk, Order) == [newer]
    assert [line.order for line in listed(desk, OrderLine)] == [newer]
    assert [row.reference for row in listed(desk, Movement)] == [newer.number]
    assert listed(desk, Order, q=older.number) == [older]
    assert [line.order for line in listed(desk, OrderLine, q=older.number)] == [older]
    assert [row.reference for row in listed(desk, Movement, q=older.number)] == [older.number]
    assert desk.get(url(Order, "change", older.pk)).status_code == 200


@pytest.mark.parametrize("page", ["change", "history", "delete"])
def test_no_address_leads_to_what_is_anothers(desk, other, buyer, page):
    order = make_order(buyer, (other, 1))
    for record in (other.product, other, other.stock, other.product.store, order, order.lines.get()):
        for answer in (desk.get(url(type(record), page, record.pk)),
                       desk.post(url(type(record), page, record.pk), {"post": "yes"})):  # fmt: skip
            assert answer.status_code in (302, 403)
            if answer.status_code == 302:
                assert answer["Location"] == reverse("admin:index")
    assert Product.objects.filter(pk=other.product_id).exists()


def test_a_product_is_changed_and_made_in_ones_own_store_only(desk, own, other):
    form = product_form(own.product, ("NEW-1", "XL", ""), name="Linen shirt")
    assert save(desk, own.product, form).status_code == 302
    own.product.refresh_from_db()
    assert own.product.name == "Linen shirt"
    assert Stock.objects.filter(option__sku="NEW-1").exists()

    elsewhere = product_form(own.product) | {"store": other.product.store_id}
    assert "Select a valid choice" in save(desk, own.product, elsewhere).content.decode()
    new = product_form(Product(name="X", store=other.product.store, category=make_category(), price=1))
    assert "Select a valid choice" in desk.post(url(Product, "add"), new).content.decode()
    assert desk.post(url(Product, "change", other.product_id), form).status_code == 302
    other.product.refresh_from_db()
    assert other.product.name == "Other coat"
    assert not Product.objects.filter(name="X").exists()


def test_a_search_for_stores_finds_ones_own(desk, own, other):
    asked = {"app_label": "shop", "model_name": "product", "field_name": "store", "term": ""}
    answer = desk.get(reverse("admin:autocomplete"), asked).json()
    assert [row["text"] for row in answer["results"]] == ["Own"]


@pytest.mark.parametrize("status", [Store.Status.REQUESTED, Store.Status.REJECTED, Store.Status.CLOSED])
def test_a_store_that_is_not_accepted_shows_nothing(desk, own, status):
    Store.objects.update(status=status)
    for model in (Store, Product, Stock, Movement, Order):
        assert listed(desk, model) == []


def test_whatever_rights_an_owner_is_given_end_at_the_own_stores(owner, own, other, buyer):
    for name in (permissions.ORDER_DESK, permissions.STOCK_CLERK, permissions.FINANCE):
        owner.groups.add(Group.objects.get_or_create(name=name)[0])
    permissions.grant_groups()
    desk, order = signed_in(owner), make_order(buyer, (own, 1), (other, 1))
    assert buttons(desk, order) == set()
    assert desk.post(url(Order, "cancel", order.pk), {"note": "x"}).status_code == 403
    assert desk.post(url(Stock, "adjust", own.stock.pk), {"delta": 1, "reason": "found"}).status_code == 403
    nothing = desk.post(url(Stock, "receive", other.stock.pk), {"quantity": 1, "reason": "x"})
    assert nothing["Location"] == reverse("admin:index")
    act(desk, "cancel", order, apply=1, note="x")
    assert Order.objects.get().status == "pending"
    for model in ("payment", "refund", "orderevent"):
        assert desk.get(reverse(f"admin:orders_{model}_changelist")).status_code == 403
    assert desk.get(url(User)).status_code == 403


def test_the_front_page_tells_no_figures_of_the_whole_shop(desk, own, buyer):
    make_order(buyer, (own, 1))
    page = desk.get(reverse("admin:index"))
    assert "cards" not in page.context
    assert url(Product) in page.content.decode()


# --- What else there is about stock and orders ------------------------------------------------------


def test_a_timeline_is_of_ones_own_option_and_names_nobody(desk, owner, own, other, buyer):
    clerk = make_user("clerk@example.com", staff=True)
    receipts = [documents.Receipt(option.stock.pk, 3) for option in (own, other)]
    delivery = documents.draft_delivery(receipts=receipts, actor_id=clerk.pk)
    documents.apply_delivery(delivery_id=delivery.pk, version=delivery.version, actor_id=clerk.pk)
    order = make_order(buyer, (own, 1), (other, 2))
    page = desk.get(url(Stock, "timeline", own.stock.pk)).content.decode()
    assert order.number in page
    assert delivery.reference in page
    for secret in (clerk.email, buyer.email, url(Delivery, "change", delivery.pk)):
        assert secret not in page
    assert desk.get(url(Stock, "timeline", other.stock.pk)).status_code == 302


EXPORTED: dict[Any, str] = {
    Product: "id,name,store,category,price,on sale,created at,source id",
    Option: "sku,product,size,colour,on sale,price,on hand,available",
    Category: "name,slug,depth",
    Store: "name,owner,status,applied at,decided at",
    Stock: "sku,product,size,colour,on hand,reserved,available,movements",
    Movement: "id,sku,no.,kind,on hand +/-,reserved +/-,on hand after,reserved after,reference,reason,at",
    Order: "number,status,ordered at,held until",
    OrderLine: "order,sku,product,size,colour,quantity,unit price,returned",
    Settlement: "id,store,store_name,from,to,units,gross,returned_units,refunds,"
    "commission_basis_points,commission,payable,late_entries,late_payable,status,approved_at",
}


def test_an_export_has_what_the_list_shows_and_no_column_more(desk, own, other, buyer):
    """Whichever list an owner may see: one that is not named here may not be exported by one."""
    order = make_order(buyer, (own, 1), (other, 2))
    make_order(buyer, (other, 1))
    make_settlement(own.product.store_id)
    make_settlement(other.product.store_id)
    for model in admin.site._registry:
        answer = desk.get(url(model, "export", "csv"))
        if model not in EXPORTED:
            assert answer.status_code == 403, model
            continue
        head, *rows = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
        assert head == EXPORTED[model]
        assert len(rows) == len(listed(desk, model))
        for secret in (buyer.email, other.sku, "Seongsui-ro", other.product.name):
            assert secret not in "".join(rows), model
    rows = b"".join(desk.get(url(Order, "export", "csv")).streaming_content).decode().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [order.number]


def test_what_operators_do_is_closed_whatever_rights_an_owner_has(owner, own, other, buyer):
    for name in (permissions.ORDER_DESK, permissions.STOCK_CLERK, permissions.FINANCE):
        owner.groups.add(Group.objects.get_or_create(name=name)[0])
    permissions.grant_groups()
    clerk = make_user(staff=True)
    desk, order = signed_in(owner), make_order(buyer, (own, 1), (other, 1))
    add_note(order_id=order.pk, author_id=clerk.pk, text="Called the buyer")
    delivery = documents.draft_delivery(receipts=[documents.Receipt(own.stock.pk, 3)], actor_id=clerk.pk)
    stocktake = documents.begin_stocktake(stock_ids=[own.stock.pk], actor_id=clerk.pk)
    pages = [
        *(url(Stock, change, own.stock.pk) for change in ("adjust", "transfer", "count")),
        url(Delivery), url(Delivery, "import"), url(DeliveryLine), url(Stocktake), url(Stocktake, "import"),
        url(StocktakeLine), *(url(Delivery, page, delivery.pk) for page in ("change", "apply", "discard")),
        *(url(Stocktake, page, stocktake.pk) for page in ("change", "preview", "counts", "apply", "discard")),
        url(Hold), url(Hold, "change", order.pk), url(Hold, "release", order.pk), url(OrderNote),
        url(Order, "note", order.pk), url(Order, "packing-list", order.pk),
    ]  # fmt: skip
    for page in pages:
        assert desk.get(page).status_code == 403, page
        assert desk.post(page, {"version": 0, "text": "x", "reason": "x", "quantity": 1}).status_code == 403
    confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
    shown = desk.get(url(Order, "change", order.pk)).content.decode()
    for secret in ("Called the buyer", "packing-list", "Seongsui-ro"):
        assert secret not in shown
    for model, action in ((Stock, "count_selected"), (Order, "print_packing_lists"), (Order, "note")):
        record = own.stock if model is Stock else order
        assert "Seongsui-ro" not in act(desk, action, record).content.decode()
    assert Stocktake.objects.count() == 1
    offered = desk.get(url(Stock)).content.decode()
    assert url(Stock, "timeline", own.stock.pk) in offered
    assert url(Stock, "adjust", own.stock.pk) not in offered
    assert url(Delivery, "import") not in offered


# --- What owners do --------------------------------------------------------------------------------------


def test_an_owner_receives_what_arrives(desk, owner, own, other):
    assert buttons(desk, own.stock) == {"receive"}
    listed_stock = desk.get(url(Stock)).content.decode()
    assert url(Stock, "receive", own.stock.pk) in listed_stock
    assert other.sku not in listed_stock
    page = change_stock(desk, "receive", own.stock, quantity=7, reason="from Daegu")
    assert "+7. 12 on hand, 12 available now." in text(page)
    movement = Movement.objects.latest("id")
    assert (movement.delta_on_hand, movement.actor, movement.reason) == (7, owner, "from Daegu")
    for answer in (
        desk.get(url(Stock, "receive", other.stock.pk)),
        desk.post(url(Stock, "receive", other.stock.pk), {"quantity": 1, "reason": "x", "confirm": "1"}),
    ):
        assert answer["Location"] == reverse("admin:index")
    assert stock_of(other) == (5, 0)


def test_an_owner_takes_a_product_or_an_option_off_sale(desk, own):
    product = own.product
    form = product_form(product)
    assert save(desk, product, {name: form[name] for name in form if name != "is_active"}).status_code == 302
    product.refresh_from_db()
    assert not product.is_active
    form = product_form(product)
    without = {name: form[name] for name in form if name != "options-0-is_active"}
    assert save(desk, product, without).status_code == 302
    product.refresh_from_db()
    own.refresh_from_db()
    assert (product.is_active, own.is_active) == (True, False)
    assert save(desk, product, product_form(product) | {"options-0-is_active": "on"}).status_code == 302
    own.refresh_from_db()
    assert own.is_active
