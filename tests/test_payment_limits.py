"""Cards are not tried out here, and none is approved that nobody charged."""

import pytest

from orders.models import Payment
from tests.support.factories import ADDRESS, make_options, make_order, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db

DECLINED = {"provider": "sandbox", "token": "decline", "shipping": ADDRESS}


def test_a_card_after_another_on_one_order_is_throttled(order):
    wire, path = Wire(order.buyer), f"orders/{order.number}/pay/"
    assert [wire.post(path, DECLINED).status_code for _ in range(10)] == [402] * 10
    with nothing_changes():
        for _ in range(20):
            refused = wire.post(path, DECLINED)
            problem(refused, 429, "throttled")
    assert 1 <= int(refused["Retry-After"]) <= 6
    assert Payment.objects.count() == 10


def test_a_buyer_and_an_address_have_budgets_over_all_orders(settings):
    settings.PAYMENT_RATE = "1/min"
    settings.UNPAID_ORDERS = 0
    (option,) = make_options([200])

    def attempt(buyer, **headers):
        number = make_order(buyer, (option, 1)).number
        return Wire(buyer).post(f"orders/{number}/pay/", DECLINED, **headers).status_code

    buyer = make_user()
    assert [attempt(buyer) for _ in range(4)] == [402] * 3 + [429]
    statuses = [attempt(make_user()) for _ in range(30)]
    assert statuses == [402] * 27 + [429] * 3


def test_the_sandbox_is_offered_only_where_it_is_switched_on(order, settings):
    settings.PAYMENT_SANDBOX = False
    body = {"provider": "sandbox", "token": "ok", "shipping": ADDRESS}
    with nothing_changes():
        answer = Wire(order.buyer).post(f"orders/{order.number}/pay/", body)
        assert "manual" in problem(answer, 400, "invalid", "provider")["errors"][0]["message"]
    body["provider"] = "manual"
    assert Wire(order.buyer).post(f"orders/{order.number}/pay/", body).status_code == 200
