"""Delivered orders of the past, many in one transaction: placed by the engine, then led to their delivery.

`orders.placement.writing.write` decides and inserts as it does for every lane; goods that an order lacks
arrive first, so that the counters stay within their rules at each movement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection
from django.utils import timezone

from inventory import ledger
from inventory.models import Kind
from orders import states
from orders.models import MAX_TOTAL, Findable, Order, OrderEvent, OrderLine, OrderTerm, Payment, Status
from orders.payments.providers import Imported
from orders.payments.refunds import new_reference
from orders.placement.decisions import Decisions
from orders.placement.requests import PlaceRequest
from orders.placement.writing import Offers, StockUnits, write
from orders.schemas import OrderView
from orders.settlements import entries
from yousinsa.db.rows import insert_rows
from yousinsa.errors import Invalid

CARRIER = "replay"
# Goods arrive by the hundred: what an order lacks is rounded up to the next multiple.
LOT = 100
PATH = (Status.PENDING, Status.PAID, Status.SHIPPED, Status.DELIVERED)

_EVENT_FIELDS = ("order", "from_status", "to_status", "actor", "note", "created_at")
_PAYMENT_FIELDS = (
    "order", "provider", "reference", "amount", "status", "live", "token", "detail", "created_at",
    "decided_at",
)  # fmt: skip


@dataclass(slots=True)
class Plan:
    """What an order's invoice says of it. `at`: when it happened, `None` for now; `prices` by option, won."""

    at: datetime | None
    prices: Mapping[int, int]
    receipt: str
    note: str
    recipient: str
    address: str
    tracking_number: str


@dataclass(slots=True)
class Written:
    """What one transaction did: the engine's decisions, receipts and the units that they brought."""

    decisions: Decisions
    receipts: int = 0
    units_received: int = 0
    at: datetime = field(default_factory=timezone.now)


class PastUnits(StockUnits):
    """Units that were shipped as they were ordered: received where they lack, promised, and gone."""

    def __init__(self, on_sale: Offers, plans: Mapping[str, Plan], now: datetime) -> None:
        super().__init__(on_sale)
        self._plans = plans
        self._now = now
        self._entries: list[ledger.Entry] = []
        self.received: list[int] = []

    def refusal(self, request: PlaceRequest) -> Exception | None:
        return None  # what lacks is received

    def price_refusal(self, request: PlaceRequest) -> Exception | None:
        prices = self._plans[request.number].prices
        total = sum(units * prices[option_id] for option_id, units in request.lines)
        return Invalid("An order's total is beyond its bounds.") if total > MAX_TOTAL else None

    def take(self, request: PlaceRequest) -> OrderView:
        plan = self._plans[request.number]
        for option_id, units in request.lines:
            missing = units - self._free[option_id]
            if missing > 0:
                lot = -(-missing // LOT) * LOT
                self._free[option_id] += lot
                self.received.append(lot)
                self._note(option_id, Kind.RECEIVE, lot, 0, plan.receipt, None, plan)
        order = super().take(request)
        for option_id, units in request.lines:
            self._note(option_id, Kind.RESERVE, 0, units, request.number, request.buyer_id, plan)
        for option_id, units in request.lines:
            self._note(option_id, Kind.SHIP, -units, -units, request.number, None, plan)
        at = plan.at or self._now
        lines = [msgspec.structs.replace(line, unit_price=plan.prices[line.option]) for line in order.lines]
        return msgspec.structs.replace(
            order, lines=lines, total=sum(line.quantity * line.unit_price for line in lines),
            created_at=at, expires_at=at + timedelta(minutes=settings.ORDER_HOLD_MINUTES),
        )  # fmt: skip

    def post(self, accepted: Sequence[PlaceRequest]) -> None:
        ledger.post(self._locked, self._entries)

    def _note(
        self, option_id: int, kind: Kind, on_hand: int, reserved: int, reference: str, actor: int | None,
        plan: Plan,
    ) -> None:  # fmt: skip
        stock_id = self._on_sale[option_id].stock_id
        at = plan.at or self._now
        self._entries.append(ledger.Entry(stock_id, kind, on_hand, reserved, reference, actor, "", at))


def write_delivered(requests: Sequence[PlaceRequest], plans: Mapping[str, Plan], on_sale: Offers) -> Written:
    """Write these orders, delivered, inside the caller's transaction; `plans` by the requests' numbers."""
    now = timezone.now()
    source = PastUnits(on_sale, plans, now)
    # A retry finds what an attempt whose COMMIT was never answered has written, by its keys.
    written = Written(write(requests, source, on_sale, look_up_numbers=False), at=now)
    written.receipts, written.units_received = len(source.received), sum(source.received)
    accepted = written.decisions.accepted
    steps = list(pairwise(PATH))
    for step in steps:
        states.check(*step)
    events: list[tuple[Any, ...]] = []
    payments, orders = [], []
    for request, order in accepted:
        plan, at = plans[request.number], order.created_at
        for before, after in steps:
            actor = request.buyer_id if after == Status.PAID else None
            events.append((request.order_id, before, after, actor, "", at))
        payments.append(
            (request.order_id, Imported.name, new_reference(), order.total, Payment.Status.APPROVED, True,
             "", "", at, at)
        )  # fmt: skip
        orders.append(
            (Status.DELIVERED, plan.note, plan.recipient, plan.address, CARRIER, plan.tracking_number,
             request.order_id, Status.PENDING)
        )  # fmt: skip
    insert_rows(OrderEvent, _EVENT_FIELDS, events)
    delivered_at = {request.order_id: order.created_at for request, order in accepted}
    lines = OrderLine.objects.filter(order__in=delivered_at).order_by("id")
    rows = lines.values_list(
        "pk", "order_id", "store_id", "quantity", "unit_price", "commission_rate", named=True
    )
    entries.write(entries.sale(row, at=delivered_at[row.order_id]) for row in rows)
    insert_rows(Payment, _PAYMENT_FIELDS, payments)
    if orders:
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {Order._meta.db_table} SET status = %s, note = %s, recipient = %s, address1 = %s, "  # noqa: S608
                "carrier = %s, tracking_number = %s WHERE id = %s AND status = %s",
                orders,
            )
    OrderTerm.objects.note(
        Findable(request.order_id, plans[request.number].recipient, "", plans[request.number].tracking_number)
        for request, _order in accepted
    )
    return written
