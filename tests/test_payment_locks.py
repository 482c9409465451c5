"""Money under way: no lock is held while a provider is asked, nobody is charged twice, crashes are mended."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from django.db import connection, transaction

from orders.errors import PaymentUnknown
from orders.lifecycle import cancel_order
from orders.lifecycle.cancelling import Cancel
from orders.locking import lock_order
from orders.models import Order, Payment
from orders.payments.services import pay, resolve_unanswered
from tests.support.concurrency import in_threads
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import kill_connection, row_locked, until_somebody_waits
from tests.support.orders import lead, status_of, uncommitted
from tests.support.payments import Bank, a_minute_passes, attempts, pay_for, started
from tests.support.problems import problem
from tests.support.races import goes_wrong, nothing_locked, take_row_locks_away, without_unique
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db


def new_sale():
    (option,) = make_options([5], price=10_000)
    return make_order(make_user(address=True), (option, 2))


@pytest.fixture
def sale(bank):
    """An order that is committed, as the shop's are, with the bank to pay it."""
    return new_sale()


def test_a_provider_is_never_asked_inside_a_transaction(sale, bank):
    assert pay_for(sale, "bank").json()["status"] == "paid"
    cancel_order(order_id=sale.pk, actor_id=None)
    lost = make_order(sale.buyer, (sale.lines.get().option, 1))
    problem(pay_for(lost, "bank", token="lost"), 503, "payment_unknown")
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (len(bank.taken), len(bank.given_back)) == (2, 1)
    assert not bank.asked_inside_a_transaction


def test_a_provider_that_breaks_is_one_that_did_not_answer(sale, bank):
    problem(pay_for(sale, "bank", token="broken"), 503, "payment_unknown")
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (status_of(sale), bank.balance) == ("paid", 20_000)


class Crash(BaseException):
    """The process dies."""


def test_a_crash_after_the_money_was_taken_is_repaired(sale, bank, monkeypatch):
    def charge_and_die(**kwargs):
        Bank.charge(bank, **kwargs)
        raise Crash

    monkeypatch.setattr(bank, "charge", charge_and_die)
    with pytest.raises(Crash):
        pay(order_id=sale.pk, provider="bank", actor_id=sale.buyer_id)
    assert (status_of(sale), attempts(sale)) == ("pending", [("bank", "started")])
    problem(pay_for(sale), 409, "payment_in_progress")
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (status_of(sale), bank.balance) == ("paid", 20_000)


def test_a_crash_before_the_money_was_taken_is_repaired(sale, bank, monkeypatch):
    def die(**kwargs):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(bank, "charge", die)
        with pytest.raises(Crash):
            pay(order_id=sale.pk, provider="bank", actor_id=sale.buyer_id)
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (status_of(sale), bank.balance) == ("pending", 0)
    assert pay_for(sale, "bank").json()["status"] == "paid"


def test_one_attempt_that_cannot_be_asked_about_does_not_keep_the_others_waiting(sale, bank):
    other = make_order(sale.buyer, (sale.lines.get().option, 1))
    pay_for(other, "bank", token="lost")
    Payment.objects.update(provider="gone out of business")
    pay_for(sale, "bank", token="lost")
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert status_of(sale) == "paid"


def test_while_a_card_is_being_charged_the_order_is_not_locked_and_nobody_else_can_pay(
    sale, bank, monkeypatch
):
    charging, may_answer = threading.Event(), threading.Event()

    def slow_charge(**kwargs):
        charging.set()
        assert may_answer.wait(timeout=60)
        return Bank.charge(bank, **kwargs)

    monkeypatch.setattr(bank, "charge", slow_charge)

    def shopper(i):
        if i == 0:
            return pay_for(sale, "bank")
        assert charging.wait(timeout=60)
        try:
            return pay_for(sale, "sandbox")
        finally:
            may_answer.set()

    first, second = in_threads(shopper, 2)
    assert first.json()["status"] == "paid"
    problem(second, 409, "payment_in_progress")
    assert len(bank.taken) == 1


@pytest.mark.mariadb
def test_a_change_whose_connection_dies_is_made_all_the_same_and_once(sale):
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lock_order(sale.pk)
            cancel = pool.submit(lambda: Wire(sale.buyer).post(f"orders/{sale.number}/cancel/", {}))
            kill_connection(until_somebody_waits())
        answer = cancel.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert sale.events.count() == 1
    assert_books_balance()


