"""Money: taken once, never kept for nothing, and never asked for while a lock is held."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from inventory import ledger
from orders.errors import InvalidTransition, PaymentInProgress, PaymentUnknown, ShippingRequired
from orders.lifecycle import cancel_order, deliver_order, expire_due, return_order, ship_order
from orders.locking import lock_order, move
from orders.models import Order, Payment, Refund, Status
from orders.payments import refunds
from orders.payments.providers import APPROVED, DECLINED, PROVIDERS, Answer, ProviderTimeout
from orders.payments.services import confirm_transfer, decide, pay, resolve_unanswered
from tests.support.concurrency import in_threads
from tests.support.factories import ADDRESS, make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.locks import kill_connection, until_somebody_waits
from tests.support.orders import status_of
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db

OTHER_ADDRESS = {**ADDRESS, "recipient": "Lee Jun", "address1": "1 Sejong-daero", "address2": ""}


class Bank:
    """A provider that keeps books of its own, and looks whether a transaction is open when it is asked."""

    name = "bank"

    def __init__(self):
        self.taken: dict[str, int] = {}
        self.given_back: dict[str, int] = {}
        self.asked_inside_a_transaction = False
        self.answers = True

    def _look(self):
        self.asked_inside_a_transaction |= connection.in_atomic_block

    def charge(self, *, reference, amount, token):
        self._look()
        if token != "declined":
            self.taken[reference] = amount
        if token == "lost":
            raise ProviderTimeout
        if token == "broken":
            raise ConnectionResetError
        return self.lookup(reference=reference, token=token)

    def lookup(self, *, reference, token):
        self._look()
        return Answer(APPROVED if reference in self.taken else DECLINED)

    def refund(self, *, reference, payment_reference, amount):
        self._look()
        if not self.answers:
            raise ConnectionResetError
        self.given_back[reference] = amount
        return True

    @property
    def balance(self):
        return sum(self.taken.values()) - sum(self.given_back.values())


@pytest.fixture
def bank(transactional_db, monkeypatch):
    """Nothing but the shop's own transactions are open when it is asked."""
    bank = Bank()
    monkeypatch.setitem(PROVIDERS, "bank", bank)
    yield bank
    assert not bank.asked_inside_a_transaction


@pytest.fixture
def option():
    return make_options([5], price=10_000)[0]


@pytest.fixture
def order(buyer, option):
    return make_order(buyer, (option, 2))


def pay_for(order, provider="sandbox", user=None, **body):
    return Wire(user or order.buyer).post(f"orders/{order.number}/pay/", {"provider": provider, **body})


def attempts(order):
    return list(order.payments.order_by("id").values_list("provider", "status"))


def a_minute_passes():
    """The attempts that are there are old enough to be asked about."""
    Payment.objects.update(created_at=timezone.now() - timedelta(minutes=2))


# --- The sandbox ------------------------------------------------------------------------------------------


def test_an_approved_card_pays(order):
    answer = pay_for(order, token="tok-approve")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["status"], body["shipping"]) == ("paid", ADDRESS)
    assert body["payment"] == {
        "provider": "sandbox", "status": "approved", "amount": 20_000, "refunded": 0, "detail": "",
    }  # fmt: skip
    assert list(order.events.values_list("from_status", "to_status", "actor_id")) == [
        ("pending", "paid", order.buyer_id)
    ]
    with nothing_changes():
        problem(pay_for(order), 409, "invalid_transition")


def test_a_declined_card_leaves_the_order_as_it_was_and_another_card_pays(order, option):
    answer = pay_for(order, token="tok-decline")
    problem(answer, 402, "payment_declined")
    assert Wire(order.buyer).get(f"orders/{order.number}/").json()["payment"]["status"] == "declined"
    assert (status_of(order), stock_of(option)) == ("pending", (5, 2))
    assert pay_for(order).json()["status"] == "paid"
    assert attempts(order) == [("sandbox", "declined"), ("sandbox", "approved")]
    assert_books_balance()


@pytest.mark.parametrize(("token", "in_the_end"), [("timeout", "pending"), ("timeout-charged", "paid")])
def test_a_card_that_is_not_answered_for_is_asked_about_until_it_is_settled(order, token, in_the_end):
    answer = pay_for(order, token=token)
    problem(answer, 503, "payment_unknown")
    assert int(answer["Retry-After"]) >= 1
    assert Wire(order.buyer).get(f"orders/{order.number}/").json()["payment"]["status"] == "unknown"
    # Until that is known nobody is charged a second time.
    with nothing_changes():
        problem(pay_for(order), 409, "payment_in_progress")
    assert resolve_unanswered() == 0
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert status_of(order) == in_the_end
    assert resolve_unanswered() == 0
    if in_the_end == "pending":
        assert pay_for(order).json()["status"] == "paid"


