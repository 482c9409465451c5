"""Questions about orders: read-only, no locks."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import FilteredRelation, OuterRef, Q, QuerySet, Subquery, Sum

from orders.errors import OrderNotFound
from orders.models import Order, OrderLine, Payment, Refund
from orders.schemas import LineView, OrderView, PaymentView, ShippingView, TrackingView
from shop.selectors import MATCH_LIMIT, find_users
from yousinsa.db.statements import Statement
from yousinsa.http.paging import Ordering
from yousinsa.language import recorded

NEWEST = Ordering(("id",), (int,), descending=True)


def _summaries(orders: QuerySet[Order]) -> QuerySet[Order, tuple[Any, ...]]:
    """What `_views` needs of the orders themselves, a row each, with the latest attempt to pay."""
    latest = Payment.objects.filter(order=OuterRef("pk")).order_by("-id").values("id")[:1]
    refunds = Refund.objects.filter(payment__order=OuterRef("pk")).order_by()
    return orders.annotate(
        attempt=FilteredRelation("payments", condition=Q(payments__id=Subquery(latest))),
        refunded=Subquery(refunds.values("payment__order").annotate(sum=Sum("amount")).values("sum")),
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
        "order_id", "option_id", "option__sku", "option__product_id", "product_name",
        "option__size", "option__color", "quantity", "unit_price", "returned",
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


def numbered_views(numbers: Iterable[str]) -> dict[str, OrderView]:
    """Orders by number; numbers that do not exist are left out. Two queries at most."""
    return {view.number: view for view in order_views(_NUMBERED.rows(list(numbers)))}


def own_order(*, buyer_id: int, number: str) -> OrderView:
    """One of this buyer's orders; raises `OrderNotFound` for any other number. Two queries at most."""
    views = order_views(_OWN.rows(buyer_id, number))
    if not views:
        raise OrderNotFound
    return views[0]


def own_order_id(*, buyer_id: int, number: str) -> int:
    """The id of one of this buyer's orders; raises `OrderNotFound` for any other number."""
    id = Order.objects.filter(buyer_id=buyer_id, number=number).values_list("id", flat=True).first()
    if id is None:
        raise OrderNotFound
    return id


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
