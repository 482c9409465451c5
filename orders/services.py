"""What happens to an order after it was placed: cancel, expire, ship, deliver, return.

Each use case is one transaction that locks in the house's order: stock rows, then the order's row. Which
stock rows an order needs never changes (lines are written once), so they are read before any lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from inventory import ledger
from inventory.locks import LockedStock, lock_stock
from inventory.selectors import stock_ids
from orders import states
from orders.drops import escrow
from orders.drops.locks import lock_items
from orders.drops.writing import outbox
from orders.errors import InvalidTransition, OrderNotFound
from orders.models import MAX_NOTE, Order, OrderEvent, OrderLine, OrderNote, Status
from orders.models.drops import DropItem
from orders.payments import refunds
from orders.settlements import entries
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact
from yousinsa.errors import Invalid

EXPIRY_BATCH = 200
SHIPPING_FIELDS = ("recipient", "phone", "postal_code", "address1", "address2")


@dataclass(slots=True)
class LockedOrder:
    """An order whose row this transaction holds, its lines, and its stock rows where they were asked for.

    `drop_items` are its drop's, locked with the stock.
    """

    order: Order
    lines: list[OrderLine]
    stock: dict[int, LockedStock]
    stock_of: dict[int, int]
    drop_items: dict[int, dict[int, DropItem]]

    @property
    def units(self) -> list[tuple[int, int]]:
        """All that was ordered, as (stock id, units)."""
        return [(self.stock_of[line.option_id], line.quantity) for line in self.lines]

    def release(self, *, actor_id: int | None) -> None:
        """Give back all that was ordered."""
        order = self.order
        held = [
            escrow.Held(
                order.number, order.buyer_id, order.drop_id, line.option_id, self.stock_of[line.option_id],
                line.quantity,
            )
            for line in self.lines
        ]  # fmt: skip
        escrow.release(self.stock, held, self.drop_items, actor_id=actor_id)


def lock_order(order_id: int, *, with_stock: bool) -> LockedOrder:
    """Lock an order inside the caller's transaction, its stock rows first where they will move.

    Raises `OrderNotFound`.
    """
    lines = list(OrderLine.objects.filter(order_id=order_id).order_by("id"))
    stock_of: dict[int, int] = {}
    stock: dict[int, LockedStock] = {}
    drop_items: dict[int, dict[int, DropItem]] = {}
    if with_stock:
        drop_items = lock_items(_drops_of([order_id]).values())
        stock_of = stock_ids(line.option_id for line in lines)
        stock = lock_stock(stock_of.values())
    order = Order.objects.select_for_update().filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    if with_stock:
        # `returned` may have changed while this transaction waited for the lock.
        lines = list(OrderLine.objects.filter(order_id=order_id).order_by("id"))
    return LockedOrder(order, lines, stock, stock_of, drop_items)


def _drops_of(order_ids: list[int]) -> dict[int, int]:
    """The drops of those orders that are of one: fixed when the order was placed."""
    orders = Order.objects.filter(pk__in=order_ids, drop__isnull=False).order_by()
    return dict(orders.values_list("id", "drop_id"))


def move(order: Order, to_status: str, *, actor_id: int | None, note: str = "", **changes: Any) -> OrderEvent:
    """Give a locked order its next status, with `changes` to other fields, and record who did it, and why.

    Raises `InvalidTransition`.
    """
    states.check(order.status, to_status)
    event = OrderEvent(
        order=order, from_status=order.status, to_status=to_status, actor_id=actor_id, note=note
    )
    order.status = to_status
    for field, value in changes.items():
        setattr(order, field, value)
    if to_status in states.ENDED and order.buyer.withdrawn_at:
        changes.update(_forget_shipping(order))
    order.save(update_fields=["status", *changes])
    event.save(force_insert=True)
    return event


def _forget_shipping(order: Order) -> dict[str, str]:
    for field in SHIPPING_FIELDS:
        setattr(order, field, "")
    return dict.fromkeys(SHIPPING_FIELDS, "")


def cancel_order(*, order_id: int, actor_id: int | None, note: str = "", only_pending: bool = False) -> None:
    """Cancel a pending or paid order: its units are sellable at once, money that was taken goes back.

    `only_pending` for who means to release a hold: an order that was paid meanwhile stays.
    Raises `OrderNotFound`, `InvalidTransition`, `Busy`.
    """

    def work() -> tuple[Order, list[int]]:
        held = lock_order(order_id, with_stock=True)
        if only_pending and held.order.status != Status.PENDING:
            raise InvalidTransition(
                held.order.status, Status.CANCELLED,
                gettext("It is %s by now: only an order that is pending holds stock unpaid.")
                % held.order.get_status_display(),
            )  # fmt: skip
        move(held.order, Status.CANCELLED, actor_id=actor_id, note=note)
        held.release(actor_id=actor_id)
        return held.order, refunds.owe_all(held.order, reason=gettext_noop("The order was cancelled."))

    order, due = transact(work)
    if order.drop_id:
        outbox.tell_now(order.number)
    refunds.pay_out_now(due)


def ship_order(*, order_id: int, carrier: str, tracking_number: str, actor_id: int | None) -> None:
    """Hand a paid order to a carrier; the units leave the stock.

    Raises `Invalid` without carrier or tracking number, `OrderNotFound`, `InvalidTransition`, `Busy`.
    """
    errors = {
        name: gettext("Say who carries the order and under which number.")
        for name, value in (("carrier", carrier), ("tracking_number", tracking_number))
        if not value.strip()
    }
    if errors:
        raise Invalid(errors=errors)

    def work() -> None:
        held = lock_order(order_id, with_stock=True)
        move(
            held.order, Status.SHIPPED, actor_id=actor_id,
            carrier=carrier.strip(), tracking_number=tracking_number.strip(),
        )  # fmt: skip
        ledger.ship(held.stock, held.units, reference=held.order.number, actor_id=actor_id)

    transact(work)


def add_note(*, order_id: int, author_id: int, text: str) -> OrderNote:
    """Keep an operator's note on an order, for other operators. Raises `Invalid`, `OrderNotFound`."""
    text = text.strip()
    if not text or len(text) > MAX_NOTE:
        raise Invalid(errors={"text": gettext("Write something, of at most %d characters.") % MAX_NOTE})
    if not Order.objects.filter(pk=order_id).exists():
        raise OrderNotFound
    return OrderNote.objects.create(order_id=order_id, author_id=author_id, text=text)


