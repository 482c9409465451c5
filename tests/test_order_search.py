"""An order is found by whatever somebody has at hand, and by nothing that the searcher may not know."""

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders.lifecycle import correct_address, correct_tracking, deliver_order
from orders.lifecycle.correcting import TRACKING_FIELDS, version
from orders.lifecycle.withdrawal import withdraw_buyer
from orders.locking import SHIPPING_FIELDS
from orders.models import Hold, Order, OrderTerm, Status
from orders.models.terms import is_phone, phone_term, tracking_term
from orders.payments.services import pay
from orders.selectors import search_orders
from shop import selectors as shop_selectors
from shop.models import Role
from tests.support.desk import signed_in, url
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user
from tests.support.orders import make_order_at as at
from tests.support.problems import nothing_changes

pytestmark = pytest.mark.django_db


def found(term):
    return set(search_orders(Order.objects.all(), term))


@pytest.fixture
def parcel(option):
    """A shipped order of somebody whose address is `ADDRESS`, beside another buyer's."""
    order = at(Status.SHIPPED, make_user("minji.kim@example.com", address=True), (option, 1))
    correct_tracking(
        order_id=order.pk, actor_id=make_user().pk, seen=version(order, TRACKING_FIELDS), carrier="CJ",
        tracking_number="6012-3456-7890",
    )  # fmt: skip
    elsewhere = ADDRESS | {"recipient": "박서연", "phone": "02-555-0199"}
    other = make_order(make_user(), (make_options([5])[0], 1))
    pay(order_id=other.pk, provider="sandbox", token="ok", shipping=elsewhere, actor_id=other.buyer_id)
    return order


@pytest.mark.parametrize(
    "term",
    [
        "010-1234-5678", "01012345678", "010 1234 5678", "+82 10-1234-5678", "+82 (0)10 1234 5678",
        "1234-5678", "5678", "34-5678",
        "Kim Minji", "kim minji", "kim", "KIM M",
        "6012-3456-7890", "601234567890", "6012 3456", "6012",
        "minji.kim", "minji.kim@example.com", "minji.kim@",
    ],
)  # fmt: skip
def test_an_order_is_found_by_what_its_buyer_says_of_it(parcel, term):
    assert found(term) == {parcel}


def test_an_order_is_found_by_its_number_and_by_the_sku_of_any_line(buyer):
    (shirt,), (coat,) = make_options([5]), make_options([5])
    order, other = make_order(buyer, (shirt, 1), (coat, 1)), make_order(make_user(), (shirt, 1))
    assert found(coat.sku) == found(coat.sku.lower()) == {order}
    assert found(shirt.sku) == {order, other}
    assert found(order.number) == found(order.number[:14].lower()) == {order}


@pytest.mark.parametrize("term", ["0101-1234", "5679", "678", "Lee", "012", "%", "_", "x" * 300, "678-1234"])
def test_what_is_nobodys_finds_nothing(parcel, term):
    assert found(term) == set()


def test_korean_names_are_found_by_their_beginning(parcel):
    assert {order.recipient for order in found("박서")} == {"박서연"}
    assert found("서연") == set()


@pytest.mark.parametrize(
    ("phone", "digits"),
    [
        ("010-1234-5678", "87654321010"), ("+82 10 1234 5678", "87654321010"),
        ("0082-2-555-0199", "991055520"), ("０１０１２３４５６７８", "87654321010"),
        ("82-1234", "432128"), ("no phone", ""),
    ],
)  # fmt: skip
def test_a_phone_is_one_however_it_is_written(phone, digits):
    assert phone_term(phone) == digits


