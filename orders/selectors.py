"""Questions about orders: read-only, no locks."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import nlargest
from typing import Any

from django.db.models import FilteredRelation, Max, OuterRef, Q, QuerySet, Subquery, Sum

from orders.errors import OrderNotFound
from orders.models import Order, OrderLine, OrderTerm, Payment, TermKind
from orders.models.terms import is_phone, phone_term, recipient_term, tracking_term
from orders.schemas import LineView, OrderView, PaymentView, ShippingView, TrackingView
from shop.selectors import MATCH_LIMIT, begins, find_sku, find_users
from yousinsa.db.statements import Statement
from yousinsa.http.paging import Ordering
from yousinsa.language import recorded

NEWEST = Ordering(("id",), (int,), descending=True)
# Shorter beginnings of a tracking number find too much of everything else.
MIN_TRACKING = 4
# SKUs that differ in nothing but their case.
MAX_SAME_SKU = 5
_PART_OF_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{2,63}")


def _summaries(orders: QuerySet[Order]) -> QuerySet[Order, tuple[Any, ...]]:
    """What `_views` needs of the orders themselves, a row each, with the latest attempt to pay."""
    # Both begin at the order's payments, by their index; sorted by id, or begun at the refunds, MariaDB may
    # look through all that there are.
    payments = Payment.objects.filter(order=OuterRef("pk")).order_by().values("order")
    latest = payments.annotate(latest=Max("id")).values("latest")
    refunded = payments.annotate(won=Sum("refunds__amount")).values("won")
    return orders.annotate(
        attempt=FilteredRelation("payments", condition=Q(payments__id=Subquery(latest))),
        refunded=Subquery(refunded),
    ).values_list(
        "id", "number", "status", "total", "expires_at", "created_at", "note", "drop_id",
        "recipient", "phone", "postal_code", "address1", "address2", "carrier", "tracking_number",
        "attempt__id", "attempt__provider", "attempt__status", "attempt__amount", "attempt__detail",
        "refunded",
    )  # fmt: skip


def _page(buyer_id: Any, *after: Any, backwards: bool, limit: int) -> QuerySet[Order, tuple[Any, ...]]:
    orders = _summaries(Order.objects.filter(buyer_id=buyer_id))
    return NEWEST.seek(orders, after, backwards=backwards, limit=limit)


_PAGE = Statement(_page)
_OWN = Statement(lambda buyer_id, number: _summaries(Order.objects.filter(buyer_id=buyer_id, number=number)))
_NUMBERED = Statement(lambda numbers: _summaries(Order.objects.filter(number__in=numbers)))
_LINES = Statement(
    lambda order_ids: OrderLine.objects.filter(order__id__in=order_ids)
    .order_by("id")
    .values_list(
        "order_id", "option_id", "sku", "option__product_id", "product_name", "size", "color", "quantity",
        "unit_price", "returned",
    )
)  # fmt: skip


def own_orders(buyer_id: int, after: Sequence[int], *, backwards: bool, limit: int) -> list[Any]:
    """A buyer's orders, newest first, as a list to be paged; `order_views` shows its rows. One query."""
    return _PAGE.rows(buyer_id, *after, backwards=backwards, limit=limit)


def order_views(orders: Sequence[Any]) -> list[OrderView]:
    """Orders, as this module found them, as their buyers see them. One query, none for none."""
    lines: dict[int, list[LineView]] = {order.id: [] for order in orders}
    for line in _LINES.rows(list(lines)) if lines else ():
        lines[line.order_id].append(LineView(*line[1:]))
    return [_view(order, lines[order.id]) for order in orders]


def _view(order: Any, lines: list[LineView]) -> OrderView:
    shipping = tracking = payment = None
    if order.address1:
        shipping = ShippingView(
            order.recipient, order.phone, order.postal_code, order.address1, order.address2
        )
    if order.tracking_number:
        tracking = TrackingView(order.carrier, order.tracking_number)
    if order.attempt__id is not None:
        payment = PaymentView(
            order.attempt__provider, order.attempt__status, order.attempt__amount,
            int(order.refunded or 0), recorded(order.attempt__detail),
        )  # fmt: skip
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


def numbered_views(numbers: Iterable[str]) -> dict[str, OrderView]:
    """Orders by number; numbers that do not exist are left out. Two queries at most."""
    return {view.number: view for view in order_views(_NUMBERED.rows(list(numbers)))}


def own_order(*, buyer_id: int, number: str) -> OrderView:
    """One of this buyer's orders; raises `OrderNotFound` for any other number. Two queries at most."""
    views = order_views(_OWN.rows(buyer_id, number))
    if not views:
        raise OrderNotFound
    return views[0]


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
