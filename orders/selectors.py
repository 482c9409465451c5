"""Questions about orders: read-only, no locks."""

import re
from collections.abc import Collection, Iterable, Iterator
from heapq import nlargest
from typing import Any

from django.db.models import Prefetch, QuerySet

from orders.errors import OrderNotFound
from orders.models import Order, OrderLine, OrderTerm, Payment, TermKind
from orders.models.terms import is_phone, phone_term, recipient_term, tracking_term
from orders.schemas import LineView, OrderView, PaymentView, ShippingView, TrackingView
from shop.selectors import MATCH_LIMIT, begins, find_sku, find_users
from yousinsa.language import recorded

# Shorter beginnings of a tracking number find too much of everything else.
MIN_TRACKING = 4
# SKUs that differ in nothing but their case.
MAX_SAME_SKU = 5
_PART_OF_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{2,63}")


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


def as_read(order: OrderView) -> OrderView:
    """A view with its recorded texts as who asks now reads them."""
    order.note = recorded(order.note)
    if order.payment:
        order.payment.detail = recorded(order.payment.detail)
    return order


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
    """Orders by whatever of them somebody has at hand.

    The beginning of their number, of the buyer's e-mail address, of the recipient or of the tracking number;
    the phone, or its last digits; an SKU in full, of any line. By number alone all of them, else the newest.
    """
    if "@" in term:
        return orders.filter(buyer__in=find_users(term))
    if found := {*_found_by_terms(term), *_of_buyers(term), *orders_of_sku(term)}:
        return orders.filter(pk__in=found.union(find_order_ids(term)))
    # In the order of the index that finds them; numbers are time-ordered as ids are.
    return numbered(orders, term).order_by("-number")


def _found_by_terms(term: str) -> Iterator[int]:
    """The ids of orders by recipient, phone and tracking number, some hundreds at most."""
    yield from _begun(TermKind.RECIPIENT, recipient_term(term))
    if is_phone(term):
        yield from _begun(TermKind.PHONE, phone_term(term))
    number = tracking_term(term)
    if len(number) >= MIN_TRACKING:
        yield from _begun(TermKind.TRACKING, number)


def _begun(kind: str, text: str) -> set[int]:
    """What is just this, the newest first, then what begins like it, up to `MATCH_LIMIT` of each."""
    rows = OrderTerm.objects.filter(kind=kind)
    same = rows.filter(term=text).order_by("-order_id")
    longer = rows.filter(begins("term", text)).exclude(term=text).order_by("term", "order_id")
    return {id for found in (same, longer) for id in found.values_list("order_id", flat=True)[:MATCH_LIMIT]}


def _of_buyers(term: str) -> list[int]:
    """The newest orders of buyers whose e-mail address begins like this, where it can be part of one."""
    if not _PART_OF_EMAIL.fullmatch(term):
        return []
    # Sorted here: to sort it itself, MariaDB may walk through all orders from the newest on.
    orders = Order.objects.filter(buyer__in=find_users(term)).order_by()
    return nlargest(MATCH_LIMIT, orders.values_list("pk", flat=True)[: 10 * MATCH_LIMIT])


def orders_of_sku(term: str, *, stores: Collection[int] | None = None) -> set[int]:
    """The ids of the newest orders with a line of the option with this SKU; of these stores' lines only."""
    found: set[int] = set()
    # One by one: the index of an option's lines is in the order of their ids.
    for option_id in find_sku(term)[:MAX_SAME_SKU]:
        lines = OrderLine.objects.filter(option=option_id).order_by("-pk")
        if stores is not None:
            lines = lines.filter(store__in=stores)
        found.update(lines.values_list("order_id", flat=True)[:MATCH_LIMIT])
    return found
