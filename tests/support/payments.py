"""Payments as tests make them: a bank with books of its own, attempts over HTTP, attempts of a minute ago."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from orders.models import Order, Payment
from orders.payments import refunds
from orders.payments.providers import APPROVED, DECLINED, Answer, ProviderTimeout
from shop.models import User
from tests.support.factories import ADDRESS
from tests.support.wire import Answer as HttpAnswer
from tests.support.wire import Wire

OTHER_ADDRESS = {**ADDRESS, "recipient": "Lee Jun", "address1": "1 Sejong-daero", "address2": ""}


class Bank:
    """A provider that keeps books of its own, and looks whether a transaction is open when it is asked."""

    name = "bank"
    answers_at_once = False

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.given_back: dict[str, int] = {}
        self.asked_inside_a_transaction = False
        self.answers = True

    def _look(self) -> None:
        self.asked_inside_a_transaction |= connection.in_atomic_block

    def charge(self, *, reference: str, amount: int, token: str) -> Answer:
        self._look()
        if token != "declined":
            self.taken[reference] = amount
        if token == "lost":
            raise ProviderTimeout
        if token == "broken":
            raise ConnectionResetError
        return self.lookup(reference=reference, token=token)

    def lookup(self, *, reference: str, token: str) -> Answer:
        self._look()
        return Answer(APPROVED if reference in self.taken else DECLINED)

    def refund(self, *, reference: str, payment_reference: str, amount: int) -> bool:
        self._look()
        if not self.answers:
            raise ConnectionResetError
        self.given_back[reference] = amount
        return True

    @property
    def balance(self) -> int:
        return sum(self.taken.values()) - sum(self.given_back.values())


def pay_for(order: Order, provider: str = "sandbox", user: User | None = None, **body: Any) -> HttpAnswer:
    """Pay as the order's buyer does, or as this user tries to."""
    return Wire(user or order.buyer).post(f"orders/{order.number}/pay/", {"provider": provider, **body})


def attempts(order: Order) -> list[tuple[str, str]]:
    """(provider, status) of each attempt."""
    return list(order.payments.order_by("id").values_list("provider", "status"))


def a_minute_passes() -> None:
    """The attempts that are there are old enough to be asked about."""
    Payment.objects.update(created_at=timezone.now() - timedelta(minutes=2))


def started(order: Order) -> Payment:
    """An attempt by card that was written down and not answered yet."""
    Order.objects.filter(pk=order.pk).update(**ADDRESS)
    return Payment.objects.create(
        order=order, provider="sandbox", reference=refunds.new_reference(), amount=order.total
    )