# --- Bank transfers ---------------------------------------------------------------------------------------


def test_a_transfer_waits_for_an_operator(order, option):
    clerk = make_user(staff=True)
    answer = pay_for(order, "manual")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert answer.json()["payment"]["status"] == "waiting"
    # Asked again it is the same transfer.
    assert pay_for(order, "manual").status_code == 200
    assert attempts(order) == [("manual", "waiting")]
    confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
    assert (status_of(order), attempts(order)) == ("paid", [("manual", "approved")])
    with pytest.raises(InvalidTransition):
        confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
    assert stock_of(option) == (5, 2)


def test_who_meant_to_transfer_can_pay_by_card(order):
    assert pay_for(order, "manual").status_code == 200
    assert pay_for(order).json()["status"] == "paid"
    assert attempts(order) == [("manual", "replaced"), ("sandbox", "approved")]
    with pytest.raises(InvalidTransition):
        confirm_transfer(order_id=order.pk, actor_id=order.buyer_id)


def test_a_transfer_for_which_no_attempt_waits_is_confirmed_all_the_same(order):
    assert pay_for(order, "manual", shipping=OTHER_ADDRESS).status_code == 200
    assert pay_for(order, token="decline").status_code == 402
    Order.objects.filter(pk=order.pk).update(**OTHER_ADDRESS)
    confirm_transfer(order_id=order.pk, actor_id=order.buyer_id)
    order.refresh_from_db()
    assert (order.status, order.recipient) == ("paid", "Lee Jun")


def test_a_transfer_is_not_confirmed_while_a_card_is_being_charged(order):
    pay_for(order, token="timeout")
    with nothing_changes(), pytest.raises(PaymentInProgress):
        confirm_transfer(order_id=order.pk, actor_id=order.buyer_id)


def test_a_transfer_goes_back_by_hand(order):
    clerk = make_user(staff=True)
    pay_for(order, "manual")
    confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
    cancel_order(order_id=order.pk, actor_id=clerk.pk)
    refund = Refund.objects.get()
    assert (refund.amount, refund.status) == (20_000, "due")
    assert refunds.pay_out_due() == 0
    assert (refunds.mark_done(refund.pk), refunds.mark_done(refund.pk)) == (1, 0)


# --- Where to ship ----------------------------------------------------------------------------------------


def test_an_order_needs_an_address(option):
    user = make_user()
    order = make_order(user, (option, 1))
    with nothing_changes():
        problem(pay_for(order), 400, "shipping_required", "shipping")
        with pytest.raises(ShippingRequired):
            confirm_transfer(order_id=order.pk, actor_id=user.pk)
    answer = pay_for(order, shipping=OTHER_ADDRESS)
    assert (answer.json()["status"], answer.json()["shipping"]) == ("paid", OTHER_ADDRESS)
    user.refresh_from_db()
    assert user.address1 == ""


def test_the_address_of_the_request_comes_before_the_saved_one(order):
    assert pay_for(order, shipping=OTHER_ADDRESS).json()["shipping"] == OTHER_ADDRESS
    order.buyer.refresh_from_db()
    assert order.buyer.address1 == ADDRESS["address1"]


def test_an_attempt_without_address_keeps_the_one_that_was_given(option):
    order = make_order(make_user(), (option, 1))
    assert pay_for(order, token="decline", shipping=OTHER_ADDRESS).status_code == 402
    assert pay_for(order).json()["shipping"] == OTHER_ADDRESS


# --- Too late ---------------------------------------------------------------------------------------------


@pytest.fixture
def late(order):
    """An order whose hold ended while a charged card was not answered for."""
    problem(pay_for(order, token="timeout-charged"), 503, "payment_unknown")
    a_minute_passes()
    Order.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert expire_due() == 1
    return order


def test_a_late_payment_takes_the_units_again_if_there_are_any(late, option):
    assert stock_of(option) == (5, 0)
    assert resolve_unanswered() == 1
    answer = Wire(late.buyer).get(f"orders/{late.number}/").json()
    assert answer["status"] == "paid"
    assert "still there" in answer["note"]
    assert stock_of(option) == (5, 2)
    assert not Refund.objects.exists()
    assert_books_balance()


def test_a_late_payment_for_units_that_are_gone_goes_back_and_the_order_says_so(late, option):
    make_order(make_user(), (option, 4))
    assert resolve_unanswered() == 1
    answer = Wire(late.buyer).get(f"orders/{late.number}/").json()
    assert answer["status"] == "expired"
    assert "refunded" in answer["note"]
    assert answer["payment"]["refunded"] == 20_000
    assert stock_of(option) == (5, 4)
    assert list(Refund.objects.values_list("status", flat=True)) == ["done"]
    assert_books_balance()


