"""Money: taken once, never kept for nothing, and never asked for while a lock is held."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orders.errors import InvalidTransition, PaymentInProgress, ShippingRequired
from orders.lifecycle import cancel_order, deliver_order, expire_due, return_order, ship_order
from orders.models import Order, Payment, Refund, Status, Trouble
from orders.payments import refunds
from orders.payments.providers import APPROVED, DECLINED, Answer
from orders.payments.services import confirm_transfer, decide, resolve_unanswered
from tests.support.factories import ADDRESS, make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.orders import status_of
from tests.support.payments import OTHER_ADDRESS, a_minute_passes, attempts, pay_for, started
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db


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
    assert (status_of(order), stock_of(option)) == ("pending", (10, 2))
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
    assert stock_of(option) == (10, 2)


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
    assert (refunds.mark_done([refund.pk]), refunds.mark_done([refund.pk])) == (1, 0)


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
    assert stock_of(option) == (10, 0)
    assert resolve_unanswered() == 1
    answer = Wire(late.buyer).get(f"orders/{late.number}/").json()
    assert answer["status"] == "paid"
    assert "still there" in answer["note"]
    assert stock_of(option) == (10, 2)
    assert not Refund.objects.exists()
    assert_books_balance()


def test_a_late_payment_for_units_that_are_gone_goes_back_and_the_order_says_so(late, option):
    make_order(make_user(), (option, 9))
    assert resolve_unanswered() == 1
    answer = Wire(late.buyer).get(f"orders/{late.number}/").json()
    assert answer["status"] == "expired"
    assert "refunded" in answer["note"]
    assert answer["payment"]["refunded"] == 20_000
    assert stock_of(option) == (10, 9)
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
    assert Wire(order.buyer).post(f"orders/{order.number}/cancel/", {}).json()["status"] == "cancelled"
    a_minute_passes()
    assert resolve_unanswered() == 1
    answer = Wire(order.buyer).get(f"orders/{order.number}/").json()
    assert (answer["status"], answer["payment"]["refunded"]) == ("cancelled", 20_000)
    assert "refunded" in answer["note"]
    assert stock_of(option) == (10, 0)


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


# --- Money back -------------------------------------------------------------------------------------------


def test_cancelling_a_paid_order_gives_all_of_it_back_once(order, option):
    pay_for(order)
    answer = Wire(order.buyer).post(f"orders/{order.number}/cancel/", {})
    assert (answer.json()["status"], answer.json()["payment"]["refunded"]) == ("cancelled", 20_000)
    assert stock_of(option) == (10, 0)
    with nothing_changes():
        problem(Wire(order.buyer).post(f"orders/{order.number}/cancel/", {}), 409, "invalid_transition")
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
    body = wire.post(path, {}).json()
    assert (body["status"], body["payment"]["refunded"], body["total"]) == ("returned", 21_000, 21_000)
    assert_books_balance()


def test_a_refund_that_fails_stays_due_and_the_order_is_cancelled(bank, order):
    pay_for(order, "bank")
    bank.answers = False
    answer = Wire(order.buyer).post(f"orders/{order.number}/cancel/", {})
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert Refund.objects.get().status == "due"
    assert refunds.pay_out_due() == 0
    bank.answers = True
    assert refunds.pay_out_due() == 0  # not before its time
    Trouble.objects.update(retry_at=timezone.now())
    assert (refunds.pay_out_due(), refunds.pay_out_due()) == (1, 0)
    assert bank.balance == 0
    assert not Trouble.objects.exists()


def test_returns_never_give_back_more_than_was_paid(order):
    pay_for(order)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=order.pk, actor_id=None)
    # Whatever a line claims to have cost.
    order.lines.update(unit_price=1_000_000)
    return_order(order_id=order.pk, units=None, actor_id=None)
    assert Refund.objects.get().amount == 20_000
    assert status_of(order) == Status.RETURNED


def test_a_card_token_is_kept_only_until_the_attempt_is_decided(order):
    wire, path = Wire(order.buyer), f"orders/{order.number}/pay/"
    body = {"provider": "sandbox", "shipping": ADDRESS}
    for token, kept in (("decline-4111", ""), ("timeout-4111", "timeout-4111")):
        wire.post(path, body | {"token": token})
        assert Payment.objects.latest("id").token == kept
    Payment.objects.update(created_at=timezone.now() - timedelta(hours=1))
    resolve_unanswered()
    wire.post(path, body | {"token": "4111"})
    assert set(Payment.objects.values_list("token", "status")) == {("", "declined"), ("", "approved")}
