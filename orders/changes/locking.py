"""Find the orders of commands, lock what these need in the house's order, and read it: one query a table.

A drop's items, stock rows, orders, then the accounts that foreign keys touch (docs/locking.md). Lines never
change but for what came back, so which stock rows an order needs is read before any lock.
"""

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Sum

from inventory.locks import LockedStock, lock_stock
from orders.changes.commands import Command
from orders.changes.held import Attempt, Buyer, HeldOrder, Line
from orders.drops.locks import lock_items
from orders.models import Order, OrderEvent, OrderLine, Payment, Refund, SettlementEntry, Status
from orders.models.drops import DropItem
from orders.models.orders import SHIPPING_FIELDS
from shop.models import User
from yousinsa.db.statements import Statement

_ORDER_FIELDS = (
    "id", "number", "buyer_id", "drop_id", "status", "total", "expires_at", "created_at", "note",
    *SHIPPING_FIELDS, "carrier", "tracking_number",
)  # fmt: skip
_ADDRESS = slice(9, 14)
_LINE_FIELDS = (
    "order_id", "id", "option_id", "option__stock__id", "quantity", "unit_price", "returned", "store_id",
    "commission_rate", "product_name", "sku", "option__product_id", "size", "color",
)  # fmt: skip
_ATTEMPT_FIELDS = (
    "order_id", "reference", "provider", "amount", "token", "status", "live", "detail", "created_at",
    "decided_at", "id",
)  # fmt: skip

_KNOWN_FIELDS = ("id", "number", "buyer_id", "drop_id", "status")
_BY_ID = Statement(lambda ids: Order.objects.filter(id__in=ids).order_by().values_list(*_KNOWN_FIELDS))
_BY_NUMBER = Statement(
    lambda numbers: Order.objects.filter(number__in=numbers).order_by().values_list(*_KNOWN_FIELDS)
)
_LINES = Statement(
    lambda ids: (
        OrderLine.objects.filter(order__id__in=ids).order_by("order_id", "id").values_list(*_LINE_FIELDS)
    )
)
_ATTEMPTS = Statement(
    lambda ids: Payment.objects.filter(order__id__in=ids).order_by("id").values_list(*_ATTEMPT_FIELDS)
)
SHARED = " LOCK IN SHARE MODE"
_ARRIVED = (Status.DELIVERED, Status.RETURNED)


@dataclass(slots=True, frozen=True)
class Known:
    """What is known of an order before it is locked: `status` alone may be another one by then."""

    id: int
    number: str
    buyer_id: int
    drop_id: int | None
    status: str
    lines: list[Line] = field(default_factory=list)


def find(commands: Sequence[Command]) -> dict[Command, Known]:
    """The orders that these commands name; commands without one are left out. Two queries."""
    ids = {command.order_id for command in commands if command.order_id}
    numbers = {command.number for command in commands if not command.order_id}
    rows = [*(_BY_ID.rows(list(ids)) if ids else ()), *(_BY_NUMBER.rows(list(numbers)) if numbers else ())]
    by_id = {row[0]: Known(*row) for row in rows}
    by_number = {known.number: known for known in by_id.values()}
    named = {c: by_id.get(c.order_id) if c.order_id else by_number.get(c.number) for c in commands}
    known = {c: k for c, k in named.items() if k and c.owner_id in (None, k.buyer_id)}
    wanted = {k.id for k in known.values()}
    for order_id, *values in _LINES.rows(list(wanted)) if wanted else ():
        by_id[order_id].lines.append(Line(*values))
    return known


@dataclass(slots=True)
class Locked:
    """What a transaction holds for its commands."""

    orders: dict[int, HeldOrder]
    stock: dict[int, LockedStock]
    drop_items: dict[int, dict[int, DropItem]]


