"""What was written down wrongly of an order is corrected: by whom, when it may be, and what is kept of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orders.lifecycle import (
    correct_address,
    correct_tracking,
    deliver_order,
    forget_corrections,
    ship_order,
)
from orders.lifecycle.correcting import KEPT_FOR, TRACKED_FOR, TRACKING_FIELDS, ChangedMeanwhile, version
from orders.lifecycle.withdrawal import withdraw_buyer
from orders.locking import SHIPPING_FIELDS
from orders.models import Order, OrderCorrection, OrderEvent, Status
from shop.models import User
from tests.support.concurrency import in_threads
from tests.support.desk import buttons, said, signed_in, staff, text, url
from tests.support.factories import ADDRESS, make_options, make_user
from tests.support.orders import make_order_at as at
from tests.support.problems import nothing_changes
from tests.support.races import goes_wrong, take_row_locks_away
from yousinsa.errors import Conflict, Invalid

pytestmark = pytest.mark.django_db

ELSEWHERE = ADDRESS | {"address1": "1 Sejong-daero, Seoul", "phone": "010-8765-4321"}


def seen(order, fields=SHIPPING_FIELDS):
    return version(Order.objects.get(pk=order.pk), fields)


def send_elsewhere(order, actor, **changes):
    correct_address(order_id=order.pk, actor_id=actor.pk, seen=seen(order), address={**ELSEWHERE, **changes})


def carry_otherwise(order, actor, number="T-2"):
    correct_tracking(
        order_id=order.pk, actor_id=actor.pk, seen=seen(order, TRACKING_FIELDS), carrier="CJ",
        tracking_number=number,
    )  # fmt: skip


def kept(order):
    return sorted(order.corrections.values_list("field", "before", "after"))


# --- What is corrected, and what is written down of it --------------------------------------------------


def test_a_paid_order_goes_elsewhere_and_who_said_so_is_written_down(operator, buyer, option):
    order = at(Status.PAID, buyer, (option, 1))
    send_elsewhere(order, operator)
    order.refresh_from_db()
    assert (order.address1, order.phone, order.recipient) == (
        "1 Sejong-daero, Seoul", "010-8765-4321", ADDRESS["recipient"],
    )  # fmt: skip
    assert kept(order) == [
        ("address1", ADDRESS["address1"], "1 Sejong-daero, Seoul"),
        ("phone", ADDRESS["phone"], "010-8765-4321"),
    ]
    correction = order.corrections.first()
    assert (correction.actor, timezone.now() - correction.created_at < timedelta(minutes=5)) == (
        operator, True,
    )  # fmt: skip
    assert User.objects.get(pk=buyer.pk).address1 != "1 Sejong-daero, Seoul"  # the profile is the buyer's own


def test_a_tracking_number_is_corrected_on_the_way_and_for_a_while_after(operator, buyer, option):
    order = at(Status.SHIPPED, buyer, (option, 1))
    carry_otherwise(order, operator)
    deliver_order(order_id=order.pk, actor_id=operator.pk)
    carry_otherwise(order, operator, "T-3")
    assert Order.objects.get(pk=order.pk).tracking_number == "T-3"
    assert kept(order) == [("tracking_number", "1", "T-2"), ("tracking_number", "T-2", "T-3")]
    OrderEvent.objects.filter(order=order).update(created_at=timezone.now() - TRACKED_FOR)
    with nothing_changes(), pytest.raises(Conflict, match="30 days ago"):
        carry_otherwise(order, operator, "T-4")


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.PAID])
def test_an_address_is_final_but_for_an_order_that_is_paid(operator, buyer, option, status):
    order = at(status, buyer, (option, 1))
    with nothing_changes(), pytest.raises(Conflict, match="while the order is paid and has not shipped"):
        send_elsewhere(order, operator)


@pytest.mark.parametrize("status", ["pending", "paid", "cancelled", "expired", "returned"])
def test_what_has_not_shipped_or_is_back_has_no_tracking_number_to_correct(operator, buyer, option, status):
    order = at(status, buyer, (option, 1))
    with nothing_changes(), pytest.raises(Conflict, match="only what has shipped"):
        carry_otherwise(order, operator)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"address1": " "}, "address1"), ({"phone": ""}, "phone"), ({"postal_code": "1" * 11}, "postal_code")],
)
def test_an_address_that_leads_nowhere_is_refused_at_its_field(operator, buyer, option, changes, field):
    order = at(Status.PAID, buyer, (option, 1))
    with nothing_changes(), pytest.raises(Invalid) as refusal:
        send_elsewhere(order, operator, **changes)
    assert list(refusal.value.errors) == [field]


def test_a_correction_of_nothing_is_none(operator, buyer, option):
    order = at(Status.PAID, buyer, (option, 1))
    send_elsewhere(order, operator)
    with nothing_changes(), pytest.raises(Invalid, match="Nothing is different"):
        send_elsewhere(order, operator)


# --- Not forever ----------------------------------------------------------------------------------------


def test_what_was_there_before_is_forgotten_in_time_and_that_it_was_corrected_is_not(operator, buyer, option):
    old, young = at(Status.PAID, buyer, (option, 1)), at(Status.PAID, buyer, (option, 1))
    for order in (old, young):
        send_elsewhere(order, operator)
    OrderCorrection.objects.filter(order=old).update(created_at=timezone.now() - KEPT_FOR)
    before = kept(young)
    assert forget_corrections() == 2
    assert kept(old) == [("address1", "", ""), ("phone", "", "")]
    assert set(old.corrections.values_list("actor", flat=True)) == {operator.pk}
    assert kept(young) == before
    assert forget_corrections() == 0


def test_who_leaves_takes_the_addresses_along(operator, buyer, option):
    order = at(Status.PAID, buyer, (option, 1))
    send_elsewhere(order, operator)
    withdraw_buyer(user=buyer)
    assert ("phone", ADDRESS["phone"], "010-8765-4321") in kept(order)  # it is still to be shipped
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=operator.pk)
    deliver_order(order_id=order.pk, actor_id=operator.pk)
    assert kept(order) == [("address1", "", ""), ("phone", "", "")]


# --- At the desk ----------------------------------------------------------------------------------------


def test_the_desk_corrects_shows_who_did_it_and_tells_whose_form_is_stale(operator, buyer, option):
    desk, order = signed_in(operator), at(Status.PAID, buyer, (option, 1))
    address = url(Order, "correct-address", order.pk)
    shown = desk.get(address)
    form = {name: shown.context["form"][name].value() for name in (*SHIPPING_FIELDS, "seen")}
    assert {name: form[name] for name in SHIPPING_FIELDS} == ADDRESS
    page = desk.post(address, form | {"address1": "1 Sejong-daero, Seoul"}, follow=True)
    assert said(page) == [f"{order.number}: address corrected."]
    assert f"{ADDRESS['address1']} → 1 Sejong-daero, Seoul" in text(page)

    stale = desk.post(address, form | {"address1": "2 Nowhere-ro"})
    assert "somebody else has changed this meanwhile. It says now: Kim Minji" in text(stale)
    assert Order.objects.get(pk=order.pk).address1 == "1 Sejong-daero, Seoul"
    again = stale.context["form"]
    assert (again["address1"].value(), again["seen"].value()) == ("2 Nowhere-ro", seen(order))
    desk.post(address, form | {"address1": "2 Nowhere-ro", "seen": again["seen"].value()})
    assert Order.objects.get(pk=order.pk).address1 == "2 Nowhere-ro"

    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=operator.pk)
    late = desk.post(address, form | {"seen": seen(order)})
    assert "It is shipped" in text(late)
    OrderCorrection.objects.update(before="", after="")
    assert "no longer kept" in text(desk.get(url(Order, "change", order.pk)))


def test_it_takes_a_right_of_its_own(buyer, option):
    order = at(Status.PAID, buyer, (option, 1))
    clerk = staff("orders.view_order", "orders.ship_order")
    assert buttons(clerk, order) == {"ship"}
    assert clerk.post(url(Order, "correct-address", order.pk), ELSEWHERE).status_code == 403
    assert buttons(staff("orders.view_order", "orders.correct_order"), order) == {"correct-address"}


# --- Under the order's lock -----------------------------------------------------------------------------


def race_of_two_corrections():
    """Two operators who looked at the same address correct it at once; how many of them were let."""
    (option,) = make_options([5])
    order = at(Status.PAID, make_user(address=True), (option, 1))
    people, mark = [make_user(staff=True) for _ in range(4)], seen(order)

    def correct(index):
        person = people[index]
        try:
            correct_address(
                order_id=order.pk, actor_id=person.pk, seen=mark,
                address=ADDRESS | {"address1": f"{person.pk} Sejong-daero"},
            )  # fmt: skip
        except ChangedMeanwhile:
            return False
        return True

    return sum(in_threads(correct, len(people)))


@pytest.mark.django_db(transaction=True)
def test_of_many_who_looked_at_the_same_address_one_corrects_it():
    assert race_of_two_corrections() == 1


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_without_the_orders_lock_more_than_one_would(monkeypatch):
    take_row_locks_away(monkeypatch, Order)
    assert goes_wrong(race_of_two_corrections, lambda let: let == 1) > 1
