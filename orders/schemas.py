"""Orders as the API shows them."""

from datetime import datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class LineView(msgspec.Struct):
    """One line: ids, units, price in won; `product` is the product's id, `name` what it was sold as."""

    option: int
    sku: str
    product: int
    name: str
    size: str
    color: str
    quantity: int
    unit_price: int
    returned: int = 0


class ShippingView(msgspec.Struct):
    """Where the order goes."""

    recipient: str
    phone: str
    postal_code: str
    address1: str
    address2: str


class TrackingView(msgspec.Struct):
    """Who carries the order, under which number."""

    carrier: str
    number: str


class PaymentView(msgspec.Struct):
    """The latest attempt to pay; `refunded` is what goes or went back, in won."""

    provider: str
    status: str
    amount: int
    refunded: int
    detail: str


class OrderView(msgspec.Struct):
    """An order, for its buyer. `expires_at` ends the hold of a pending order; money is in won.

    Of a drop, an order can be `accepted` (not in the database yet: the hold has not begun) or `rejected`.
    """

    number: str
    status: str
    lines: list[LineView]
    total: int
    expires_at: Moment | None
    created_at: Moment
    note: str = ""
    shipping: ShippingView | None = None
    tracking: TrackingView | None = None
    payment: PaymentView | None = None
    drop: int | None = None


class OrderPage(msgspec.Struct):
    """A page of orders; `next` and `previous` are addresses, or null at an end of the list."""

    next: str | None
    previous: str | None
    results: list[OrderView]