def test_a_late_payment_takes_all_lines_or_none(buyer):
    there, gone = make_options([5, 5])
    order = make_order(buyer, (there, 1), (gone, 5))
    pay_for(order, token="timeout-charged")
    a_minute_passes()
    Order.objects.update(expires_at=timezone.now())
    expire_due()
    make_order(make_user(), (gone, 1))
    resolve_unanswered()
    assert (status_of(order), stock_of(there), stock_of(gone)) == ("expired", (5, 0), (5, 1))
    assert_books_balance()


def test_a_payment_for_a_cancelled_order_goes_back(order, option):
    pay_for(order, token="timeout-charged")
    assert Wire(order.buyer).post(f"orders/{order.number}/cancel/").json()["status"] == "cancelled"
    a_minute_passes()
    assert resolve_unanswered() == 1
    answer = Wire(order.buyer).get(f"orders/{order.number}/").json()
    assert (answer["status"], answer["payment"]["refunded"]) == ("cancelled", 20_000)
    assert "refunded" in answer["note"]
    assert stock_of(option) == (5, 0)


def test_an_attempt_that_was_given_up_for_declined_and_took_the_money_pays_after_all(order):
    payment = started(order)
    decide(payment_id=payment.pk, answer=Answer(DECLINED))
    decide(payment_id=payment.pk, answer=Answer(APPROVED))
    assert (status_of(order), attempts(order)) == ("paid", [("sandbox", "approved")])
    # Whatever is said of it afterwards: it is settled.
    with nothing_changes():
        decide(payment_id=payment.pk, answer=Answer(DECLINED))
        decide(payment_id=payment.pk, answer=Answer(APPROVED))


def test_a_second_payment_goes_back_and_the_first_stays(order):
    payment = started(order)
    decide(payment_id=payment.pk, answer=Answer(DECLINED))
    assert pay_for(order).json()["status"] == "paid"
    decide(payment_id=payment.pk, answer=Answer(APPROVED))
    assert Refund.objects.get().payment_id == payment.pk
    assert Refund.objects.get().amount == 20_000
    assert "refunded" in Wire(order.buyer).get(f"orders/{order.number}/").json()["note"]
    # Cancelled, the order gives back what paid for it as well: all that was taken, and no more.
    cancel_order(order_id=order.pk, actor_id=None)
    assert sorted(Refund.objects.values_list("payment__order_id", "amount")) == [(order.pk, 20_000)] * 2
    decide(payment_id=payment.pk, answer=Answer(APPROVED))
    assert Refund.objects.count() == 2


def started(order):
    Order.objects.filter(pk=order.pk).update(**ADDRESS)
    return Payment.objects.create(
        order=order, provider="sandbox", reference=refunds.new_reference(), amount=order.total
    )


# --- Money back -------------------------------------------------------------------------------------------


def test_cancelling_a_paid_order_gives_all_of_it_back_once(order, option):
    pay_for(order)
    answer = Wire(order.buyer).post(f"orders/{order.number}/cancel/")
    assert (answer.json()["status"], answer.json()["payment"]["refunded"]) == ("cancelled", 20_000)
    assert stock_of(option) == (5, 0)
    with nothing_changes():
        problem(Wire(order.buyer).post(f"orders/{order.number}/cancel/"), 409, "invalid_transition")
    assert_books_balance()


def test_parts_that_come_back_are_refunded_at_their_price(buyer):
    dear, cheap = make_options([5], price=9_000)[0], make_options([5], price=1_000)[0]
    order = make_order(buyer, (dear, 2), (cheap, 3))
    pay_for(order)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=order.pk, actor_id=None)
    wire, path = Wire(buyer), f"orders/{order.number}/return/"
    back = [{"option": dear.pk, "quantity": 1}, {"option": cheap.pk, "quantity": 1},
            {"option": cheap.pk, "quantity": 1}]  # fmt: skip
    body = wire.post(path, {"lines": back}).json()
    assert (body["status"], body["payment"]["refunded"]) == ("delivered", 11_000)
    assert [line["returned"] for line in body["lines"]] == [1, 2]
    for option, quantity, field in ((dear, 2, "lines.quantity"), (cheap, 2, "lines.quantity")):
        with nothing_changes():
            answer = wire.post(path, {"lines": [{"option": option.pk, "quantity": quantity}]})
            problem(answer, 400, "invalid", field)
    with nothing_changes():
        answer = wire.post(path, {"lines": [{"option": 987654321, "quantity": 1}]})
        problem(answer, 400, "invalid", "lines.option")
    body = wire.post(path).json()
    assert (body["status"], body["payment"]["refunded"], body["total"]) == ("returned", 21_000, 21_000)
    assert_books_balance()


