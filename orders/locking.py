"""Holding an order: its row is locked, with the stock that it moves, and nobody else changes either.

In the house's order: a drop's items, stock rows, then the order's row. Which stock rows an order needs never
changes (lines are written once), so they are read before any lock.
"""

from dataclasses import dataclass
from typing import Any

from inventory.locks import LockedStock, lock_stock
from inventory.selectors import stock_ids
from orders import states
from orders.drops import escrow
from orders.drops.locks import lock_items
from orders.errors import OrderNotFound
from orders.models import Order, OrderCorrection, OrderEvent, OrderLine, OrderTerm
from orders.models.drops import DropItem

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
            escrow.HeldLine(
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
        drop_items = lock_items(drops_of([order_id]).values())
        stock_of = stock_ids(line.option_id for line in lines)
        stock = lock_stock(stock_of.values())
    order = Order.objects.select_for_update().filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    if with_stock:
        # `returned` may have changed while this transaction waited for the lock.
        lines = list(OrderLine.objects.filter(order_id=order_id).order_by("id"))
    return LockedOrder(order, lines, stock, stock_of, drop_items)


def drops_of(order_ids: list[int]) -> dict[int, int]:
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
    order.save(update_fields=["status", *changes])
    event.save(force_insert=True)
    if to_status in states.ENDED and order.buyer.withdrawn_at:
        forget_shipping(order_ids=[order.pk])
        for field in SHIPPING_FIELDS:
            setattr(order, field, "")
    return event


def forget_shipping(*, order_ids: list[int]) -> None:
    """Blank where ended orders were shipped to, and what finds them by it: of somebody who withdrew."""
    if order_ids:
        Order.objects.filter(pk__in=order_ids).update(**dict.fromkeys(SHIPPING_FIELDS, ""))
        OrderTerm.objects.forget(order_ids)
        OrderCorrection.objects.filter(order__in=order_ids).update(before="", after="")
