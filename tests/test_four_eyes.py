"""What one person made, another one approves."""

import pytest
from django.contrib.auth.models import Group, Permission

from orders.models import Settlement
from orders.settlements.services import approve, settle
from shop import four_eyes
from shop.four_eyes import FourEyes
from shop.models import Role, User
from tests.support.desk import act, said, signed_in
from tests.support.factories import make_options, make_user
from tests.support.orders import MARCH, delivered

pytestmark = pytest.mark.django_db
APPROVE = "orders.approve_settlement"
FIRST, LAST = MARCH


def operator(**fields):
    """Somebody at the desk who may look at settlements and approve them."""
    user = User.objects.create_user(
        f"op{User.objects.count()}@example.com", name="Op", is_staff=True, **fields
    )
    for codename in ("view_settlement", "approve_settlement"):
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
    group.permissions.add(Permission.objects.get(codename="approve_settlement"))
    person.groups.add(group)
    assert not four_eyes.are_needed(APPROVE)
    other = make_user()
    User.objects.filter(pk=other.pk).update(is_staff=True)
    other.groups.add(group)
    assert four_eyes.are_needed(APPROVE)


def test_what_nobody_made_is_nobodys_own():
    first, _second = operator(), operator()
    four_eyes.refuse_own(APPROVE, made_by=None, actor_id=first.pk)
    with pytest.raises(FourEyes):
        four_eyes.refuse_own(APPROVE, made_by=first.pk, actor_id=first.pk)
