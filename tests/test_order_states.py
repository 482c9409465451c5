"""What may become of an order, walked in full; and whatever happens, the books balance."""

import itertools
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from inventory import ledger
from inventory.errors import InsufficientStock
from inventory.models import Kind, Movement
from orders import states
from orders.errors import InvalidTransition, PaymentDeclined, PaymentInProgress, PaymentUnknown
from orders.lifecycle import deliver_order, expire_due, return_order, ship_order
from orders.models import Order, OrderLine, Payment, Refund, Status
from orders.payments.providers import APPROVED, Answer
from orders.payments.services import confirm_transfer, decide, pay, resolve_unanswered
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import LEADS_TO, WAY_TO, run_out
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
        assert (order.status, stock_of(option)) == (after, STOCK_IN[after])
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


# --- Whatever happens -------------------------------------------------------------------------------------


class Shop(RuleBasedStateMachine):
    """Random days of a small shop. Each run is rolled back."""

    orders = Bundle("orders")

    def __init__(self):
        super().__init__()
        self._day = transaction.atomic()
        self._day._from_testcase = True  # as Django's TestCase does: the services' transactions may nest
        self._day.__enter__()
        self.options = []
        self.unanswered = set()

    def teardown(self):
        transaction.set_rollback(True)
        self._day.__exit__(None, None, None)

    @initialize(target=orders)
    def open(self):
        self.options = make_options([9, 6, 3], price=1_000)
        self.buyers = [make_user(address=True) for _ in range(2)]
        self.clerk = make_user(staff=True)
        one, two, three = self.options
        return multiple(
            make_order(self.buyers[0], (one, 2), (two, 1)),
            make_order(self.buyers[1], (one, 1), (three, 2)),
            make_order(self.buyers[1], (two, 3)),
        )

    def status(self, order):
        return Order.objects.values_list("status", flat=True).get(pk=order.pk)

    def attempt(self, order, after):
        """What must succeed if the table allows it, and change nothing if it does not."""
        before = self.status(order)
        if states.allowed(before, after):
            LEADS_TO[after](order)
            assert self.status(order) == after
        else:
            with nothing_changes(), pytest.raises(InvalidTransition):
                LEADS_TO[after](order)

    @rule(
        target=orders,
        who=st.integers(0, 1),
        wishes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=3),
    )
    def place(self, who, wishes):
        wanted = {}
        for index, units in wishes:
            option = self.options[index]
            wanted[option] = wanted.get(option, 0) + units
        free = {option: on_hand - reserved for option in wanted for on_hand, reserved in [stock_of(option)]}
        if all(units <= free[option] for option, units in wanted.items()):
            return make_order(self.buyers[who], *wanted.items())
        with nothing_changes(), pytest.raises(InsufficientStock):
            make_order(self.buyers[who], *wanted.items())
        return multiple()

    @rule(order=orders)
    def all_goes_well(self, order):
        """The usual way: without it few orders would live long enough for what comes last."""
        usual = {"pending": "paid", "paid": "shipped", "shipped": "delivered"}
        while order.pk not in self.unanswered and (after := usual.get(self.status(order))):
            self.attempt(order, after)

    @rule(order=orders, token=st.sampled_from(["ok", "ok", "decline", "timeout", "timeout-charged"]))
    def pay_by_card(self, order, token):
        before = self.status(order)
        try:
            pay(order_id=order.pk, provider="sandbox", token=token, actor_id=order.buyer_id)
        except PaymentDeclined:
            assert (token, self.status(order)) == ("decline", "pending")
        except PaymentUnknown:
            self.unanswered.add(order.pk)
        except PaymentInProgress:
            assert order.pk in self.unanswered
        except InvalidTransition:
            assert before != "pending"
        else:
            assert (token, before, self.status(order)) == ("ok", "pending", "paid")

    @rule(order=orders)
    def transfer(self, order):
        before = self.status(order)
        try:
            pay(order_id=order.pk, provider="manual", actor_id=order.buyer_id)
        except PaymentInProgress:
            assert order.pk in self.unanswered
        except InvalidTransition:
            assert before != "pending"
        else:
            assert self.status(order) == "pending"

    @rule(order=orders)
    def see_the_transfer(self, order):
        if order.pk in self.unanswered:
            return
        waits = Payment.objects.filter(order=order, status="waiting").exists()
        before = self.status(order)
        if before == "pending":
            confirm_transfer(order_id=order.pk, actor_id=self.clerk.pk)
            assert self.status(order) == "paid"
        elif waits:
            confirm_transfer(order_id=order.pk, actor_id=self.clerk.pk)
        else:
            with nothing_changes(), pytest.raises(InvalidTransition):
                confirm_transfer(order_id=order.pk, actor_id=self.clerk.pk)

    @rule(order=orders)
    def hear_from_the_providers(self, order):
        """What they were asked about, and that an attempt which was given up had taken the money."""
        Payment.objects.update(created_at=timezone.now() - timedelta(minutes=2))
        resolve_unanswered()
        self.unanswered.clear()
        if given_up := Payment.objects.filter(order=order, status="declined").first():
            decide(payment_id=given_up.pk, answer=Answer(APPROVED))

    @rule(order=orders, after=st.sampled_from(["cancelled", "shipped", "delivered"]))
    def somebody_tries(self, order, after):
        self.attempt(order, after)

    @rule(order=orders)
    def hold_ends(self, order):
        before = self.status(order)
        run_out(order)
        assert self.status(order) == ("expired" if before == "pending" else before)

    @rule(order=orders, everything=st.booleans())
    def send_back(self, order, everything):
        if everything or self.status(order) != "delivered":
            self.attempt(order, "returned")
            return
        line = next(line for line in order.lines.order_by("id") if line.returned < line.quantity)
        return_order(order_id=order.pk, units={line.option_id: 1}, actor_id=order.buyer_id)
        out = any(line.returned < line.quantity for line in order.lines.all())
        assert self.status(order) == ("delivered" if out else "returned")

    @rule(index=st.integers(0, 2), units=st.integers(-3, 4).filter(bool))
    def count_the_stock(self, index, units):
        option = self.options[index]
        on_hand, reserved = stock_of(option)
        if on_hand + units >= reserved:
            ledger.adjust(option_id=option.pk, delta=units, reason="counted", actor_id=self.clerk.pk)
        else:
            with nothing_changes(), pytest.raises(InsufficientStock):
                ledger.adjust(option_id=option.pk, delta=units, reason="counted", actor_id=self.clerk.pk)

    @invariant()
    def books_balance(self):
        assert_books_balance()
        assert_money_balances()


def test_random_days_leave_the_books_balanced():
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=25, stateful_step_count=35, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


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
