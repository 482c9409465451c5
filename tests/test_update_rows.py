"""Rows that change to plain values of their own are stored as they were given, in one statement."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order, Payment
from tests.support.factories import make_options, make_order, make_user
from tests.test_insert_rows import TEXTS
from yousinsa.db.rows import insert_rows, update_rows

pytestmark = pytest.mark.django_db


def orders(count: int) -> list[Order]:
    (option,) = make_options([count])
    buyer = make_user()
    return [make_order(buyer, (option, 1)) for _ in range(count)]


def test_each_row_gets_its_own_text_in_one_statement() -> None:
    changed = dict(zip(orders(len(TEXTS)), TEXTS, strict=True))
    with CaptureQueriesContext(connection) as asked:
        assert update_rows(Order, {order.pk: {"note": text} for order, text in changed.items()}) == len(TEXTS)
    assert len(asked) == 1
    assert dict(Order.objects.values_list("pk", "note")) == {o.pk: text for o, text in changed.items()}


def test_rows_change_different_fields_and_keep_the_others() -> None:
    one, two, three, bystander = orders(4)
    later = timezone.now() + timedelta(days=3, microseconds=7)
    Order.objects.update(carrier="CJ")
    bystander.refresh_from_db()
    changes = {
        one.pk: {"status": "paid", "note": "it's"},
        two.pk: {"expires_at": later},
        three.pk: {},
    }
    assert update_rows(Order, changes) == 2
    fields = ("status", "note", "expires_at", "carrier")
    found = {order.pk: order for order in Order.objects.all()}
    assert [getattr(found[one.pk], name) for name in fields] == ["paid", "it's", one.expires_at, "CJ"]
    assert [getattr(found[two.pk], name) for name in fields] == ["pending", "", later, "CJ"]
    for unchanged in (three, bystander):
        assert found[unchanged.pk].status == "pending"
        assert found[unchanged.pk].expires_at == unchanged.expires_at


def test_nothing_to_change_asks_nothing() -> None:
    with CaptureQueriesContext(connection) as asked:
        assert update_rows(Order, {}) == update_rows(Order, {1: {}}) == 0
    assert len(asked) == 0


def test_what_is_emptied_is_empty_where_it_may_be_and_no_number_becomes_a_text() -> None:
    order, other = orders(2)
    at = timezone.now()
    payments = [
        Payment.objects.create(order=one, provider="sandbox", reference=f"r{one.pk}", amount=10, live=True)
        for one in (order, other)
    ]
    changes = {
        payments[0].pk: {"live": None, "status": "declined", "decided_at": at, "detail": "10"},
        payments[1].pk: {"live": True, "decided_at": None, "amount": 2**53 - 1},
    }
    assert update_rows(Payment, changes) == 2
    found = Payment.objects.order_by("id").values_list("live", "decided_at", "detail", "amount")
    assert list(found) == [(None, at, "10", 10), (True, None, "", 2**53 - 1)]


def test_many_rows_change_at_once() -> None:
    (changed,) = orders(1)
    bare = [
        (order_id, f"N{order_id}", changed.buyer_id, "pending", 1, "", changed.expires_at, timezone.now())
        for order_id in range(1, 301)
    ]
    fields = ("id", "number", "buyer", "status", "total", "fingerprint", "expires_at", "created_at")
    insert_rows(Order, fields, bare)
    moments = {id: timezone.now() + timedelta(microseconds=id) for id in range(1, 301)}
    assert (
        update_rows(Order, {id: {"expires_at": at, "note": f"{id}%s"} for id, at in moments.items()}) == 300
    )
    found = Order.objects.filter(pk__lte=300).values_list("id", "expires_at", "note")
    assert sorted(found) == [(id, at, f"{id}%s") for id, at in moments.items()]


def test_the_databases_rules_apply_to_changes() -> None:
    order, other = orders(2)
    with pytest.raises(IntegrityError):
        update_rows(Order, {order.pk: {"number": other.number}, other.pk: {"note": "x"}})
