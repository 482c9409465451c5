"""What one person made, another one approves."""

import pytest
from django.contrib.auth.models import Group, Permission

from orders.lifecycle import cancel_order, lose_order, ship_order
from orders.models import Order, Refund, Settlement
from orders.payments import by_hand
from orders.payments.services import confirm_transfer
from orders.settlements.services import approve, settle
from shop.models import Role, Store, User
from shop.rights import four_eyes
from shop.rights.four_eyes import FourEyes
from tests.support.desk import act, said, signed_in, text, url
from tests.support.factories import make_options, make_order, make_user
from tests.support.orders import MARCH, delivered, status_of
from tests.support.problems import nothing_changes

pytestmark = pytest.mark.django_db
APPROVE = "orders.approve_settlement"
FIRST, LAST = MARCH


def operator(**fields):
    """Somebody at the desk who may look at settlements and approve them."""
    user = User.objects.create_user(
        f"op{User.objects.count()}@example.com", name="Op", is_staff=True, **fields
    )
    for codename in ("see_all_stores", "view_settlement", "approve_settlement"):
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return user


@pytest.fixture
def draft(buyer):
    (option,) = make_options([5], price=10_000)
    delivered(buyer, (option, 1))
    return settle(FIRST, LAST).written[0]


def test_who_computed_a_settlement_does_not_approve_it(draft):
    maker, other = operator(), operator()
    assert said(act(signed_in(maker), "compute", draft)) == ["1 settlement computed."]
    draft.refresh_from_db()
    assert draft.computed_by == maker
    refusal = said(act(signed_in(maker), "approve", draft, apply="1"))[0]
    assert "another one approves" in refusal
    assert Settlement.objects.get().status == "draft"
    assert said(act(signed_in(other), "approve", draft, apply="1")) == ["1 settlement approved."]
    assert Settlement.objects.get().approved_by == other


def test_what_the_command_computed_anybody_approves_who_may(draft):
    maker, _other = operator(), operator()
    act(signed_in(maker), "compute", draft)
    settle(FIRST, LAST)
    assert Settlement.objects.get().computed_by is None
    assert approve(draft.pk, actor_id=maker.pk).approved_by == maker


def test_where_one_person_has_the_right_that_one_approves(draft):
    maker = operator()
    settle(FIRST, LAST, actor_id=maker.pk)
    assert approve(draft.pk, actor_id=maker.pk).approved_by == maker


@pytest.mark.parametrize(("setting", "refused"), [("0", False), ("1", True)])
def test_the_setting_decides_whoever_has_the_right(draft, settings, setting, refused):
    settings.FOUR_EYES = setting
    maker = operator()
    settle(FIRST, LAST, actor_id=maker.pk)
    if refused:
        with pytest.raises(FourEyes):
            approve(draft.pk, actor_id=maker.pk)
    else:
        operator()
        assert approve(draft.pk, actor_id=maker.pk).approved_by == maker


@pytest.mark.parametrize(
    ("second", "counts"),
    [
        ({}, True),
        ({"is_superuser": True}, True),
        ({"is_active": False}, False),
        ({"is_staff": False}, False),
        ({"role": Role.STORE_OWNER}, False),
    ],
)
def test_two_people_are_two_who_can_do_it_at_the_desk(second, counts):
    operator()
    assert not four_eyes.are_needed(APPROVE)
    person = operator()
    User.objects.filter(pk=person.pk).update(**second)
    assert four_eyes.are_needed(APPROVE) == counts


def test_a_right_by_group_counts_once():
    person = operator()
    group = Group.objects.create(name="Approvers")
    for codename in ("see_all_stores", "approve_settlement"):
        group.permissions.add(Permission.objects.get(codename=codename))
    person.groups.add(group)
    assert not four_eyes.are_needed(APPROVE)
    other = make_user()
    User.objects.filter(pk=other.pk).update(is_staff=True)
    other.groups.add(group)
    assert four_eyes.are_needed(APPROVE)


# --- Nobody decides of their own orders and their own store ---------------------------------------------


@pytest.fixture
def own(settings, option):
    """An operator's own order, and another operator."""
    settings.FOUR_EYES = "1"
    return make_order(make_user(staff=True, address=True), (option, 1)), make_user(staff=True)


def test_nobody_confirms_their_own_order_whichever_way_they_ask(own):
    order, other = own
    with nothing_changes(), pytest.raises(FourEyes):
        confirm_transfer(order_id=order.pk, actor_id=order.buyer_id)
    confirm_transfer(order_id=order.pk, actor_id=other.pk)
    assert status_of(order) == "paid"


def test_nobody_says_that_their_own_refund_went_out(own):
    order, other = own
    third = make_user(staff=True)
    confirm_transfer(order_id=order.pk, actor_id=other.pk)
    cancel_order(order_id=order.pk, actor_id=other.pk)
    refund = Refund.objects.get()
    with nothing_changes(), pytest.raises(FourEyes):
        by_hand.pay_out(refund, actor_id=order.buyer_id)
    assert "ask somebody else" in said(act(signed_in(order.buyer), "paid-out", refund))[0]
    by_hand.pay_out(refund, actor_id=third.pk)
    assert Refund.objects.get().status == "done"


def test_nobody_says_that_their_own_parcel_was_lost(own):
    order, other = own
    confirm_transfer(order_id=order.pk, actor_id=other.pk)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=other.pk)
    with nothing_changes(), pytest.raises(FourEyes):
        lose_order(order_id=order.pk, actor_id=order.buyer_id, reason="lost")
    page = signed_in(order.buyer).post(url(Order, "lose", order.pk), {"reason": "lost"})
    assert "ask somebody else" in text(page)
    lose_order(order_id=order.pk, actor_id=other.pk, reason="lost")
    assert status_of(order) == "returned"


def test_nobody_approves_what_their_own_store_is_owed(draft, settings):
    settings.FOUR_EYES = "1"
    owner, other = make_user(staff=True), make_user(staff=True)
    Store.objects.filter(pk=draft.store_id).update(owner=owner)
    with nothing_changes(), pytest.raises(FourEyes):
        approve(draft.pk, actor_id=owner.pk)
    assert "another one approves" in said(act(signed_in(owner), "approve", draft, apply="1"))[0]
    assert approve(draft.pk, actor_id=other.pk).approved_by == other


def test_what_nobody_made_is_nobodys_own():
    first, _second = operator(), operator()
    four_eyes.refuse_own(APPROVE, made_by=None, actor_id=first.pk)
    with pytest.raises(FourEyes):
        four_eyes.refuse_own(APPROVE, made_by=first.pk, actor_id=first.pk)
