"""Orders at the operators' desk: from payment to return, and who may do it."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from inventory.models import Stock
from orders.errors import PaymentDeclined
from orders.lifecycle import cancel_order, expire_due
from orders.models import Order, OrderEvent, OrderLine, Payment, Refund
from orders.payments.services import confirm_transfer, pay
from orders.placement.numbers import SLACK, first_id_since
from shop.desk import operations
from shop.models import Option
from tests.support.desk import act, buttons, change_stock, said, signed_in, staff, text, url
from tests.support.factories import ADDRESS, make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.orders import make_order_at as at
from tests.support.orders import status_of

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_an_order_goes_from_the_transfer_to_the_parcel(operator, buyer, option):
    desk, order = signed_in(operator), make_order(buyer, (option, 2))
    page = desk.post(url(Order, "confirm-payment", order.pk), follow=True)
    assert said(page) == [f"{order.number}: paid."]
    incomplete = desk.post(url(Order, "ship", order.pk), {"carrier": "CJ", "tracking_number": ""})
    assert list(incomplete.context["form"].errors) == ["tracking_number"]
    assert 'value="CJ"' in incomplete.content.decode()
    page = desk.post(url(Order, "ship", order.pk), {"carrier": "CJ", "tracking_number": "77"}, follow=True)
    assert said(page) == [f"{order.number}: shipped."]
    assert stock_of(option) == (8, 0)
    desk.post(url(Order, "deliver", order.pk))
    events = OrderEvent.objects.filter(order=order).order_by("id")
    assert [event.to_status for event in events] == ["paid", "shipped", "delivered"]
    assert {event.actor for event in events} == {operator}
    page = desk.get(url(Order, "change", order.pk))
    history = page.content.decode()
    assert history.count(f">{operator}</a>") == 3
    for event in events:
        assert f"{timezone.localtime(event.created_at):%Y-%m-%d %H:%M:%S}" in text(page)
    assert LogEntry.objects.filter(object_id=order.pk).count() == 3
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_many_orders_at_once_and_one_that_cannot(operator, buyer, option, monkeypatch):
    desk = signed_in(operator)
    orders = [make_order(buyer, (option, 1)) for _ in range(3)]
    unknown = make_order(make_user(), (option, 1))
    for order in orders:
        confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    asked = act(desk, "ship", *orders, unknown)
    assert [name for name, _facts, _form in asked.context["rows"]] == [o.number for o in [*orders, unknown]]
    parcels = {f"{o.pk}-carrier": "CJ" for o in [*orders, unknown]}
    parcels |= {f"{o.pk}-tracking_number": f"T{o.pk}" for o in orders}
    incomplete = act(desk, "ship", *orders, unknown, apply=1, **parcels)
    assert f'value="T{orders[0].pk}"' in incomplete.content.decode()
    assert status_of(orders[0]) == "paid"

    parcels[f"{unknown.pk}-tracking_number"] = "T4"
    page = act(desk, "ship", *orders, unknown, apply=1, **parcels)
    assert said(page) == ["3 orders shipped."]
    assert "An order that is pending cannot become shipped." in page.content.decode()
    assert 'value="T4"' in page.content.decode()
    assert Order.objects.get(pk=orders[2].pk).tracking_number == f"T{orders[2].pk}"
    monkeypatch.setattr(operations, "MAX_REPORTED", 1)
    pending = at("pending", buyer, (option, 1))
    assert said(act(desk, "return", *orders, unknown, pending, apply=1, reason="x")) == [
        f"{orders[0].number}: An order that is shipped cannot become returned.",
        "And 4 more were refused.",
    ]
    assert_books_balance()


def test_an_action_takes_a_bounded_number_and_tells_of_orders_that_left_the_list(
    desk, buyer, option, monkeypatch
):
    pending, cancelled = at("pending", buyer, (option, 1)), at("cancelled", buyer, (option, 1))
    chosen = {"action": "cancel", "index": 0, "_selected_action": [pending.pk, cancelled.pk]}
    page = desk.post(
        f"{url(Order)}?status__exact=pending", chosen | {"apply": 1, "note": "Fabric fault"}, follow=True
    )
    assert said(page) == [
        "1 order cancelled.",
        f"{cancelled.number}: An order that is cancelled cannot become cancelled.",
    ]
    monkeypatch.setattr(operations, "MAX_AT_ONCE", 1)
    assert said(act(desk, "return", pending, cancelled)) == ["At most 1 at once: select fewer."]


@pytest.mark.django_db(transaction=True)
def test_orders_are_cancelled_after_a_question_and_with_a_note(operator, buyer, option):
    desk = signed_in(operator)
    pending, paid = at("pending", buyer, (option, 1)), at("paid", buyer, (option, 2))
    asked = act(desk, "cancel", pending, paid)
    assert "This cannot be undone." in asked.content.decode()
    assert stock_of(option) == (10, 3)
    assert act(desk, "cancel", pending, paid, apply=1).context["rows"][0][2].errors  # no note
    assert said(act(desk, "cancel", pending, paid, apply=1, note="Fabric fault")) == ["2 orders cancelled."]
    assert stock_of(option) == (10, 0)
    assert set(OrderEvent.objects.filter(to_status="cancelled").values_list("note", flat=True)) == {
        "Fabric fault"
    }
    assert Refund.objects.get().amount == 20_000
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_units_come_back_line_by_line(operator, buyer):
    desk = signed_in(operator)
    shirt, coat = make_options([5, 5], price=10_000)
    order = at("delivered", buyer, (shirt, 2), (coat, 1))
    address = url(Order, "return", order.pk)
    form = {f"line-{shirt.pk}": 1, f"line-{coat.pk}": "", "reason": "Too small"}
    assert "Say how many units came back." in desk.post(address, {"reason": "x"}).content.decode()
    too_many = desk.post(address, form | {f"line-{shirt.pk}": 3})
    assert list(too_many.context["form"].errors) == [f"line-{shirt.pk}"]
    assert said(desk.post(address, form, follow=True)) == [f"{order.number}: units taken back."]
    assert status_of(order) == "delivered"
    assert stock_of(shirt) == (4, 0)
    assert Refund.objects.get().amount == 10_000

    assert said(act(desk, "return", order, apply=1, reason="Too small too")) == ["1 order returned."]
    assert status_of(order) == "returned"
    assert stock_of(shirt) == stock_of(coat) == (5, 0)
    assert_books_balance()


def test_a_page_offers_what_the_state_allows_and_nothing_else(desk, buyer, option):
    offered = {
        status: buttons(desk, at(status, buyer, (option, 1)))
        for status in ("pending", "paid", "shipped", "delivered", "cancelled")
    }
    assert offered == {
        "pending": {"confirm-payment", "cancel", "note"},
        "paid": {"ship", "correct-address", "cancel", "note"},
        "shipped": {"deliver", "correct-tracking", "lose", "note"},
        "delivered": {"return", "correct-tracking", "note"},
        "cancelled": {"note"},
    }


def test_a_transition_that_is_not_allowed_is_refused_in_words(desk, buyer, option):
    order = at("pending", buyer, (option, 1))
    page = desk.get(url(Order, "ship", order.pk), follow=True)
    assert said(page) == [f"{order.number}: this is not possible now."]
    page = desk.post(url(Order, "ship", order.pk), {"carrier": "CJ", "tracking_number": "1"})
    assert "An order that is pending cannot become shipped." in page.content.decode()
    for operation in ("deliver", "return"):
        assert desk.post(url(Order, operation, order.pk), {"reason": "x"}).status_code == 200
    assert status_of(order) == "pending"
    assert desk.post(url(Order, "ship", 42)).status_code == 302


def test_a_transfer_that_comes_too_late_is_refunded_and_the_operator_told(desk, buyer, option):
    order = make_order(buyer, (option, 10))
    pay(order_id=order.pk, provider="manual", actor_id=buyer.pk)
    Order.objects.filter(pk=order.pk).update(expires_at="2020-01-01T00:00:00Z")
    assert expire_due() == 1
    make_order(make_user(), (option, 1))
    assert buttons(desk, Order.objects.get(pk=order.pk)) == {"confirm-payment", "note"}
    page = desk.post(url(Order, "confirm-payment", order.pk), follow=True)
    note = "The payment came after the hold had expired and the units were gone: it was refunded."
    assert said(page) == [f"{order.number}: {note}"]
    assert status_of(order) == "expired"
    assert Refund.objects.get().amount == order.total


def test_refunds_of_transfers_are_marked_as_paid_out(desk, buyer, option):
    by_hand, by_card = make_order(buyer, (option, 1)), make_order(buyer, (option, 1))
    confirm_transfer(order_id=by_hand.pk, actor_id=buyer.pk)
    pay(order_id=by_card.pk, provider="sandbox", token="ok", actor_id=buyer.pk)
    for order in (by_hand, by_card):
        cancel_order(order_id=order.pk, actor_id=buyer.pk)
    manual = Refund.objects.get(payment__order=by_hand)
    sandbox = Refund.objects.get(payment__order=by_card)
    assert (manual.status, sandbox.status) == ("due", "done")
    assert (buttons(desk, manual), buttons(desk, sandbox)) == ({"paid-out"}, set())
    assert said(act(desk, "paid-out", manual, sandbox)) == [
        "1 refund marked as paid out.",
        f"10,000 won for {by_card.number}: The provider pays this one out by itself.",
    ]
    manual.refresh_from_db()
    assert (manual.status, manual.done_at is None) == ("done", False)


def test_orders_and_money_are_only_read(desk, buyer, option):
    order = at("paid", buyer, (option, 1))
    cancel_order(order_id=order.pk, actor_id=buyer.pk)
    for model in (Order, OrderLine, OrderEvent, Payment, Refund):
        record = model._default_manager.order_by("-pk").first()
        assert desk.get(url(model, "add")).status_code == 403
        for page in ("change", "delete"):
            assert desk.post(url(model, page, record.pk), {"post": "yes"}).status_code == 403
        assert "delete_selected" not in desk.get(url(model)).content.decode()
    assert (
        "card token" not in desk.get(url(Payment, "change", order.payments.get().pk)).content.decode().lower()
    )


@pytest.mark.parametrize(
    ("days_ago", "found"), [(0, {"today", "7", "30", "365"}), (3, {"7", "30", "365"}), (400, set())]
)
def test_orders_are_filtered_by_when_they_were_placed(desk, buyer, option, days_ago, found):
    order = make_order(buyer, (option, 1))
    assert first_id_since(order.created_at) < order.pk < first_id_since(order.created_at + 2 * SLACK)
    Order.objects.filter(pk=order.pk).update(created_at=order.created_at - timedelta(days=days_ago))
    lists = {days: desk.get(url(Order), {"ordered": days}) for days in ("today", "7", "30", "365")}
    assert {days for days, page in lists.items() if page.context["cl"].result_count} == found


def test_the_list_says_what_was_bought_by_whom_where_to_and_how_it_was_paid(desk, operator):
    buyer = make_user("buyer@example.com", address=True)
    shirts = make_options([5, 5, 5], name="Linen shirt", price=10_000)
    order = make_order(buyer, (shirts[0], 2), (shirts[1], 1), (shirts[2], 1))
    waiting = make_order(make_user(), (shirts[1], 1))
    Option.objects.filter(pk=shirts[0].pk).update(size="XL", color="Navy")  # that was sold as size 0
    with pytest.raises(PaymentDeclined):
        pay(order_id=order.pk, provider="sandbox", token="decline", shipping=ADDRESS, actor_id=buyer.pk)
    pay(order_id=order.pk, provider="sandbox", token="ok", shipping=ADDRESS, actor_id=buyer.pk)
    page = text(desk.get(url(Order)))
    for words in (
        f"{order.number} paid 2 × Linen shirt 0 · +2 more buyer@example.com Kim Minji, 5 Seongsui-ro",
        "40,000 sandbox: approved",
        f"{waiting.number} pending 1 × Linen shirt",
    ):
        assert words in page
    clerk = text(staff("orders.view_order").get(url(Order)))
    assert "2 × Linen shirt" in clerk
    assert "40,000" in clerk
    assert "sandbox" not in clerk


# --- Permissions ----------------------------------------------------------------------------------


def test_who_may_only_look_gets_no_buttons_and_no_way_around_them(buyer, option):
    order = at("paid", buyer, (option, 1))
    cancel_order(order_id=at("paid", buyer, (option, 1)).pk, actor_id=buyer.pk)
    refund = Refund.objects.get()
    clerk = staff("inventory.view_stock", "orders.view_order", "orders.view_refund")
    for record, names in (
        (option.stock, ("receive", "adjust", "transfer", "count")),
        (
            order,
            ("confirm-payment", "ship", "deliver", "cancel", "return", "note", "lose", "correct-address"),
        ),
        (refund, ("paid-out",)),
    ):
        assert buttons(clerk, record) == set()
        actions = clerk.get(url(type(record))).context["action_form"]
        assert not actions or dict(actions.fields["action"].choices).keys() <= {"", "print_packing_lists"}
        for operation in names:
            address = url(type(record), operation, record.pk)
            assert clerk.get(address).status_code == 403
            assert clerk.post(address, {"quantity": 1, "delta": 1, "reason": "x"}).status_code == 403
    assert clerk.get(url(Order, "ship", 42)).status_code == 403
    act(clerk, "cancel", order, apply=1, note="x")
    assert status_of(order) == "paid"
    assert stock_of(option) == (10, 1)


def test_an_operations_permission_is_enough_to_operate(buyer, option):
    clerk = staff(
        "inventory.view_stock", "inventory.receive_stock", "orders.view_order", "orders.confirm_payment"
    )
    change_stock(clerk, "receive", option.stock, quantity=1, reason="Delivery")
    assert stock_of(option) == (11, 0)
    order = make_order(buyer, (option, 1))
    done = clerk.post(url(Order, "confirm-payment", order.pk), follow=True)
    assert said(done)[-1] == f"{order.number}: paid."
    page = clerk.get(url(Order, "change", order.pk)).content.decode()
    assert option.sku in page
    assert order.payments.get().reference not in page


def test_nothing_is_done_without_the_csrf_token_or_by_get(operator, buyer, option):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    order = at("paid", buyer, (option, 1))
    assert strict.post(url(Order, "cancel", order.pk), {"note": "x"}).status_code == 403
    assert strict.get(url(Order, "cancel", order.pk), {"note": "x"}).status_code == 200
    assert (
        strict.get(url(Stock, "receive", option.stock.pk), {"quantity": 5, "reason": "x"}).status_code == 200
    )
    assert status_of(order) == "paid"
    assert stock_of(option) == (10, 1)
