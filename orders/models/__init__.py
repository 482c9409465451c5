"""The tables of this app. Begin with orders.py."""

from orders.models.drops import DeadLetter, Drop, DropItem, DropRelease, DropStatus, DropTally, Lane
from orders.models.orders import (
    MAX_LINES,
    MAX_NOTE,
    MAX_QUANTITY,
    Hold,
    Order,
    OrderEvent,
    OrderLine,
    OrderNote,
    Status,
)
from orders.models.payments import Payment, Refund
from orders.models.settlements import Settlement, SettlementEntry

__all__ = [
    "MAX_LINES",
    "MAX_NOTE",
    "MAX_QUANTITY",
    "DeadLetter",
    "Drop",
    "DropItem",
    "DropRelease",
    "DropStatus",
    "DropTally",
    "Hold",
    "Lane",
    "Order",
    "OrderEvent",
    "OrderLine",
    "OrderNote",
    "Payment",
    "Refund",
    "Settlement",
    "SettlementEntry",
    "Status",
]