def deliver_order(*, order_id: int, actor_id: int | None) -> None:
    """The carrier delivered a shipped order. Raises `OrderNotFound`, `InvalidTransition`, `Busy`."""

    def work() -> None:
        held = lock_order(order_id, with_stock=False)
        event = move(held.order, Status.DELIVERED, actor_id=actor_id)
        entries.write(entries.sale(line, at=event.created_at) for line in held.lines)

    transact(work)


def return_order(
    *, order_id: int, units: Mapping[int, int] | None, actor_id: int | None, reason: str = ""
) -> None:
    """Take back units of a delivered order: option id -> units, or None for all that is still out.

    They are restocked and their price is refunded; the order becomes `returned` with its last unit.
    Raises `Invalid` (an option that is not in the order, or more than is still out), `OrderNotFound`,
    `InvalidTransition`, `Busy`.
    """

    def work() -> list[int]:
        held = lock_order(order_id, with_stock=True)
        order = held.order
        if order.status != Status.DELIVERED:
            raise InvalidTransition(order.status, Status.RETURNED)
        back = _units_back(held.lines, units)
        amount = 0
        now = timezone.now()
        for line in held.lines:
            if n := back.get(line.option_id, 0):
                line.returned += n
                line.save(update_fields=["returned"])
                entries.write([entries.taken_back(line, n, at=now)])
                amount += n * line.unit_price
        ledger.restock(
            held.stock, [(held.stock_of[option_id], n) for option_id, n in back.items()],
            reference=order.number, actor_id=actor_id, reason=reason,
        )  # fmt: skip
        if all(line.returned == line.quantity for line in held.lines):
            move(order, Status.RETURNED, actor_id=actor_id, note=reason)
        return refunds.owe(order, amount, reason=reason or gettext_noop("Units were returned."))

    refunds.pay_out_now(transact(work))


def _units_back(lines: list[OrderLine], units: Mapping[int, int] | None) -> dict[int, int]:
    """What comes back, checked against what is still out: option id -> units, none of them zero."""
    out = {line.option_id: line.quantity - line.returned for line in lines}
    if units is None:
        return {option_id: n for option_id, n in out.items() if n}
    errors = {}
    for option_id, n in units.items():
        if option_id not in out:
            errors["lines.option"] = gettext("Option %s is not in this order.") % option_id
        elif not 1 <= n <= out[option_id]:
            text = gettext("Of option %(option)s %(out)s can be returned, not %(asked)s.")
            errors["lines.quantity"] = text % {"option": option_id, "out": out[option_id], "asked": n}
    if errors:
        raise Invalid(errors=errors)
    return dict(sorted(units.items()))


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
    drop_of = _drops_of(order_ids)
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
        escrow.Held(*numbers[order_id], drop_of.get(order_id), option_id, stock_of[option_id], quantity)
        for order_id, option_id, quantity in lines
        if order_id in numbers
    ]
    escrow.release(locked, held, drop_items, reason=gettext_noop("hold expired"))
    withdrawn = Order.objects.filter(pk__in=numbers, buyer__withdrawn_at__isnull=False)
    forget_shipping(order_ids=list(withdrawn.values_list("id", flat=True)))
    return len(numbers)


def forget_shipping(*, order_ids: list[int]) -> None:
    """Blank where ended orders were shipped to: personal data of somebody who withdrew."""
    if order_ids:
        Order.objects.filter(pk__in=order_ids).update(**dict.fromkeys(SHIPPING_FIELDS, ""))


def lock_orders_of(*, buyer_id: int) -> None:
    """Lock a buyer's orders, before the transaction withdraws the buyer.

    None of them can end meanwhile without noticing: whoever ends one afterwards finds the buyer withdrawn.
    """
    orders = Order.objects.select_for_update().filter(buyer_id=buyer_id).order_by("pk")
    list(orders.values_list("pk", flat=True))


def forget_buyer(*, buyer_id: int) -> None:
    """A buyer withdrew: ended orders lose their address now, open ones when they end (see `move`)."""
    ended = Order.objects.filter(buyer_id=buyer_id, status__in=states.ENDED).exclude(address1="")
    forget_shipping(order_ids=list(ended.values_list("id", flat=True)))