def test_a_cancel_while_a_card_is_being_charged_gives_the_money_back(sale, bank, monkeypatch):
    def charge(**kwargs):
        answer = Bank.charge(bank, **kwargs)
        cancel_order(order_id=sale.pk, actor_id=sale.buyer_id)
        return answer

    monkeypatch.setattr(bank, "charge", charge)
    answer = pay_for(sale, "bank")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["payment"]["refunded"] == 20_000
    assert bank.balance == 0
    assert_books_balance()


@pytest.mark.mariadb
def test_money_that_cannot_be_booked_is_not_said_to_be_untouched(sale, bank, monkeypatch, settings):
    settings.LOCK_WAIT_SECONDS = 0
    with ExitStack() as others:

        def charge(**kwargs):
            answer = Bank.charge(bank, **kwargs)
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
            others.enter_context(row_locked("orders_order", sale.pk))
            return answer

        monkeypatch.setattr(bank, "charge", charge)
        with pytest.raises(PaymentUnknown):
            pay(order_id=sale.pk, provider="bank", actor_id=sale.buyer_id)
    connection.close()
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (status_of(sale), bank.balance) == ("paid", 20_000)


# --- At once, and the controls without the lock -------------------------------------------------------------


def charges_of_many(bank):
    """How often one order is charged for which six pay at once, and what they are told."""
    order, before = new_sale(), len(bank.taken)
    answers = in_threads(lambda _: pay_for(order, "bank"), 6)
    return len(bank.taken) - before, Counter(a.json().get("code", a.status_code) for a in answers)


def test_of_many_who_pay_for_one_order_at_once_one_is_charged(bank):
    charged, told = charges_of_many(bank)
    assert (charged, told.pop(200)) == (1, 1)
    assert set(told) <= {"payment_in_progress", "invalid_transition"}
    assert bank.balance == 20_000


@pytest.mark.mariadb
def test_control_without_the_lock_several_are_charged(bank, monkeypatch):
    """Without the index either, which lets one attempt live."""
    take_row_locks_away(monkeypatch, Order)
    with without_unique(Payment, "order", "live"):
        goes_wrong(lambda: charges_of_many(bank), lambda found: found[0] == 1)


def refunds_of_many(bank):
    """How many of four who send the same units back at once get their money, and what the bank gave back."""
    order = new_sale()
    pay_for(order, "bank")
    lead(order, "shipped", "delivered")
    before = sum(bank.given_back.values())
    statuses = in_threads(
        lambda _: Wire(order.buyer).post(f"orders/{order.number}/return/", {}).status_code, 4
    )
    return sorted(statuses), sum(bank.given_back.values()) - before, stock_of(order.lines.get().option)


def test_who_returns_the_same_units_at_once_gets_the_money_once(bank):
    assert refunds_of_many(bank) == ([200, 409, 409, 409], 20_000, (5, 0))
    assert bank.balance == 0
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_units_come_back_several_times(bank, monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: refunds_of_many(bank), lambda found: found[0] == [200, 409, 409, 409])


def pay_during_a_cancel(order):
    """What is answered to who pays while the cancellation of the order is not committed yet."""
    with ThreadPoolExecutor(1) as pool:
        with uncommitted(Cancel(order_id=order.pk)):
            payment = pool.submit(lambda: pay_for(order, "bank"))
            until_somebody_waits()
        return payment.result()


@pytest.mark.mariadb
def test_who_pays_while_the_order_is_being_cancelled_is_not_charged(sale, bank):
    problem(pay_during_a_cancel(sale), 409, "invalid_transition")
    assert bank.taken == {}


@pytest.mark.mariadb
def test_control_without_the_lock_who_pays_for_a_cancelled_order_is_charged(sale, bank, monkeypatch):
    """He waits all the same, for what he writes, but he has looked before. His money goes back."""
    take_row_locks_away(monkeypatch, Order)
    assert pay_during_a_cancel(sale).status_code == 200
    assert (len(bank.taken), bank.balance, status_of(sale)) == (1, 0, "cancelled")


@pytest.mark.mariadb
def test_who_pays_while_another_attempt_is_being_written_down_waits_for_it(sale):
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lock_order(sale.pk)
            started(sale)
            second = pool.submit(lambda: pay_for(sale))
            until_somebody_waits()
        problem(second.result(), 409, "payment_in_progress")
