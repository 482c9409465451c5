"""A parcel that arrives nowhere: the money goes back, no unit is for sale, every book stays exact."""

import pytest
from django.core.management import call_command

from inventory.models import Movement
from orders.errors import InvalidTransition
from orders.lifecycle import cancel_order, deliver_order, lose_order, return_order
from orders.lifecycle.losing import LOST, MAX_REASON
from orders.models import Order, OrderEvent, Refund, SettlementEntry, Status
from orders.settlements.services import settle
from tests.support.concurrency import in_threads
from tests.support.desk import buttons, said, signed_in, staff, url
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import MARCH, date_what_is_new, status_of
from tests.support.orders import make_order_at as at
from tests.support.problems import nothing_changes, problem
from tests.support.races import goes_wrong, nothing_locked
from yousinsa.errors import Invalid, Problem

pytestmark = pytest.mark.django_db
WHY = "fell into the Han river"


@pytest.fixture
def parcel(buyer):
    """A shipped order of two options: two shirts and a coat, five of each there were."""
    shirt, coat = make_options([5, 5], price=10_000)
    return at(Status.SHIPPED, buyer, (shirt, 2), (coat, 1)), shirt, coat


def assert_all_books_agree():
    assert_books_balance()
    assert_money_balances()
    call_command("reconcile_stock")  # each raises where something differs
    call_command("verify_ledger")


def test_the_buyer_gets_the_money_and_the_shop_no_units(parcel, operator):
    order, shirt, coat = parcel
    before = stock_of(shirt), stock_of(coat)
    lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)
    order.refresh_from_db()
    assert (order.status, order.note) == (Status.RETURNED, LOST)
    assert [(line.quantity, line.returned) for line in order.lines.all()] == [(2, 2), (1, 1)]
    assert (stock_of(shirt), stock_of(coat)) == before == ((3, 0), (4, 0))
    assert Refund.objects.values_list("amount", "status").get() == (30_000, "done")
    event = order.events.last()
    assert (event.from_status, event.to_status, event.actor, event.note) == (
        "shipped", "returned", operator, WHY,
    )  # fmt: skip
    assert not order.events.filter(to_status="delivered").exists()
    assert_all_books_agree()


def test_the_ledger_says_what_became_of_each_unit(parcel, operator):
    order, shirt, coat = parcel
    last = Movement.objects.latest("id").pk
    lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)
    written = Movement.objects.filter(pk__gt=last, reference=order.number, actor=operator).order_by("id")
    assert list(written.values_list("stock__option", "kind", "delta_on_hand")) == [
        (shirt.pk, "restock", 2), (shirt.pk, "adjust", -2), (coat.pk, "restock", 1), (coat.pk, "adjust", -1),
    ]  # fmt: skip
    assert set(written.values_list("reason", flat=True)) == {f"lost on its way: {WHY}"}


def test_a_store_is_not_paid_for_what_never_arrived(parcel, operator):
    order, _shirt, _coat = parcel
    lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)
    date_what_is_new("2020-03-10 03:00:00")
    assert not SettlementEntry.objects.exists()
    assert settle(*MARCH).written == []


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.SHIPPED])
def test_only_what_is_on_its_way_can_be_lost(buyer, operator, option, status):
    order = at(status, buyer, (option, 1))
    with nothing_changes(), pytest.raises(InvalidTransition, match="on its way"):
        lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)


def test_a_lost_order_stays_lost(parcel, operator):
    order, shirt, _coat = parcel
    lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)
    for again in (
        lambda: lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY),
        lambda: deliver_order(order_id=order.pk, actor_id=operator.pk),
        lambda: return_order(order_id=order.pk, units={shirt.pk: 1}, actor_id=operator.pk),
        lambda: cancel_order(order_id=order.pk, actor_id=operator.pk),
    ):
        with nothing_changes(), pytest.raises(InvalidTransition):
            again()


@pytest.mark.parametrize("reason", ["", "  ", "x" * (MAX_REASON + 1)])
def test_it_takes_a_reason(parcel, operator, reason):
    with nothing_changes(), pytest.raises(Invalid) as refusal:
        lose_order(order_id=parcel[0].pk, actor_id=operator.pk, reason=reason)
    assert list(refusal.value.errors) == ["reason"]


def test_a_transfers_refund_is_owed_and_not_by_who_lost_it(buyer, operator, option, settings):
    settings.FOUR_EYES = "1"
    order = at(Status.SHIPPED, buyer, (option, 1))
    order.payments.update(provider="manual")
    lose_order(order_id=order.pk, actor_id=operator.pk, reason=WHY)
    refund = Refund.objects.get()
    assert refund.status == "due"
    refused = signed_in(operator).post(url(Refund, "paid-out", refund.pk))
    assert "ask somebody else" in refused.content.decode()
    signed_in(make_user(staff=True)).post(url(Refund, "paid-out", refund.pk))
    assert Refund.objects.get().status == "done"


def test_a_buyer_cannot_take_back_what_is_on_its_way(parcel, buyer, api):
    order, *_options = parcel
    with nothing_changes():
        problem(api(buyer).post(f"orders/{order.number}/return/", {}), 409, "invalid_transition")


def test_at_the_desk_it_takes_a_right_and_a_reason(parcel, operator):
    order, *_options = parcel
    desk, page = signed_in(operator), url(Order, "lose", order.pk)
    assert staff("orders.view_order", "orders.return_order").post(page, {"reason": WHY}).status_code == 403
    assert buttons(staff("orders.view_order", "orders.lose_order"), order) == {"lose"}
    assert list(desk.post(page, {"reason": ""}).context["form"].errors) == ["reason"]
    assert said(desk.post(page, {"reason": WHY}, follow=True)) == [f"{order.number}: marked as lost."]
    assert status_of(order) == "returned"


# --- Lost and delivered at once -------------------------------------------------------------------------


def race_of_loss_and_delivery():
    """One operator hears that it arrived, another one that it was lost: how many are believed."""
    (option,) = make_options([5])
    order = at(Status.SHIPPED, make_user(address=True), (option, 1))
    clerk = make_user(staff=True)

    def decide(index):
        try:
            if index:
                deliver_order(order_id=order.pk, actor_id=clerk.pk)
            else:
                lose_order(order_id=order.pk, actor_id=clerk.pk, reason=WHY)
        except Problem:
            pass

    in_threads(decide, 2)
    return OrderEvent.objects.filter(order=order, from_status="shipped").count()


@pytest.mark.django_db(transaction=True)
def test_a_parcel_is_lost_or_delivered():
    assert race_of_loss_and_delivery() == 1
    assert_all_books_agree()


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_without_locks_it_would_be_both(monkeypatch):
    with nothing_locked(monkeypatch):
        assert goes_wrong(race_of_loss_and_delivery, lambda decided: decided == 1) > 1
