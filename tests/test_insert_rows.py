"""Rows of plain values are stored as they were given, however many statements it takes."""

import gc

import pytest
from django.db import IntegrityError
from django.utils import timezone

from inventory.models import Movement, Stock
from orders.models import Order, OrderEvent
from tests.support.factories import make_options, make_order, make_user
from yousinsa.db import rows
from yousinsa.db.rows import insert_rows
from yousinsa.process.collection import rarely_collected

pytestmark = pytest.mark.django_db

TEXTS = [
    "it's", 'a "quote"', "back\\slash", "100%s %d %", "'); DROP TABLE orders_order; --", "한글 👕",
    "?", "",
]  # fmt: skip


@pytest.mark.parametrize("length", [1, 300, 1_000_000])
def test_what_is_given_is_what_is_stored(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(rows, "STATEMENT_LENGTH", length)
    (option,) = make_options([1])
    order, at = make_order(make_user(), (option, 1)), timezone.now()
    given = [(order.pk, "pending", "paid", order.buyer_id if i % 2 else None, text, at)
             for i, text in enumerate(TEXTS)]  # fmt: skip
    fields = ("order", "from_status", "to_status", "actor", "note", "created_at")
    assert insert_rows(OrderEvent, fields, given) == len(TEXTS)
    names = ("order_id", "from_status", "to_status", "actor_id", "note", "created_at")
    assert list(OrderEvent.objects.filter(to_status="paid").order_by("id").values_list(*names)) == given
    assert insert_rows(OrderEvent, fields, []) == 0


def test_a_number_and_its_text_keep_their_kind() -> None:
    (option,) = make_options([0])
    user = make_user()
    moved = [(Stock.objects.get(option=option).pk, n, "receive", 1, 0, 1, 0, "", user.pk, "1", timezone.now())
             for n in (1, 2**31 - 1)]  # fmt: skip
    names = ("stock", "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after",
             "reserved_after", "reference", "actor", "reason", "created_at")  # fmt: skip
    insert_rows(Movement, names, moved)
    found = Movement.objects.filter(kind="receive").order_by("sequence")
    assert list(found.values_list("sequence", "reason")) == [(1, "1"), (2**31 - 1, "1")]


def test_the_databases_rules_apply() -> None:
    (option,) = make_options([1])
    order = make_order(make_user(), (option, 1))
    event = (order.pk, "pending", "paid", None, "", timezone.now())
    fields = ("order", "from_status", "to_status", "actor", "note", "created_at")
    insert_rows(OrderEvent, fields, [event])
    with pytest.raises(IntegrityError):
        insert_rows(Order, ("id", "number", "buyer", "status", "total", "created_at"),
                    [(1, order.number, order.buyer_id, "pending", 1, timezone.now())])  # fmt: skip


def test_circles_are_looked_for_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with rarely_collected():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