def test_two_who_return_the_same_units_at_once_get_the_money_once(bank):
    (option,) = make_options([4], price=1_000)
    buyer = make_user(address=True)
    order = make_order(buyer, (option, 4))
    pay_for(order, "bank")
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=order.pk, actor_id=None)

    def send_back(_):
        return Wire(buyer).post(f"orders/{order.number}/return/").status_code

    assert sorted(in_threads(send_back, 4)) == [200, 409, 409, 409]
    assert (bank.balance, stock_of(option)) == (0, (4, 0))
    assert_books_balance()


def test_a_refund_that_fails_stays_due_and_the_order_is_cancelled(bank, order):
    pay_for(order, "bank")
    bank.answers = False
    answer = Wire(order.buyer).post(f"orders/{order.number}/cancel/")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert Refund.objects.get().status == "due"
    assert refunds.pay_out_due() == 0
    bank.answers = True
    assert (refunds.pay_out_due(), refunds.pay_out_due()) == (1, 0)
    assert bank.balance == 0


# --- Providers, locks and crashes -------------------------------------------------------------------------


@pytest.fixture
def sale(bank):
    """An order that is committed, as the shop's are, with the bank to pay it."""
    (option,) = make_options([5], price=10_000)
    return make_order(make_user(address=True), (option, 2))


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


def test_of_many_who_pay_for_one_order_at_once_one_is_charged(sale, bank):
    answers = in_threads(lambda _: pay_for(sale, "bank"), 6)
    codes = sorted(
        answer.json().get("code", answer.status_code) for answer in answers if answer.status_code != 200
    )
    assert len(codes) == 5
    assert set(codes) <= {"payment_in_progress", "invalid_transition"}
    assert (status_of(sale), bank.balance) == ("paid", 20_000)


@pytest.mark.mariadb
def test_who_pays_while_the_order_is_being_cancelled_is_not_charged(sale, bank):
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            held = lock_order(sale.pk, with_stock=True)
            move(held.order, Status.CANCELLED, actor_id=None)
            ledger.release(held.stock, held.units, reference=sale.number)
            payment = pool.submit(lambda: pay_for(sale, "bank"))
            until_somebody_waits()
        problem(payment.result(), 409, "invalid_transition")
    assert bank.balance == 0


@pytest.mark.mariadb
def test_a_change_whose_connection_dies_is_not_said_to_be_undone(sale):
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        lock_order(sale.pk, with_stock=True)
        cancel = pool.submit(lambda: Wire(sale.buyer).post(f"orders/{sale.number}/cancel/"))
        kill_connection(until_somebody_waits())
        answer = cancel.result()
    problem(answer, 503, "outcome_unknown")
    assert int(answer["Retry-After"]) >= 1
    assert Wire(sale.buyer).post(f"orders/{sale.number}/cancel/").json()["status"] == "cancelled"


@pytest.mark.mariadb
def test_who_pays_while_another_attempt_is_being_written_down_waits_for_it(sale):
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lock_order(sale.pk, with_stock=False)
            started(sale)
            second = pool.submit(lambda: pay_for(sale))
            until_somebody_waits()
        problem(second.result(), 409, "payment_in_progress")


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
    locked, done = threading.Event(), threading.Event()

    def keep_the_order_locked():
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=sale.pk)
            locked.set()
            assert done.wait(timeout=60)
        connection.close()

    thread = threading.Thread(target=keep_the_order_locked)

    def charge(**kwargs):
        answer = Bank.charge(bank, **kwargs)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        thread.start()
        assert locked.wait(timeout=60)
        return answer

    monkeypatch.setattr(bank, "charge", charge)
    try:
        with pytest.raises(PaymentUnknown):
            pay(order_id=sale.pk, provider="bank", actor_id=sale.buyer_id)
    finally:
        done.set()
        thread.join()
    connection.close()
    a_minute_passes()
    assert resolve_unanswered() == 1
    assert (status_of(sale), bank.balance) == ("paid", 20_000)


def test_returns_never_give_back_more_than_was_paid(order):
    pay_for(order)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=order.pk, actor_id=None)
    # Whatever a line claims to have cost.
    order.lines.update(unit_price=1_000_000)
    return_order(order_id=order.pk, units=None, actor_id=None)
    assert Refund.objects.get().amount == 20_000
    assert status_of(order) == Status.RETURNED
