"""Questions about orders: read-only, no locks."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, QuerySet

from orders.errors import OrderNotFound
from orders.models import Order, OrderLine, Payment
from orders.schemas import LineView, OrderView, PaymentView, ShippingView, TrackingView
from shop.selectors import MATCH_LIMIT, find_users
from yousinsa.language import recorded


def with_details(orders: QuerySet[Order]) -> QuerySet[Order]:
    """The queries that `order_view` needs, however many orders: lines, payments, refunds."""
    return orders.prefetch_related(
        Prefetch("lines", OrderLine.objects.select_related("option").order_by("id")),
        Prefetch("payments", Payment.objects.order_by("id").prefetch_related("refunds")),
    )


def order_view(order: Order) -> OrderView:
    """An order as its buyer sees it; reads what `with_details` prefetched."""
    lines = [
        LineView(
            option=line.option_id, sku=line.sku, product=line.option.product_id,
            name=line.product_name, size=line.size, color=line.color,
            quantity=line.quantity, unit_price=line.unit_price, returned=line.returned,
        )
        for line in order.lines.all()
    ]  # fmt: skip
    shipping = tracking = payment = None
    if order.address1:
        shipping = ShippingView(
            order.recipient, order.phone, order.postal_code, order.address1, order.address2
        )
    if order.tracking_number:
        tracking = TrackingView(order.carrier, order.tracking_number)
    if attempts := list(order.payments.all()):
        last = attempts[-1]
        refunded = sum(refund.amount for attempt in attempts for refund in attempt.refunds.all())
        payment = PaymentView(last.provider, last.status, last.amount, refunded, recorded(last.detail))
    return OrderView(
        number=order.number, status=order.status, lines=lines, total=order.total,
        expires_at=order.expires_at, created_at=order.created_at, note=recorded(order.note),
        shipping=shipping, tracking=tracking, payment=payment, drop=order.drop_id,
    )  # fmt: skip


def order_views(numbers: Iterable[str]) -> dict[str, OrderView]:
    """Orders by number; numbers that do not exist are left out. Five queries at most."""
    orders = with_details(Order.objects.filter(number__in=list(numbers)))
    return {order.number: order_view(order) for order in orders}


def own_order(*, buyer_id: int, number: str) -> Order:
    """One of this buyer's orders, with its details; raises `OrderNotFound` for any other number."""
    order = with_details(Order.objects.filter(buyer_id=buyer_id, number=number)).first()
    if order is None:
        raise OrderNotFound
    return order


def numbered(orders: QuerySet[Order], start: str) -> QuerySet[Order]:
    """Orders whose number begins like this, as a range, since LIKE would not use the index everywhere."""
    start = start.upper()
    return orders.filter(number__gte=start, number__lt=start + "\U0010ffff")


def find_order_ids(start: str) -> list[int]:
    """The ids of orders whose number begins like this, up to `MATCH_LIMIT` of them."""
    return list(numbered(Order.objects.order_by(), start).values_list("id", flat=True)[:MATCH_LIMIT])


def search_orders(orders: QuerySet[Any], term: str) -> QuerySet[Any]:
    """Orders by the beginning of their number, or of their buyer's e-mail address."""
    if "@" in term:
        return orders.filter(buyer__in=find_users(term))
    # In the order of the index that finds them; numbers are time-ordered as ids are.
    return numbered(orders, term).order_by("-number")
