"""Payments of replayed orders: nobody pays with `imported`, and what goes back is transferred by hand."""

from collections.abc import Callable

import pytest
from django.test import Client

from orders.lifecycle import return_order
from orders.models import Payment, Refund
from orders.payments.refunds import pay_out_due
from orders.payments.services import pay
from tests.support.desk import act, buttons, said, text, url
from tests.support.factories import ADDRESS, make_options, make_order, make_user
from tests.support.replay import line, order
from yousinsa.errors import Invalid

pytestmark = pytest.mark.django_db


def test_nobody_pays_with_it() -> None:
    (option,) = make_options([5])
    buyer = make_user()
    placed = make_order(buyer, (option, 1))
    with pytest.raises(Invalid) as refused:
        pay(order_id=placed.pk, provider="imported", shipping=ADDRESS, actor_id=buyer.pk)
    assert "manual, sandbox" in str(refused.value.errors["provider"])
    assert not Payment.objects.exists()


def test_what_goes_back_waits_for_a_person(replay: Callable[..., str], desk: Client) -> None:
    replay(line(1, "A1", 2))
    return_order(order_id=order("1").pk, units=None, actor_id=make_user().pk)
    refund = Refund.objects.get()
    assert (refund.status, refund.payment.provider) == ("due", "imported")
    assert pay_out_due() == 0
    assert buttons(desk, refund) == {"paid-out"}
    assert said(act(desk, "paid-out", refund)) == ["1 refund marked as paid out."]
    refund.refresh_from_db()
    assert refund.status == "done"


def test_the_desk_says_what_it_is(replay: Callable[..., str], desk: Client) -> None:
    replay(line(1, "A1", 2), line("C2", "A1", -1))
    for model in (Payment, Refund):
        assert "imported (paid before, elsewhere)" in text(desk.get(url(model, "changelist")))