def test_only_what_people_write_as_a_phone_is_looked_for_as_one():
    assert [is_phone(text) for text in ("5678", "010-1234", "+82 10", "AB-5678", "567", "----")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert tracking_term(" 6012-3456 7890 ") == tracking_term("6012.3456.7890") == "601234567890"


# --- As the order is now --------------------------------------------------------------------------------


def test_a_corrected_order_is_found_by_what_is_there_now(buyer, operator, option):
    order = at(Status.PAID, buyer, (option, 1))
    correct_address(
        order_id=order.pk, actor_id=operator.pk, seen=version(order, SHIPPING_FIELDS),
        address=ADDRESS | {"recipient": "Lee Jun", "phone": "010-9999-0000"},
    )  # fmt: skip
    assert (found("lee jun"), found("0000"), found("Kim Minji"), found("5678")) == (
        {order},
        {order},
        set(),
        set(),
    )


def test_whoever_left_is_not_found_any_more_once_the_parcel_arrived(buyer, option):
    order = at(Status.SHIPPED, buyer, (option, 1))
    withdraw_buyer(user=buyer)
    assert found("5678") == {order}
    deliver_order(order_id=order.pk, actor_id=None)
    assert found("5678") == found("Kim Minji") == set()
    assert set(OrderTerm.objects.values_list("kind", flat=True)) == {"tracking"}


def test_placing_an_order_writes_no_terms(buyer, option):
    make_order(buyer, (option, 1))
    assert not OrderTerm.objects.exists()


def test_holds_are_found_likewise(buyer, option):
    order = make_order(buyer, (option, 1))
    pay(order_id=order.pk, provider="manual", actor_id=buyer.pk)
    assert [hold.pk for hold in search_orders(Hold.objects.all(), "1234-5678")] == [order.pk]
    assert [hold.pk for hold in search_orders(Hold.objects.all(), option.sku)] == [order.pk]


# --- At a million ---------------------------------------------------------------------------------------


def test_every_look_up_reads_a_range_of_an_index(parcel):
    """Whatever is typed: no statement of a search reads a table of orders from end to end."""
    for term in ("5678", "kim", "6012-3456", "minji.kim", parcel.number[:9], parcel.lines.get().sku):
        with CaptureQueriesContext(connection) as asked:
            list(search_orders(Order.objects.order_by("-id"), term)[:50])
        for query in asked.captured_queries:
            assert not scans(query["sql"]), query["sql"]


def scans(sql: str) -> bool:
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            # So few rows are quicker read whole: what matters is that an index could answer.
            cursor.execute(f"EXPLAIN {sql}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            return any(row["table"] and not row["possible_keys"] for row in rows)
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return any(row[3].startswith("SCAN") and "CONSTANT" not in row[3] for row in cursor.fetchall())


def test_of_too_many_the_newest_are_found(buyer, option, monkeypatch):
    orders = [at(Status.PAID, buyer, (option, 1)) for _ in range(4)]
    monkeypatch.setattr(shop_selectors, "MATCH_LIMIT", 2)
    monkeypatch.setattr("orders.selectors.MATCH_LIMIT", 2)
    assert found("Kim Minji") == found("010-1234-5678") == found(option.sku) == set(orders[2:])


# --- Who may find what ----------------------------------------------------------------------------------


def test_a_store_owner_finds_own_orders_by_number_and_own_sku_and_by_nobodys_data():
    owner = make_user("owner@example.com", role=Role.STORE_OWNER)
    owner.is_staff = True
    owner.save()
    owner.user_permissions.add(Permission.objects.get(codename="view_order"))
    (mine,), (theirs,) = make_options([5], store=make_store(owner=owner)), make_options([5])
    mixed = at(Status.SHIPPED, make_user("minji.kim@example.com", address=True), (mine, 1), (theirs, 1))
    make_order(make_user(), (theirs, 1))
    desk = signed_in(owner)

    def listed(term):
        return [order.pk for order in desk.get(url(Order), {"q": term}).context["cl"].result_list]

    assert listed(mixed.number[:12]) == listed(mine.sku) == [mixed.pk]
    hidden = (theirs.sku, "010-1234-5678", "5678", "Kim Minji", "minji.kim", "minji.kim@example.com")
    assert [term for term in hidden if listed(term)] == []


def test_the_desk_finds_what_the_service_finds(desk, parcel):
    page = desk.get(url(Order), {"q": " 5678 "})
    assert [order.pk for order in page.context["cl"].result_list] == [parcel.pk]
    assert "phone (or its last digits)" in page.content.decode()
    with nothing_changes():
        assert desk.get(url(Order), {"q": "\x00"}).status_code == 200
