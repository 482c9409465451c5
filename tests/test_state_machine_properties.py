"""Whatever happens to orders, in any order: what the table forbids changes nothing, and the books balance."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
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
from orders import states
from orders.errors import InvalidTransition, PaymentDeclined, PaymentInProgress, PaymentUnknown
from orders.lifecycle import lose_order, return_order
from orders.models import Order, Payment
from orders.payments.providers import APPROVED, Answer
from orders.payments.services import confirm_transfer, decide, pay, resolve_unanswered
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import LEADS_TO, run_out
from tests.support.problems import nothing_changes

pytestmark = pytest.mark.django_db


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
        wanted_lines=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=3),
    )
    def place(self, who, wanted_lines):
        wanted = {}
        for index, units in wanted_lines:
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
    def parcel_is_lost(self, order):
        before = self.status(order)
        lose = partial(
            lose_order, order_id=order.pk, actor_id=self.clerk.pk, reason="fell into the Han river"
        )
        if before == "shipped":
            stock = [stock_of(option) for option in self.options]
            lose()
            assert self.status(order) == "returned"
            assert [stock_of(option) for option in self.options] == stock
        else:
            with nothing_changes(), pytest.raises(InvalidTransition):
                lose()

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
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
