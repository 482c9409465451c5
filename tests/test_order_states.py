"""What may become of an order, walked in full, and what the database forbids."""

import itertools
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from inventory.models import Kind, Movement
from orders import states
from orders.errors import InvalidTransition
from orders.lifecycle import deliver_order, expire_due, return_order, ship_order
from orders.models import Order, OrderLine, Payment, Refund, Status
from orders.payments.services import pay
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import LEADS_TO, WAY_TO
from tests.support.problems import nothing_changes

pytestmark = pytest.mark.django_db

# Written down a second time on purpose: a change of the table has to be meant.
ALLOWED = {
    ("pending", "paid"),
    ("pending", "cancelled"),
    ("pending", "expired"),
    ("paid", "shipped"),
    ("paid", "cancelled"),
    ("shipped", "delivered"),
    ("shipped", "returned"),
    ("delivered", "returned"),
    ("expired", "paid"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status.values, Status.values)))
def test_the_table_allows_these_transitions_and_no_other(before, after):
    assert states.allowed(before, after) == ((before, after) in ALLOWED)
    if (before, after) not in ALLOWED:
        with pytest.raises(InvalidTransition):
            states.check(before, after)


# --- Through the services ---------------------------------------------------------------------------------


# (on hand, reserved) of an option with five units, three of which were ordered.
STOCK_IN = {
    "pending": (5, 3),
    "paid": (5, 3),
    "shipped": (2, 0),
    "delivered": (2, 0),
    "returned": (5, 0),
    "cancelled": (5, 0),
    "expired": (5, 0),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(WAY_TO, LEADS_TO)))
def test_every_service_takes_every_order_where_the_table_says_or_refuses_it(buyer, before, after):
    (option,) = make_options([5])
    order = make_order(buyer, (option, 3))
    for step in WAY_TO[before]:
        LEADS_TO[step](order)
    order.refresh_from_db()
    assert (order.status, stock_of(option)) == (before, STOCK_IN[before])

    # Paying for an expired order is the one transition that only a late answer takes.
    if (before, after) in ALLOWED - {("expired", "paid")}:
        LEADS_TO[after](order)
        order.refresh_from_db()
        lost = (before, after) == ("shipped", "returned")
        assert (order.status, stock_of(option)) == (after, STOCK_IN[before if lost else after])
        event = order.events.last()
        assert (event.from_status, event.to_status) == (before, after)
    elif after == "expired":
        # The clock passes over orders that are not pending.
        order.expires_at = timezone.now() - timedelta(seconds=1)
        order.save(update_fields=["expires_at"])
        with nothing_changes():
            assert expire_due() is None
    else:
        with nothing_changes(), pytest.raises(InvalidTransition) as refusal:
            LEADS_TO[after](order)
        assert refusal.value.members == {"order_status": before, "to_status": after}
    assert_books_balance()
    assert_money_balances()


def test_who_did_it_is_written_down(buyer):
    (option,) = make_options([5])
    clerk = make_user(staff=True)
    order = make_order(buyer, (option, 1))
    pay(order_id=order.pk, provider="sandbox", actor_id=buyer.pk)
    ship_order(order_id=order.pk, carrier=" CJ ", tracking_number="123 ", actor_id=clerk.pk)
    deliver_order(order_id=order.pk, actor_id=clerk.pk)
    return_order(order_id=order.pk, units=None, actor_id=buyer.pk, reason="too small")
    assert list(order.events.values_list("to_status", "actor_id", "note")) == [
        ("paid", buyer.pk, ""),
        ("shipped", clerk.pk, ""),
        ("delivered", clerk.pk, ""),
        ("returned", buyer.pk, "too small"),
    ]
    order.refresh_from_db()
    assert (order.carrier, order.tracking_number) == ("CJ", "123")
    # Who received the stock is nobody's business here.
    movements = Movement.objects.exclude(kind="receive").order_by("id")
    assert list(movements.values_list("kind", "actor_id", "reference")) == [
        ("reserve", buyer.pk, order.number),
        ("ship", clerk.pk, order.number),
        ("restock", buyer.pk, order.number),
    ]


