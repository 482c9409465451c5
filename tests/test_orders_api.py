"""A purchase over HTTP, from the last shirt to the return."""

import pytest

from inventory.models import Movement
from orders.lifecycle import deliver_order, expire_due, ship_order
from orders.models import Order, Status
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance

pytestmark = pytest.mark.django_db


def buy(api, user, option, quantity=1, **headers):
    return api(user).post("orders/", {"lines": [{"option": option.pk, "quantity": quantity}]}, **headers)


def test_the_last_shirt_is_sold_once_and_the_next_shopper_is_told(api, buyer):
    (option,) = make_options([1], price=39_000)
    first = buy(api, buyer, option)
    assert first.status_code == 201, first.content
    body = first.json()
    assert first["Location"].endswith(f"/api/v1/orders/{body['number']}/")
    assert (body["status"], body["total"]) == ("pending", 39_000)
    assert body["lines"][0] | {"returned": 0} == body["lines"][0]
    assert body["lines"][0]["sku"] == option.sku

    second = buy(api, make_user(), option)
    assert second.status_code == 409
    assert second["Content-Type"] == "application/problem+json"
    assert second.json()["code"] == "insufficient_stock"
    assert second.json()["lines"] == [{"option": option.pk, "requested": 1, "available": 0}]
    assert stock_of(option) == (1, 1)
    assert_books_balance()


def test_same_option_on_two_lines_is_summed_before_it_is_checked(api, buyer):
    (option,) = make_options([3])
    lines = [{"option": option.pk, "quantity": 2}, {"option": option.pk, "quantity": 2}]
    refused = api(buyer).post("orders/", {"lines": lines})
    assert refused.status_code == 409
    assert refused.json()["lines"] == [{"option": option.pk, "requested": 4, "available": 3}]
    lines[1]["quantity"] = 1
    placed = api(buyer).post("orders/", {"lines": lines})
    assert [line["quantity"] for line in placed.json()["lines"]] == [3]
    assert_books_balance()


def test_from_payment_to_return(api, buyer):
    first, second = make_options([5, 5], price=1_000)
    lines = [{"option": first.pk, "quantity": 2}, {"option": second.pk, "quantity": 1}]
    number = api(buyer).post("orders/", {"lines": lines}).json()["number"]
    paid = api(buyer).post(f"orders/{number}/pay/", {"provider": "sandbox", "token": "tok-approve"})
    assert paid.status_code == 200, paid.content
    assert paid.json()["status"] == "paid"
    assert paid.json()["shipping"]["recipient"] == "Kim Minji"
    order = Order.objects.get(number=number)
    clerk = make_user(staff=True)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="123", actor_id=clerk.pk)
    assert stock_of(first) == (3, 0)
    deliver_order(order_id=order.pk, actor_id=clerk.pk)
    part = {"lines": [{"option": first.pk, "quantity": 1}]}
    some = api(buyer).post(f"orders/{number}/return/", part)
    assert some.json()["status"] == "delivered"
    assert some.json()["payment"]["refunded"] == 1_000
    rest = api(buyer).post(f"orders/{number}/return/", {})
    assert rest.json()["status"] == "returned"
    assert rest.json()["payment"]["refunded"] == 3_000
    assert (stock_of(first), stock_of(second)) == ((5, 0), (5, 0))
    again = api(buyer).post(f"orders/{number}/return/", {})
    assert (again.status_code, again.json()["code"]) == (409, "invalid_transition")
    kinds = Movement.objects.filter(reference=number).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["reserve", "reserve", "ship", "ship", "restock", "restock", "restock"]
    assert_books_balance()


def test_an_expired_hold_is_sellable_at_once(api, buyer, settings):
    settings.ORDER_HOLD_MINUTES = 0
    (option,) = make_options([1])
    number = buy(api, buyer, option).json()["number"]
    assert expire_due() == 1
    assert expire_due() is None
    assert Order.objects.get(number=number).status == Status.EXPIRED
    assert buy(api, make_user(), option).status_code == 201
    late = api(buyer).post(f"orders/{number}/pay/", {"provider": "sandbox"})
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")
    assert_books_balance()


def test_a_key_names_one_order(api, buyer):
    (option,) = make_options([5])
    first = buy(api, buyer, option, Idempotency_Key="k-1")
    again = buy(api, buyer, option, Idempotency_Key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["number"] == first.json()["number"]
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    other = buy(api, buyer, option, 2, Idempotency_Key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    # Keys are told apart byte by byte, and belong to their buyer.
    assert buy(api, buyer, option, Idempotency_Key="K-1").json()["number"] != first.json()["number"]
    assert buy(api, make_user(), option, Idempotency_Key="k-1").json()["number"] != first.json()["number"]
    assert_books_balance()


def test_a_refused_order_does_not_bind_its_key(api, buyer):
    sold_out, there = make_options([0, 5])
    assert buy(api, buyer, sold_out, Idempotency_Key="k").status_code == 409
    assert buy(api, buyer, there, Idempotency_Key="k").status_code == 201
    # The order that the key names is repeated even when nothing is left.
    assert buy(api, buyer, there, 5, Idempotency_Key="other").status_code == 409
    assert buy(api, buyer, there, 4, Idempotency_Key="rest").status_code == 201
    again = buy(api, buyer, there, Idempotency_Key="k")
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")


def test_another_buyers_order_is_not_there(api, buyer):
    (option,) = make_options()
    number = buy(api, buyer, option).json()["number"]
    stranger = api(make_user())
    for method, path in (
        ("GET", f"orders/{number}/"),
        ("POST", f"orders/{number}/cancel/"),
        ("POST", f"orders/{number}/return/"),
    ):
        assert stranger(method, path).status_code == 404
    assert stranger.post(f"orders/{number}/pay/", {"provider": "sandbox"}).status_code == 404
    assert stranger.get("orders/").json()["results"] == []
    assert [o["number"] for o in api(buyer).get("orders/").json()["results"]] == [number]


def test_metrics_count_what_became_of_orders(api, buyer):
    def counted(outcome):
        text = api().get("/metrics").content.decode()
        name = f'yousinsa_order_requests_total{{outcome="{outcome}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    (option,) = make_options([1])
    before = [counted(outcome) for outcome in ("placed", "replayed", "insufficient_stock")]
    buy(api, buyer, option, Idempotency_Key="k")
    buy(api, buyer, option, Idempotency_Key="k")
    buy(api, buyer, option)
    after = [counted(outcome) for outcome in ("placed", "replayed", "insufficient_stock")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
