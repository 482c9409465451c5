"""An order as a transaction holds it: its row is locked, and all that a decision can depend on is read.

Values, not models: a batch reads many at once (locking.py), decides in memory, and writes what changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orders.models import Payment
from orders.schemas import LineView, OrderView, PaymentView, ShippingView, TrackingView


@dataclass(slots=True)
class Line:
    """What was sold, and how many units of it came back."""

    id: int
    option_id: int
    stock_id: int
    quantity: int
    unit_price: int
    returned: int
    store_id: int
    commission_rate: int
    product_name: str
    sku: str
    product_id: int
    size: str
    color: str

    @property
    def pk(self) -> int:
        return self.id


@dataclass(slots=True)
class Attempt:
    """An attempt to pay: the fields of `Payment`, and what of it went or goes back, in won."""

    reference: str
    provider: str
    amount: int
    token: str = ""
    status: str = Payment.Status.STARTED
    live: bool | None = True
    detail: str = ""
    created_at: datetime | None = None
    decided_at: datetime | None = None
    id: int | None = None
    refunded: int = 0


@dataclass(slots=True)
class Buyer:
    """Whose order it is: when the account was closed, and the address that it has saved."""

    withdrawn_at: datetime | None = None
    shipping: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class HeldOrder:
    """An order, its lines, its attempts to pay (oldest first), its buyer.

    `available`: units that nobody is promised, by stock id; None where its stock rows are not locked.
    """

    id: int
    number: str
    buyer_id: int
    drop_id: int | None
    status: str
    total: int
    expires_at: datetime
    created_at: datetime
    note: str
    shipping: dict[str, str]
    carrier: str
    tracking_number: str
    lines: Sequence[Line] = ()
    attempts: list[Attempt] = field(default_factory=list)
    buyer: Buyer = field(default_factory=Buyer)
    available: dict[int, int] | None = None

    def attempt(self, reference: str) -> Attempt | None:
        return next((one for one in self.attempts if one.reference == reference), None)

    @property
    def live_attempt(self) -> Attempt | None:
        """The one that may have taken, or has taken, the buyer's money."""
        return next((one for one in self.attempts if one.live), None)

    def set(self, name: str, value: Any) -> None:
        if name in self.shipping:
            self.shipping[name] = value
        else:
            setattr(self, name, value)

    def view(self) -> OrderView:
        """As its buyer sees it. Texts are as they are recorded: `orders.selectors.as_read` does the rest."""
        lines = [
            LineView(
                option=line.option_id, sku=line.sku, product=line.product_id, name=line.product_name,
                size=line.size, color=line.color, quantity=line.quantity, unit_price=line.unit_price,
                returned=line.returned,
            )
            for line in self.lines
        ]  # fmt: skip
        shipping = tracking = payment = None
        if self.shipping["address1"]:
            shipping = ShippingView(**self.shipping)
        if self.tracking_number:
            tracking = TrackingView(self.carrier, self.tracking_number)
        if self.attempts:
            last = self.attempts[-1]
            refunded = sum(one.refunded for one in self.attempts)
            payment = PaymentView(last.provider, last.status, last.amount, refunded, last.detail)
        return OrderView(
            number=self.number, status=self.status, lines=lines, total=self.total,
            expires_at=self.expires_at, created_at=self.created_at, note=self.note,
            shipping=shipping, tracking=tracking, payment=payment, drop=self.drop_id,
        )  # fmt: skip
