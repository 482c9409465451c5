"""Holding one order for a change of something else than its status."""

from django.db import connection

from orders.errors import OrderNotFound
from orders.models import Order, OrderCorrection, OrderTerm
from orders.models.orders import SHIPPING_FIELDS


def lock_order(order_id: int) -> Order:
    """Lock an order's row inside the caller's transaction. Raises `OrderNotFound`."""
    if not connection.in_atomic_block:
        raise RuntimeError("lock_order needs a transaction: use yousinsa.db.transact")
    order = Order.objects.select_for_update().filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    return order


def forget_shipping(*, order_ids: list[int]) -> None:
    """Blank where ended orders were shipped to, and what finds them by it: of somebody who withdrew."""
    if order_ids:
        Order.objects.filter(pk__in=order_ids).update(**dict.fromkeys(SHIPPING_FIELDS, ""))
        OrderTerm.objects.forget(order_ids)
        OrderCorrection.objects.filter(order__in=order_ids).update(before="", after="")
