"""Holds that are over: pending orders end, many in one transaction, and none of them harms another.

What a transaction fails with stands alone in the end and is set aside (orders/models/troubles.py). Rows that
somebody else keeps locked are waited for one by one, a moment each, so that only their own orders wait.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from inventory.models import Kind, Stock
from inventory.selectors import stock_ids
from orders.changes.batch import change_batch
from orders.changes.commands import Command, Decision, Move, next_status
from orders.changes.held import HeldOrder
from orders.engine.batch import cause_of
from orders.engine.blocked import locked_among
from orders.models import DropItem, Order, OrderLine, Status, Trouble
from orders.models.troubles import left_alone, set_aside, settled
from yousinsa.db.transactions import patience
from yousinsa.errors import Busy, Conflict
from yousinsa.language import recordable

# Recorded, for whoever reads it.
EXPIRED = recordable(gettext_noop("hold expired"))

EXPIRY_BATCH = 200
JOB = Trouble.Job.EXPIRY
# How long one locked row may be waited for, and all of a batch together.
ROW_SECONDS = 1
BATCH_SECONDS = 5.0


class NotDue(Conflict):
    """It was paid, cancelled or prolonged meanwhile."""


@dataclass(slots=True, eq=False, kw_only=True)
class Expire(Command):
    """End a hold that is over at `at`."""

    always_tried: ClassVar[bool] = True

    def moves_stock(self, status: str) -> bool:
        return status == Status.PENDING

    def decide(self, held: HeldOrder) -> Decision:
        """Its units are sellable at once. Raises `NotDue`."""
        if held.status != Status.PENDING or held.expires_at > self.at:
            raise NotDue
        return Decision(
            next_status(held, Status.EXPIRED),
            moves=[Move(line, Kind.RELEASE, line.quantity) for line in held.lines],
            reason=EXPIRED,
        )


def expire_due(*, now: datetime | None = None, limit: int = EXPIRY_BATCH) -> int | None:
    """End up to `limit` holds that are over; their units are sellable at once.

    Returns how many this call ended, None when nothing was due. What cannot be ended is set aside for a
    while, and neither due nor in the way of the others.

    Safe when several run: whoever locks the stock rows first ends the hold, the others find it ended.
    Raises `Busy` where the database is busy with something else than single rows.
    """
    now = now or timezone.now()
    due = _due(now).exclude(pk__in=left_alone(JOB, now)).order_by("expires_at")
    order_ids = list(due.values_list("id", flat=True)[:limit])
    if not order_ids:
        return None
    with patience(ROW_SECONDS):
        ended, kept = _end(order_ids, now)
        return ended + (_end_around_locks(kept, now) if kept else 0)


def _due(now: datetime) -> QuerySet[Order]:
    return Order.objects.filter(status=Status.PENDING, expires_at__lte=now)


def _end(order_ids: Sequence[int], now: datetime) -> tuple[int, list[int]]:
    """End these holds, setting aside what that fails with: how many it ended, and which a lock kept."""
    outcomes = change_batch([Expire(order_id=id, at=now) for id in order_ids], splits=False)
    ended: list[int] = []
    kept: list[int] = []
    for id, outcome in zip(order_ids, outcomes, strict=True):
        if isinstance(outcome, Busy):
            kept.append(id)
        elif not isinstance(outcome, Exception):
            ended.append(id)
        elif not isinstance(outcome, NotDue):
            _set_aside([id], cause_of(outcome), now)
    settled(JOB, ended)
    return len(ended), kept


def _end_around_locks(order_ids: Sequence[int], now: datetime) -> int:
    """The same where somebody keeps some row locked: what needs none of those first. Raises `Busy`."""
    groups = _by_locked_row(order_ids)
    ended, kept = _end(groups.pop(None, []), now)
    if kept:
        raise Busy
    give_up_at = time.monotonic() + BATCH_SECONDS
    for ids in groups.values():
        if time.monotonic() > give_up_at:
            kept = ids
        else:
            more, kept = _end(ids, now)
            ended += more
        if kept:
            _set_aside(kept, Busy(), now)
    return ended


def _by_locked_row(order_ids: Sequence[int]) -> dict[tuple[str, int] | None, list[int]]:
    """These orders by a row that each needs and that is locked at this moment; None: none is."""
    lines = list(OrderLine.objects.filter(order_id__in=order_ids).values_list("order_id", "option_id"))
    stock_of = stock_ids(option_id for _, option_id in lines)
    locked_stock = locked_among(Stock, stock_of.values())
    locked_orders = locked_among(Order, order_ids)
    of_drops = Order.objects.filter(pk__in=order_ids, drop__isnull=False).order_by()
    drop_of = dict(of_drops.values_list("id", "drop_id"))
    items = dict(DropItem.objects.filter(drop_id__in=set(drop_of.values())).values_list("id", "drop_id"))
    locked_drops = {items[id] for id in locked_among(DropItem, items)}
    needs: dict[int, tuple[str, int]] = {}
    for order_id, option_id in lines:
        if (stock_id := stock_of.get(option_id)) in locked_stock:
            needs[order_id] = ("stock", stock_id or 0)
    for order_id, drop_id in drop_of.items():
        if drop_id in locked_drops:
            needs[order_id] = ("drop", drop_id)
    groups: dict[tuple[str, int] | None, list[int]] = {}
    for order_id in order_ids:
        own = ("order", order_id) if order_id in locked_orders else None
        groups.setdefault(needs.get(order_id, own), []).append(order_id)
    return groups


def _set_aside(order_ids: Sequence[int], exc: Exception, now: datetime) -> None:
    numbers = dict(Order.objects.filter(pk__in=order_ids).values_list("id", "number"))
    for order_id in order_ids:
        if number := numbers.get(order_id):
            set_aside(JOB, order_id, number, exc, order_id=order_id, now=now)
