"""Writes a planned history: orders with lines, events, payments and refunds, and the ledger beside them.

Each call of `write` is one transaction after which the books balance to the unit. The stock rows are locked
and changed as `inventory/ledger.py` does it, but with the times of the history instead of the present, and
many rows at once: that is why this one writer does not go through `ledger.post`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from inventory.locks import LockedStock, lock_stock
from inventory.models import Kind, Movement, Stock
from orders.demo.people import address
from orders.demo.plan import Period, PlannedOrder, moment
from orders.models import Findable, Order, OrderEvent, OrderLine, OrderTerm, Payment, Refund, Status
from orders.placement.numbers import id_at
from orders.settlements import entries
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact

NUMBER_PREFIX = "DEMO-"
REFERENCE = "demo"
CARRIER = "Demo Express"

_ORDER_FIELDS = (
    "id", "number", "buyer", "status", "total", "expires_at", "created_at", "fingerprint", "recipient",
    "phone", "postal_code", "address1", "address2", "carrier", "tracking_number",
)  # fmt: skip
_LINE_FIELDS = (
    "order", "option", "product_name", "sku", "size", "color", "quantity", "unit_price", "store",
    "commission_rate",
)  # fmt: skip
_EVENT_FIELDS = ("order", "from_status", "to_status", "actor", "note", "created_at")
_PAYMENT_FIELDS = (
    "order", "provider", "reference", "amount", "status", "live", "token", "detail", "created_at",
    "decided_at",
)  # fmt: skip
_REFUND_FIELDS = ("payment", "reference", "amount", "status", "reason", "created_at", "done_at")
_MOVEMENT_FIELDS = (
    "stock", "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after", "reserved_after",
    "reference", "actor", "reason", "created_at",
)  # fmt: skip
# What a unit of an order does to the counters: on hand, reserved.
_EFFECTS = {Kind.RESERVE: (0, 1), Kind.RELEASE: (0, -1), Kind.SHIP: (-1, -1), Kind.RESTOCK: (1, 0)}
_NO_ADDRESS = ("", "", "", "", "")
# The rows of one UPDATE or IN (…).
_BATCH = 500


class Good(NamedTuple):
    """An option for sale: ids, what is sold, its price in won, who sells it at which commission."""

    option_id: int
    stock_id: int
    product_name: str
    sku: str
    size: str
    color: str
    price: int
    store_id: int
    commission_rate: int


class Happening(NamedTuple):
    """Something that moves an order's units, at a time in seconds since 1970."""

    at: float
    kind: Kind
    order: PlannedOrder
    actor_id: int | None
    reason: str


def order_id(order: PlannedOrder) -> int:
    """An id as `orders.placement.numbers` makes them, for the time at which the order was placed.

    Below the time is the order's number instead of a process's and a sequence.
    """
    return id_at(order.placed_at, order.index)


def order_number(order: PlannedOrder) -> str:
    return f"{NUMBER_PREFIX}{order.index + 1:08d}"


