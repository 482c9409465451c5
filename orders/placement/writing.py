"""Inside the transaction: lock the units, decide every request under the lock, write the accepted ones.

Where the units come from is the source's affair: `StockUnits` here, a drop's escrow in `orders.drops.escrow`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy

from inventory import ledger
from inventory.errors import InsufficientStock, Shortage
from inventory.locks import lock_stock
from inventory.models import Kind
from inventory.selectors import Offer
from orders.errors import PriceChanged
from orders.models import MAX_TOTAL, Order, OrderLine, Status
from orders.placement.buyers import Buyers
from orders.placement.decisions import Decisions
from orders.placement.requests import PlaceRequest
from orders.schemas import LineView, OrderView
from yousinsa.db.rows import insert_rows
from yousinsa.errors import Invalid
from yousinsa.language import filled_later

Offers = dict[int, Offer]
"""What is on sale, by option id."""

_ORDER_FIELDS = (
    "id", "number", "buyer", "status", "total", "idempotency_key", "fingerprint", "expires_at", "created_at",
    "drop",
)  # fmt: skip
_TOO_DEAR = gettext_lazy("An order is of %(most)s won at most: order fewer at a time.")
_LINE_FIELDS = (
    "order", "option", "product_name", "sku", "size", "color", "quantity", "unit_price", "store",
    "commission_rate",
)  # fmt: skip


class UnitSource(Protocol):
    """Where the units of a batch come from."""

    def lock(self, requests: Sequence[PlaceRequest]) -> None:
        """Lock, in the order of docs/locking.md, all rows that these requests need."""

    def refusal(self, request: PlaceRequest) -> Exception | None:
        """Why the request cannot be met, if so, after those that were met before."""

    def price_refusal(self, request: PlaceRequest) -> Exception | None:
        """Why the request is not met at its price, if so."""

    def take(self, request: PlaceRequest) -> OrderView:
        """Count the request's units as gone; returns the order that it becomes."""

    def post(self, accepted: Sequence[PlaceRequest]) -> None:
        """Write down the units that were taken, for all of these."""


def write(
    requests: Sequence[PlaceRequest], source: UnitSource, on_sale: Offers, *, look_up_numbers: bool
) -> Decisions:
    """Decide each request and write the accepted ones, in the caller's transaction."""
    source.lock(requests)
    buyers = Buyers(requests)
    decisions = Decisions(requests, look_up_numbers=look_up_numbers)
    for request in requests:
        if decisions.was_committed(request):
            continue
        if reason := buyers.stranger(request):
            decisions.refuse(request, reason)
        elif decisions.repeats(request):
            continue
        elif reason := source.refusal(request) or source.price_refusal(request) or buyers.refusal(request):
            decisions.refuse(request, reason)
        else:
            decisions.accept(request, source.take(request))
            buyers.take(request)
    if decisions.accepted:
        insert_orders(decisions.accepted, on_sale)
        source.post([request for request, _order in decisions.accepted])
    return decisions


def write_under_lock(
    requests: Sequence[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
) -> Decisions:
    """Units come from the stock, whose rows stay locked until the end of the transaction."""
    return write(requests, StockUnits(on_sale), on_sale, look_up_numbers=look_up_numbers)


class StockUnits:
    """Available units: what is taken is promised to its order (`UnitSource`)."""

    def __init__(self, on_sale: Offers) -> None:
        self._on_sale = on_sale

    def lock(self, requests: Sequence[PlaceRequest]) -> None:
        self._locked = lock_stock(
            self._on_sale[option_id].stock_id for r in requests for option_id, _ in r.lines
        )
        self._free = {row.option_id: row.available for row in self._locked.values()}
        self._new_order = order_maker(self._on_sale)

    def refusal(self, request: PlaceRequest) -> Exception | None:
        short = shortages(request, self._free)
        return InsufficientStock(short) if short else None

    def price_refusal(self, request: PlaceRequest) -> Exception | None:
        return price_refusal(request, self._on_sale)

    def take(self, request: PlaceRequest) -> OrderView:
        for option_id, units in request.lines:
            self._free[option_id] -= units
        return self._new_order(request)

    def post(self, accepted: Sequence[PlaceRequest]) -> None:
        ledger.post(self._locked, promises(accepted, self._on_sale))


def promises(accepted: Sequence[PlaceRequest], on_sale: Offers) -> list[ledger.Entry]:
    """The ledger's entries that reserve these requests' units for their orders."""
    return [
        ledger.Entry(on_sale[option_id].stock_id, Kind.RESERVE, 0, units, r.number, r.buyer_id)
        for r in accepted
        for option_id, units in r.lines
    ]


def shortages(request: PlaceRequest, available: Mapping[int, int]) -> list[Shortage]:
    """The lines that ask for more than is `available`, by option id."""
    return [
        {"option": option_id, "requested": units, "available": max(0, available[option_id])}
        for option_id, units in request.lines
        if units > available[option_id]
    ]


def price_refusal(request: PlaceRequest, on_sale: Offers) -> Exception | None:
    """Why nobody buys at these offers, if so: another total than expected, or none that can be shown."""
    total = sum(units * on_sale[option_id].price for option_id, units in request.lines)
    if request.expected_total not in (None, total):
        return PriceChanged(expected_total=request.expected_total or 0, total=total)
    if total > MAX_TOTAL:
        return Invalid(errors={"lines": filled_later(_TOO_DEAR, {"most": f"{MAX_TOTAL:,}"})})
    return None


def order_maker(on_sale: Offers) -> Callable[[PlaceRequest], OrderView]:
    """Makes the pending orders of one batch: all of one moment, at the prices of the offers."""
    now = timezone.now()
    expires_at = now + timedelta(minutes=settings.ORDER_HOLD_MINUTES)

    def make(request: PlaceRequest) -> OrderView:
        lines = []
        for option_id, units in request.lines:
            offer = on_sale[option_id]
            lines.append(
                LineView(
                    option=option_id, sku=offer.sku, product=offer.product_id, name=offer.product_name,
                    size=offer.size, color=offer.color, quantity=units, unit_price=offer.price,
                )
            )  # fmt: skip
        total = sum(line.quantity * line.unit_price for line in lines)
        return OrderView(request.number, Status.PENDING, lines, total, expires_at, now)

    return make


def insert_orders(accepted: Sequence[tuple[PlaceRequest, OrderView]], on_sale: Offers) -> None:
    """Write orders and their lines, for the requests that become them; who sells, the offers say."""
    orders, lines = [], []
    # In key order: two batches that insert colliding keys wait for each other in one direction only.
    for r, order in sorted(accepted, key=lambda pair: (pair[0].buyer_id, pair[0].idempotency_key or "")):
        orders.append(
            (r.order_id, r.number, r.buyer_id, Status.PENDING, order.total, r.idempotency_key, r.fingerprint,
             order.expires_at, order.created_at, r.drop_id)
        )  # fmt: skip
        for ln in order.lines:
            offer = on_sale[ln.option]
            rate = settings.COMMISSION_RATE if offer.commission_rate is None else offer.commission_rate
            lines.append(
                (r.order_id, ln.option, ln.name, ln.sku, ln.size, ln.color, ln.quantity, ln.unit_price,
                 offer.store_id, rate)
            )  # fmt: skip
    insert_rows(Order, _ORDER_FIELDS, orders)
    insert_rows(OrderLine, _LINE_FIELDS, lines)