def lock(commands: Sequence[Command], known: dict[Command, Known]) -> Locked:
    """Lock and read what these commands need, inside the caller's transaction."""
    moving = {
        known[c].id: known[c] for c in commands if c.with_stock or c.moves_stock(known[c].status)
    }  # fmt: skip
    drop_items = lock_items(k.drop_id for k in moving.values() if k.drop_id is not None)
    stock = lock_stock(line.stock_id for k in moving.values() for line in k.lines)
    available = {id: row.available for id, row in stock.items()}
    orders = _lock_orders({known[c].id: known[c] for c in commands})
    for id in moving.keys() & orders.keys():
        orders[id].available = available
    _read_returned(orders, moving)
    _read_buyers(orders, {c.actor_id for c in commands if c.actor_id is not None})
    _read_attempts(orders)
    return Locked(orders, stock, drop_items)


def _lock_orders(known: dict[int, Known]) -> dict[int, HeldOrder]:
    rows = Order.objects.select_for_update().filter(pk__in=known).order_by("pk")
    orders = {}
    for row in rows.values_list(*_ORDER_FIELDS):
        shipping = dict(zip(SHIPPING_FIELDS, row[_ADDRESS], strict=True))
        values: Any = (*row[: _ADDRESS.start], shipping, *row[_ADDRESS.stop :])
        held = HeldOrder(*values)
        # What a decision changes of them is not known any more to the next attempt.
        held.lines = [copy(line) for line in known[held.id].lines]
        orders[held.id] = held
    return orders


def _read_returned(orders: dict[int, HeldOrder], ids: Iterable[int]) -> None:
    """What came back while this transaction waited for the lock."""
    arrived = [id for id in ids if id in orders and orders[id].status in _ARRIVED]
    if arrived:
        returned = dict(OrderLine.objects.filter(order_id__in=arrived).values_list("id", "returned"))
        for id in arrived:
            for line in orders[id].lines:
                line.returned = returned[line.id]


def _read_buyers(orders: dict[int, HeldOrder], actors: Collection[int]) -> None:
    """The accounts that events, movements and payments refer to, share-locked in ascending order: what is
    inserted later would lock them as it comes.
    """
    ids = sorted({held.buyer_id for held in orders.values()} | set(actors))
    if not ids:
        return
    marks = ", ".join(["%s"] * len(ids))
    names = ", ".join(SHIPPING_FIELDS)
    sql = f"SELECT id, withdrawn_at, {names} FROM {User._meta.db_table} WHERE id IN ({marks}) ORDER BY id"  # noqa: S608
    if connection.features.has_select_for_update:
        sql += SHARED
    with connection.cursor() as cursor:
        cursor.execute(sql, ids)
        found = {row[0]: Buyer(row[1], dict(zip(SHIPPING_FIELDS, row[2:], strict=True))) for row in cursor}
    for held in orders.values():
        held.buyer = found.get(held.buyer_id, held.buyer)


def _read_attempts(orders: dict[int, HeldOrder]) -> None:
    """Whoever changes an attempt, or owes money of one, holds its order."""
    attempts: dict[int, Attempt] = {}
    for order_id, *values in _ATTEMPTS.rows(list(orders)) if orders else ():
        attempt = Attempt(*values)
        orders[order_id].attempts.append(attempt)
        if attempt.id and attempt.status == Payment.Status.APPROVED:
            attempts[attempt.id] = attempt
    if attempts:
        refunds = Refund.objects.filter(payment_id__in=attempts).order_by().values("payment_id")
        for id, won in refunds.annotate(won=Sum("amount")).values_list("payment_id", "won"):
            attempts[id].refunded = int(won)


def done_before(commands: Sequence[Command], known: dict[Command, Known]) -> set[Command]:
    """Those that an earlier attempt has carried out: its events, payments and entries are there."""
    ids = {known[c].id for c in commands}
    moments = {c.at for c in commands}
    events = OrderEvent.objects.filter(order_id__in=ids, created_at__in=moments)
    entries = SettlementEntry.objects.filter(line__order_id__in=ids, created_at__in=moments)
    payments = Payment.objects.filter(order_id__in=ids, created_at__in=moments)
    found = {
        *events.values_list("order_id", "created_at"),
        *entries.values_list("line__order_id", "created_at"),
        *payments.values_list("order_id", "created_at"),
    }
    return {c for c in commands if (known[c].id, c.at) in found}