class History:
    """Writes periods of a `Plan` whose options are `goods` and whose buyers are `buyers` (user ids).

    When an order wants more than there is, a delivery arrives first that fills it up to `level` units.
    """

    def __init__(self, goods: Sequence[Good], buyers: Sequence[int], *, operator_id: int, level: int) -> None:
        self._goods = goods
        self._buyers = buyers
        self._operator_id = operator_id
        self._level = level

    def write(self, periods: Sequence[Period]) -> None:
        """Write consecutive periods in one transaction. Raises `Busy`."""
        transact(partial(self._write, periods))

    def _write(self, periods: Sequence[Period]) -> None:
        orders = [order for period in periods for order in period.orders]
        returns = [order for period in periods for order in period.returns]
        # What happened to one order at the same moment stays in the order of its story.
        happenings = sorted(self._happenings(orders, returns), key=lambda h: (h.at, h.order.index))
        locked = lock_stock(self._goods[i].stock_id for h in happenings for i, _ in h.order.lines)
        insert_rows(Order, _ORDER_FIELDS, map(self._order_row, orders))
        OrderTerm.objects.note(map(_findable, orders))
        insert_rows(OrderLine, _LINE_FIELDS, self._line_rows(orders))
        insert_rows(OrderEvent, _EVENT_FIELDS, self._event_rows(orders))
        _write_sales(orders)
        insert_rows(Payment, _PAYMENT_FIELDS, self._payment_rows(orders))
        insert_rows(Movement, _MOVEMENT_FIELDS, self._movement_rows(happenings, locked))
        _write_counters(locked.values())
        self._refund([order for order in orders if _is_refunded(order)], "The order was cancelled.")
        self._take_back(returns)

    # --- Orders -----------------------------------------------------------------------------------

    def _total(self, order: PlannedOrder) -> int:
        return sum(self._goods[i].price * units for i, units in order.lines)

    def _order_row(self, order: PlannedOrder) -> tuple[Any, ...]:
        hold = timedelta(minutes=settings.ORDER_HOLD_MINUTES)
        placed_at = moment(order.placed_at)
        status = order.status
        if status == Status.PENDING:
            # From now, however long the history before took to write: these shall hold their units.
            expires_at = timezone.now() + hold
        elif status == Status.EXPIRED:
            expires_at = moment(order.steps[-1][0])
        else:
            expires_at = placed_at + hold
        return (
            order_id(order), order_number(order), self._buyers[order.buyer], status, self._total(order),
            expires_at, placed_at, "", *_shipping(order), *_tracking(order),
        )  # fmt: skip

    def _line_rows(self, orders: Iterable[PlannedOrder]) -> Iterable[tuple[Any, ...]]:
        for order in orders:
            for i, units in order.lines:
                good = self._goods[i]
                yield (
                    order_id(order), good.option_id, good.product_name, good.sku, good.size, good.color,
                    units, good.price, good.store_id, good.commission_rate,
                )  # fmt: skip

    def _event_rows(self, orders: Iterable[PlannedOrder]) -> Iterable[tuple[Any, ...]]:
        for order in orders:
            status = Status.PENDING
            for at, following in order.steps:
                yield order_id(order), status, following, self._actor(order, following), "", moment(at)
                status = following

    def _actor(self, order: PlannedOrder, status: Status) -> int | None:
        if status in (Status.PAID, Status.CANCELLED):
            return self._buyers[order.buyer]
        return None if status == Status.EXPIRED else self._operator_id

    def _payment_rows(self, orders: Iterable[PlannedOrder]) -> Iterable[tuple[Any, ...]]:
        for order in orders:
            if _was_paid(order):
                paid_at = moment(order.steps[0][0])
                yield (
                    order_id(order), "sandbox", _payment_reference(order), self._total(order),
                    Payment.Status.APPROVED, True, "demo-card", "", paid_at, paid_at,
                )  # fmt: skip

    def _refund(self, orders: Sequence[PlannedOrder], reason: str) -> None:
        """Give the money of these orders back, at the time when they ended."""
        payment_ids: dict[str, int] = {}
        for references in _batches([_payment_reference(order) for order in orders]):
            found = Payment.objects.filter(reference__in=references).order_by()
            payment_ids.update(found.values_list("reference", "id"))
        rows = []
        for order in orders:
            at = moment(order.returned_at or order.steps[-1][0])
            rows.append(
                (payment_ids[_payment_reference(order)], f"demo-refund-{order.index + 1}", self._total(order),
                 Refund.Status.DONE, reason, at, at)
            )  # fmt: skip
        insert_rows(Refund, _REFUND_FIELDS, rows)

    def _take_back(self, orders: Sequence[PlannedOrder]) -> None:
        """Delivered orders whose units all came back; the ledger has them already."""
        for ids in _batches([order_id(order) for order in orders]):
            Order.objects.filter(pk__in=ids).update(status=Status.RETURNED)
            OrderLine.objects.filter(order__in=ids).update(returned=F("quantity"))
        returned_at = {order_id(order): moment(order.returned_at or 0) for order in orders}
        entries.write(
            entries.taken_back(line, line.quantity, at=returned_at[line.order_id])
            for line in _lines(returned_at)
        )
        insert_rows(
            OrderEvent, _EVENT_FIELDS,
            [
                (order_id(order), Status.DELIVERED, Status.RETURNED, self._operator_id, "",
                 moment(order.returned_at or 0))
                for order in orders
            ],
        )  # fmt: skip
        self._refund(orders, "Units were returned.")

    # --- The ledger -------------------------------------------------------------------------------

    def _happenings(
        self, orders: Iterable[PlannedOrder], returns: Iterable[PlannedOrder]
    ) -> Iterable[Happening]:
        for order in orders:
            buyer_id = self._buyers[order.buyer]
            yield Happening(order.placed_at, Kind.RESERVE, order, buyer_id, "")
            for at, status in order.steps:
                if status == Status.SHIPPED:
                    yield Happening(at, Kind.SHIP, order, self._operator_id, "")
                elif status == Status.CANCELLED:
                    yield Happening(at, Kind.RELEASE, order, buyer_id, "")
                elif status == Status.EXPIRED:
                    yield Happening(at, Kind.RELEASE, order, None, "hold expired")
        for order in returns:
            at = order.returned_at or 0
            yield Happening(at, Kind.RESTOCK, order, self._operator_id, "")

    def _movement_rows(
        self, happenings: Iterable[Happening], locked: dict[int, LockedStock]
    ) -> Iterable[tuple[Any, ...]]:
        """The movements in the order of time; moves the counters of `locked` along."""
        for happening in happenings:
            at = moment(happening.at)
            number = order_number(happening.order)
            on_hand, reserved = _EFFECTS[happening.kind]
            for i, units in happening.order.lines:
                row = locked[self._goods[i].stock_id]
                if happening.kind == Kind.RESERVE and row.available < units:
                    arriving = max(units, self._level) - row.available
                    yield _move(row, Kind.RECEIVE, arriving, 0, REFERENCE, self._operator_id, "", at)
                yield _move(
                    row, happening.kind, on_hand * units, reserved * units,
                    number, happening.actor_id, happening.reason, at,
                )  # fmt: skip


