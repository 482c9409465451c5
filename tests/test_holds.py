"""Holds: pending orders by what they keep from others, and released by operators. Notes on orders."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from orders.admin.holds import ReleaseForm, time_left
from orders.errors import OrderNotFound
from orders.lifecycle import add_note
from orders.models import MAX_NOTE, Hold, Order, OrderEvent, OrderNote
from orders.payments.services import confirm_transfer
from tests.support.desk import act, buttons, said, signed_in, staff, text, url
from tests.support.factories import make_options, make_order, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.orders import status_of
from tests.support.wire import Wire
from yousinsa.errors import Invalid

pytestmark = pytest.mark.django_db


def test_pending_orders_are_listed_by_when_they_end_with_units_and_time_left(desk, buyer):
    shirt, coat = make_options([10, 10])
    now = timezone.now()
    later, sooner, paid, over = (make_order(buyer, (shirt, 2), (coat, 1)) for _ in range(4))
    for order, seconds in ((later, 3700), (sooner, 90), (over, -5)):
        Order.objects.filter(pk=order.pk).update(expires_at=now + timedelta(seconds=seconds))
    confirm_transfer(order_id=paid.pk, actor_id=None)
    page = desk.get(url(Hold))
    assert [hold.number for hold in page.context["cl"].result_list] == [
        over.number, sooner.number, later.number,
    ]  # fmt: skip
    words = text(page)
    assert f"3 2 × {shirt.sku} 1 × {coat.sku} {buyer.email}" in words
    assert "over: ends with the next expiry run" in words
    html = page.content.decode()
    left = [int(seconds) for seconds in re.findall(r'data-seconds-left="(\d+)"', html)]
    assert left[0] == 0
    assert 0 <= left[1] <= 90 < left[2] <= 3700
    assert time_left(left[2]) in words
    assert "orders/countdown.js" in html
    assert f'href="{url(Order, "change", sooner.pk)}"' in html
    assert desk.get(url(Hold), {"q": sooner.number}).context["cl"].result_count == 1
    assert desk.get(url(Hold, "change", paid.pk)).status_code == 302


def test_time_left_is_told_in_minutes_and_seconds():
    assert [time_left(n) for n in (1, 59, 60, 90, 3_599, 3_600, 3_700)] == [
        "0:01", "0:59", "1:00", "1:30", "59:59", "1:00:00", "1:01:40",
    ]  # fmt: skip
    assert time_left(0) == time_left(-5) == "over: ends with the next expiry run"


@pytest.mark.django_db(transaction=True)
def test_a_hold_is_released_after_a_question_and_with_a_reason(operator, buyer):
    (option,) = make_options([10])
    desk, order = signed_in(operator), make_order(buyer, (option, 4))
    hold = Hold.objects.get()
    assert buttons(desk, hold) == {"release"}
    asked = desk.get(url(Hold, "release", order.pk))
    assert "This cannot be undone." in text(asked)
    assert f"4 × {option.sku}" in text(asked)
    assert desk.post(url(Hold, "release", order.pk), {"reason": " "}).context["form"].errors
    assert stock_of(option) == (10, 4)
    page = desk.post(url(Hold, "release", order.pk), {"reason": "Bot"}, follow=True)
    assert f"{order.number}: released." in said(page)
    assert (status_of(order), stock_of(option)) == ("cancelled", (10, 0))
    event = OrderEvent.objects.get(order=order)
    assert (event.actor, event.note) == (operator, "Bot")
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_many_are_released_at_once_and_one_that_was_paid_meanwhile_stays(operator, buyer):
    (option,) = make_options([10])
    desk = signed_in(operator)
    one, two, paid = (make_order(buyer, (option, 1)) for _ in range(3))
    holds = list(Hold.objects.order_by("id"))
    asked = act(desk, "release", *holds)
    assert [name for name, _facts, _form in asked.context["rows"]] == [one.number, two.number, paid.number]
    address, form = url(Hold, "release", paid.pk), {"reason": "Bot"}
    assert desk.get(address).status_code == 200
    confirm_transfer(order_id=paid.pk, actor_id=operator.pk)
    assert said(act(desk, "release", *holds, apply=1, reason="Bot")) == ["2 holds released."]
    assert desk.post(address, form).status_code == 302
    assert [status_of(order) for order in (one, two, paid)] == ["cancelled", "cancelled", "paid"]
    assert stock_of(option) == (10, 1)
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_an_order_that_is_paid_while_it_is_being_released_is_not_cancelled(operator, buyer):
    """The page was read while it was pending: what is locked afterwards decides."""
    (option,) = make_options([10])
    order = make_order(buyer, (option, 1))
    form = ReleaseForm({"reason": "Bot"}, record=Hold.objects.get())
    confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    assert form.is_valid()
    assert not form.attempt(actor_id=operator.pk)
    assert form.refusals() == "It is paid by now: only an order that is pending holds stock unpaid."
    assert (status_of(order), stock_of(option)) == ("paid", (10, 1))


def test_holds_have_the_permissions_of_orders(buyer):
    (option,) = make_options([10])
    order = make_order(buyer, (option, 1))
    looker, clerk = staff("orders.view_order"), staff("orders.view_order", "orders.cancel_order")
    assert looker.get(url(Hold)).status_code == 200
    assert buttons(looker, Hold.objects.get()) == set()
    assert looker.post(url(Hold, "release", order.pk), {"reason": "x"}).status_code == 403
    assert staff("shop.view_product").get(url(Hold)).status_code == 403
    assert buttons(clerk, Hold.objects.get()) == {"release"}
    assert url(Hold) in looker.get("/admin/").content.decode()
    assert status_of(order) == "pending"


# --- Notes ------------------------------------------------------------------------------------------


def test_operators_keep_notes_that_the_buyer_does_not_see(desk, operator, buyer):
    (option,) = make_options([10])
    order = make_order(buyer, (option, 1))
    address = url(Order, "note", order.pk)
    assert desk.post(address, {"text": "  "}).context["form"].errors
    assert desk.post(address, {"text": "x" * (MAX_NOTE + 1)}).context["form"].errors
    page = desk.post(address, {"text": "Called: <b>wants</b> blue"}, follow=True)
    assert said(page) == [f"{order.number}: note kept."]
    note = OrderNote.objects.get()
    assert (note.author, note.order_id) == (operator, order.pk)
    assert "Called: &lt;b&gt;wants&lt;/b&gt; blue" in page.content.decode()
    assert desk.get(url(OrderNote), {"q": order.number}).context["cl"].result_count == 1
    shown = Wire(buyer).get(f"orders/{order.number}/")
    assert shown.status_code == 200
    assert "wants" not in shown.content.decode()
    for wrong, problem in (({"text": " "}, Invalid), ({"order_id": 42}, OrderNotFound)):
        with pytest.raises(problem):
            add_note(**({"order_id": order.pk, "author_id": operator.pk, "text": "x"} | wrong))
    assert OrderNote.objects.count() == 1


def test_a_note_needs_its_permission(buyer):
    (option,) = make_options([10])
    order = make_order(buyer, (option, 1))
    looker = staff("orders.view_order")
    assert looker.post(url(Order, "note", order.pk), {"text": "x"}).status_code == 403
    assert not OrderNote.objects.exists()
