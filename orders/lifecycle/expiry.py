"""Holds that are over: pending orders end, many in one transaction."""

from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext_noop

from inventory.locks import lock_stock
from inventory.selectors import stock_ids
from orders.drops import escrow
from orders.drops.locks import lock_items
from orders.locking import drops_of, forget_shipping
from orders.models import Order, OrderEvent, OrderLine, Status
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact

EXPIRY_BATCH = 200


def expire_due(*, now: datetime | None = None, limit: int = EXPIRY_BATCH) -> int | None:
    """End up to `limit` holds that are over; their units are sellable at once.

    Returns how many this call ended, None when nothing was due.

    Safe when several run: whoever locks the stock rows first ends the hold, the others find it ended.
    Raises `Busy`.
    """
    now = now or timezone.now()
    due = Order.objects.filter(status=Status.PENDING, expires_at__lte=now).order_by("expires_at")
    order_ids = list(due.values_list("id", flat=True)[:limit])
    return transact(lambda: _expire(order_ids, now)) if order_ids else None


def _expire(order_ids: list[int], now: datetime) -> int:
    lines = list(
        OrderLine.objects.filter(order_id__in=order_ids)
        .order_by("order_id", "id")
        .values_list("order_id", "option_id", "quantity")
    )
    drop_of = drops_of(order_ids)
    drop_items = lock_items(drop_of.values())
    stock_of = stock_ids(option_id for _, option_id, _ in lines)
    locked = lock_stock(stock_of.values())
    over = (
        Order.objects.select_for_update()
        .filter(pk__in=order_ids, status=Status.PENDING, expires_at__lte=now)
        .order_by("pk")
    )
    ended = over.values_list("id", "number", "buyer_id")
    numbers = {id: (number, buyer_id) for id, number, buyer_id in ended}
    Order.objects.filter(pk__in=numbers).update(status=Status.EXPIRED)
    insert_rows(
        OrderEvent, ("order", "from_status", "to_status", "actor", "note", "created_at"),
        [(id, Status.PENDING, Status.EXPIRED, None, "", now) for id in numbers],
    )  # fmt: skip
    held = [
        escrow.HeldLine(*numbers[order_id], drop_of.get(order_id), option_id, stock_of[option_id], quantity)
        for order_id, option_id, quantity in lines
        if order_id in numbers
    ]
    escrow.release(locked, held, drop_items, reason=gettext_noop("hold expired"))
    withdrawn = Order.objects.filter(pk__in=numbers, buyer__withdrawn_at__isnull=False)
    forget_shipping(order_ids=list(withdrawn.values_list("id", flat=True)))
    return len(numbers)