@pytest.mark.parametrize(("carrier", "number"), [("", "1"), ("CJ", " "), (" ", "")])
def test_an_order_is_not_shipped_without_saying_how(buyer, carrier, number):
    order = make_order(buyer, (make_options([5])[0], 1))
    pay(order_id=order.pk, provider="sandbox", actor_id=buyer.pk)
    with nothing_changes(), pytest.raises(Exception, match="not valid"):
        ship_order(order_id=order.pk, carrier=carrier, tracking_number=number, actor_id=None)


# --- What code forbids, the database refuses too ------------------------------------------------------------


@pytest.fixture
def rows(buyer):
    """One row of everything."""
    (option,) = make_options([5])
    order = make_order(buyer, (option, 2), key="k")
    pay(order_id=order.pk, provider="sandbox", actor_id=buyer.pk)
    refund = Refund.objects.create(payment=order.payments.get(), reference="r", amount=1, reason="x")
    return {
        "option": option, "order": order, "line": order.lines.get(), "payment": order.payments.get(),
        "refund": refund, "stock": option.stock, "movement": Movement.objects.first(), "user": buyer,
        "product": option.product, "store": option.product.store,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("stock", {"on_hand": -1, "reserved": 0}),
        ("stock", {"reserved": -1}),
        ("stock", {"reserved": 6}),
        ("stock", {"on_hand": 1}),
        ("stock", {"on_hand": 1_000_000_001}),
        ("movement", {"delta_on_hand": -5}),
        ("movement", {"kind": "adjust"}),
        ("movement", {"kind": "nonsense"}),
        ("movement", {"reserved_after": 9}),
        ("movement", {"on_hand_after": -1}),
        ("order", {"status": "lost"}),
        ("order", {"total": -1}),
        ("line", {"quantity": 0}),
        ("line", {"quantity": -1}),
        ("line", {"quantity": 1_000_001}),
        ("line", {"returned": 3}),
        ("line", {"returned": -1}),
        ("line", {"unit_price": -1}),
        ("payment", {"amount": -1}),
        ("payment", {"live": True, "status": "declined"}),
        ("payment", {"live": None, "status": "started"}),
        ("payment", {"live": False}),
        ("refund", {"amount": -1}),
        ("product", {"price": -1}),
        ("product", {"price": 1_000_000_001}),
    ],
)
def test_no_row_can_be_changed_to_what_may_not_be(rows, what, changes):
    row = rows[what]
    with pytest.raises(IntegrityError), transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(**changes)


def copy_of(row, **changes):
    """The same row once more, but for its key and `changes`."""
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    del fields[row._meta.pk.attname]
    if isinstance(row, Order):
        fields["id"] = row.pk + 1
    return type(row)(**{**fields, **changes})


@pytest.mark.parametrize(
    ("what", "different"),
    [
        ("stock", {}),
        ("movement", {"kind": Kind.RESERVE, "delta_on_hand": 0, "delta_reserved": 1}),
        ("order", {"number": "another"}),
        ("order", {"idempotency_key": "another"}),
        ("line", {"quantity": 1}),
        ("payment", {"reference": "another"}),
        ("refund", {"amount": 2}),
        ("option", {"size": "another"}),
        ("option", {"sku": "another"}),
        ("store", {}),
        ("user", {"name": "Another"}),
    ],
)
def test_there_is_no_second_row_where_one_is_enough(rows, what, different):
    with pytest.raises(IntegrityError), transaction.atomic():
        type(rows[what]).objects.bulk_create([copy_of(rows[what], **different)])


def test_without_a_key_and_among_dead_attempts_there_may_be_many(rows):
    order, payment = rows["order"], rows["payment"]
    for i in range(1, 3):
        fresh = copy_of(order, id=order.pk + i, number=f"n{i}", idempotency_key=None)
        Order.objects.bulk_create([fresh])
        Payment.objects.bulk_create([copy_of(payment, reference=f"r{i}", live=None, status="declined")])
    assert (Order.objects.count(), Payment.objects.count()) == (3, 3)


@pytest.mark.django_db(transaction=True)
def test_references_point_at_something(rows):
    line = copy_of(rows["line"], option_id=987654321)
    with pytest.raises(IntegrityError), transaction.atomic(durable=True):
        OrderLine.objects.bulk_create([line])  # SQLite looks when it commits
