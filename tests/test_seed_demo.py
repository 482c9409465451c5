"""seed_demo: the logins work, the numbers are met, and the history's books balance to the unit."""

from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import F
from django.utils import timezone

from inventory.models import Movement, Stock
from orders import states
from orders.demo.history import History
from orders.lifecycle import expire_due, return_order
from orders.models import Order, OrderEvent, OrderLine, Payment, Refund, SettlementEntry, Status
from shop.models import Option, Product, Store, User
from tests.support.invariants import assert_books_balance

pytestmark = pytest.mark.django_db


def seed(**options: Any) -> str:
    out = StringIO()
    numbers = {"products": 3, "buyers": 4, "stock": 5, "orders": 0} | options
    call_command("seed_demo", **numbers, stdout=out, stderr=StringIO())
    return out.getvalue()


def available() -> set[int]:
    return set(Stock.objects.values_list(F("on_hand") - F("reserved"), flat=True))


def test_logins_and_what_they_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PASSWORD", "another-password")
    seed()
    buyer, owner, operator = (
        User.objects.get(email=f"{who}@demo.yousinsa.test") for who in ("buyer", "owner", "operator")
    )
    assert (buyer.role, owner.role) == ("buyer", "store_owner")
    assert buyer.address1
    assert operator.is_staff
    assert operator.is_superuser
    assert all(user.check_password("another-password") for user in (buyer, owner, operator))
    store = Store.objects.get(owner=owner)
    assert store.status == Store.Status.ACCEPTED
    assert Product.objects.filter(store=store).count() == 3
    assert User.objects.filter(email__startswith="buyer").count() == 5


def test_products_have_options_with_the_stock_asked_for() -> None:
    assert "3 products, 4 buyers and 0 orders added" in seed(stock=7)
    assert Option.objects.count() == 24
    assert available() == {7}
    assert {"top", "outer", "pants"} == set(Product.objects.values_list("category__slug", flat=True))
    assert Product.objects.values("name").distinct().count() == 3
    assert_books_balance()


@pytest.mark.parametrize("stock", [0, 50])
def test_the_history_balances_and_has_every_status(stock: int) -> None:
    seed(orders=400, stock=stock)
    assert Order.objects.count() == 400
    assert set(Order.objects.values_list("status", flat=True)) == set(Status.values)
    assert available() == {stock}
    assert {"receive", "reserve", "ship", "release", "restock"} <= set(
        Movement.objects.values_list("kind", flat=True)
    )
    assert_books_balance()
    assert_orders_tell_their_story()
    for stock_id in Stock.objects.values_list("id", flat=True):
        times = Movement.objects.filter(stock=stock_id).order_by("sequence")
        assert all(a <= b for a, b in pairwise(times.values_list("created_at", flat=True)))


def assert_orders_tell_their_story() -> None:
    """Events lead from pending to the status by allowed steps; lines, money and times agree with it."""
    now = timezone.now()
    previous = None
    for order in Order.objects.order_by("id").prefetch_related("lines", "events", "payments__refunds"):
        status: str = Status.PENDING
        for event in sorted(order.events.all(), key=lambda event: event.id):
            assert event.from_status == status
            assert states.allowed(status, event.to_status)
            assert order.created_at <= event.created_at <= now
            status = event.to_status
        assert status == order.status
        assert order.total == sum(line.quantity * line.unit_price for line in order.lines.all())
        paid = any(event.to_status == Status.PAID for event in order.events.all())
        assert [p.amount for p in order.payments.all()] == ([order.total] if paid else [])
        back = paid and status in (Status.CANCELLED, Status.RETURNED)
        assert [r.amount for p in order.payments.all() for r in p.refunds.all()] == [order.total] * back
        assert all(
            (line.returned == line.quantity) == (status == Status.RETURNED) for line in order.lines.all()
        )
        assert (order.expires_at > now) or status != Status.PENDING
        assert previous is None or previous <= order.created_at
        previous = order.created_at


def test_a_second_run_adds_what_is_missing_and_refills_the_stock() -> None:
    seed(orders=30)
    first = dict(Order.objects.values_list("number", "id"))
    before = Movement.objects.count()
    assert "0 products, 0 buyers and 0 orders added, the stock of 0 options" in seed(orders=30)
    assert Movement.objects.count() == before

    assert "1 product, 2 buyers and 20 orders added" in seed(products=4, buyers=6, orders=50, stock=2)
    assert first.items() <= dict(Order.objects.values_list("number", "id")).items()
    assert available() == {2}
    assert_books_balance()
    assert_orders_tell_their_story()


def test_an_interrupted_history_balances_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.demo.seeding.ORDERS_PER_COMMIT", 50)
    written = []

    def write(self: History, periods: Any) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(periods)
        original(self, periods)

    original = History.write
    with monkeypatch.context() as patched:
        patched.setattr(History, "write", write)
        with pytest.raises(CommandError, match="goes on here"):
            seed(orders=400)
    assert 200 <= Order.objects.count() < 400
    assert_books_balance()

    seed(orders=400)
    assert Order.objects.count() == 400
    assert_books_balance()
    assert_orders_tell_their_story()


def test_the_shop_goes_on_from_the_history() -> None:
    seed(orders=100)
    delivered = Order.objects.filter(status=Status.DELIVERED).last()
    assert delivered is not None
    return_order(order_id=delivered.pk, units=None, actor_id=None)
    Order.objects.filter(status=Status.PENDING).update(expires_at=timezone.now())
    assert expire_due() == 2
    assert_books_balance()


def test_the_same_numbers_give_the_same_history() -> None:
    def history() -> list[Any]:
        for model in (
            Refund, Payment, OrderEvent, SettlementEntry, OrderLine, Order, Movement, Stock, Option, Product,
        ):  # fmt: skip
            model.objects.all().delete()
        seed(orders=60)
        return list(
            OrderLine.objects.order_by("order_id", "id").values_list(
                "order__number", "order__status", "order__buyer__email", "option__sku", "quantity"
            )
        )

    assert history() == history()


def test_if_empty_leaves_a_shop_with_products_alone() -> None:
    seed(if_empty=True)
    assert Product.objects.count() == 3
    assert "no demo data was added" in seed(products=9, orders=9, if_empty=True)
    assert (Product.objects.count(), Order.objects.count()) == (3, 0)


def test_orders_need_products() -> None:
    with pytest.raises(CommandError, match="--products"):
        seed(products=0, orders=1)