def _move(
    row: LockedStock, kind: Kind, on_hand: int, reserved: int,
    reference: str, actor_id: int | None, reason: str, at: datetime,
) -> tuple[Any, ...]:  # fmt: skip
    row.on_hand += on_hand
    row.reserved += reserved
    row.sequence += 1
    return (
        row.id, row.sequence, kind, on_hand, reserved, row.on_hand, row.reserved,
        reference, actor_id, reason, at,
    )  # fmt: skip


def _write_counters(rows: Iterable[LockedStock]) -> None:
    """Set the counters of rows that exist and are locked: an upsert is the quickest UPDATE of many rows."""
    with_target = connection.features.supports_update_conflicts_with_target
    Stock.objects.bulk_create(
        [
            Stock(
                id=row.id,
                option_id=row.option_id,
                on_hand=row.on_hand,
                reserved=row.reserved,
                sequence=row.sequence,
            )
            for row in rows
        ],
        batch_size=_BATCH,
        update_conflicts=True,
        update_fields=["on_hand", "reserved", "sequence"],
        unique_fields=["id"] if with_target else None,
    )


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[i : i + _BATCH] for i in range(0, len(items), _BATCH))


def _write_sales(orders: Iterable[PlannedOrder]) -> None:
    delivered_at = {
        order_id(order): moment(at)
        for order in orders
        for at, status in order.steps
        if status == Status.DELIVERED
    }
    entries.write(entries.sale(line, at=delivered_at[line.order_id]) for line in _lines(delivered_at))


def _lines(order_ids: Iterable[int]) -> Iterable[OrderLine]:
    for ids in _batches(list(order_ids)):
        yield from OrderLine.objects.filter(order__in=ids).order_by("id")


def _shipping(order: PlannedOrder) -> tuple[str, ...]:
    return address(order.buyer) if _was_paid(order) else _NO_ADDRESS


def _tracking(order: PlannedOrder) -> tuple[str, str]:
    shipped = order.status in (Status.SHIPPED, Status.DELIVERED)
    return (CARRIER, f"DX{order.index + 1:010d}") if shipped else ("", "")


def _findable(order: PlannedOrder) -> Findable:
    recipient, phone, *_rest = _shipping(order)
    return Findable(order_id(order), recipient, phone, _tracking(order)[1])


def _was_paid(order: PlannedOrder) -> bool:
    return bool(order.steps) and order.steps[0][1] == Status.PAID


def _is_refunded(order: PlannedOrder) -> bool:
    return _was_paid(order) and order.status == Status.CANCELLED


def _payment_reference(order: PlannedOrder) -> str:
    return f"demo-payment-{order.index + 1}"
