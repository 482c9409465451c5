"""What Redis admits and cannot judge: buyers who are not there any more, keys that were used elsewhere."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.drops.admission import second_look
from orders.drops.admission.second_look import _look_up
from orders.models import Order
from orders.models.drops import DeadLetter, Lane
from shop.models import User
from tests.support.drops import REDIS_LANES, assert_all_adds_up, drain_all, left_in_redis, make_drop
from tests.support.factories import make_options, make_order, make_user
from tests.support.problems import problem
from tests.support.wire import Wire, token_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_redis")]


def gone(user):
    user.delete()


def inactive(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def withdrawn(user):
    User.objects.filter(pk=user.pk).update(withdrawn_at=timezone.now())


@pytest.mark.parametrize("lane", Lane.values)
@pytest.mark.parametrize("leave", [gone, inactive, withdrawn])
@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}], ids=["no key", "key"])
def test_a_token_outlives_its_account_and_buys_nothing(lane, leave, headers):
    (option,) = make_options([10])
    drop = make_drop((option, 2), lane=lane, limit=2)
    user = make_user()
    wire = Wire(token=token_of(user))
    leave(user)
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 2}]}
    for _ in range(2):
        refused = problem(wire.post("orders/", body, **headers), 401, "not_authenticated")
        assert refused["title"] == "This account is no longer open: sign in again."
    drain_all()
    assert Order.objects.count() == 0
    assert_all_adds_up()
    # What nobody was given is there for others.
    assert Wire(make_user()).post("orders/", body, **headers).status_code in (201, 202)
    drain_all()
    assert Order.objects.count() == 1
    assert_all_adds_up()


@pytest.mark.parametrize("lane", REDIS_LANES)
def test_while_the_database_cannot_be_asked_what_was_admitted_stands(lane, monkeypatch):
    (option,) = make_options([10])
    drop = make_drop((option, 2), lane=lane)
    user = make_user()
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]}
    monkeypatch.setattr(second_look.User._meta, "db_table", "not_there")
    assert Wire(user).post("orders/", body).status_code == 202
    monkeypatch.undo()
    drain_all()
    assert Order.objects.get().buyer == user


@pytest.mark.parametrize("lane", REDIS_LANES)
def test_what_redis_itself_refuses_is_not_taken_back(lane):
    (option,) = make_options([10])
    drop = make_drop((option, 5), lane=lane, limit=5)
    wire = Wire(make_user())
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]}
    assert wire.post("orders/", body, Idempotency_Key="k").status_code == 202
    other = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 2}]}
    problem(wire.post("orders/", other, Idempotency_Key="k"), 422, "idempotency_key_reused")
    assert DeadLetter.objects.count() == 0
    assert left_in_redis(drop, option) == 4


def test_a_group_is_one_question():
    (option,) = make_options([10])
    here, away, other = make_user(), make_user(), make_user()
    order = make_order(here, (option, 1), key="k")
    inactive(away)
    keys = [(here.pk, "k"), (here.pk, "K"), (other.pk, "k")]
    with CaptureQueriesContext(connection) as asked:
        found = _look_up({here.pk, away.pk, other.pk, 987_654_321}, keys)
    assert len(asked) == 1
    assert found == ({here.pk, other.pk}, {(here.pk, "k"): order.number})
