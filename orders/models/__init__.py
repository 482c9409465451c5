"""The tables of this app. Begin with orders.py."""

from orders.models.bulk import BulkRow, BulkRun
from orders.models.corrections import Corrected, OrderCorrection
from orders.models.drops import DeadLetter, Drop, DropItem, DropRelease, DropStatus, DropTally, Lane
from orders.models.orders import (
    MAX_LINES,
    MAX_NOTE,
    MAX_QUANTITY,
    MAX_TOTAL,
    Hold,
    Order,
    OrderEvent,
    OrderLine,
    OrderNote,
    Status,
)
from orders.models.payments import Payment, Refund
from orders.models.settlements import Settlement, SettlementEntry
from orders.models.terms import Findable, OrderTerm, TermKind
from orders.models.troubles import Trouble

__all__ = [
    "MAX_LINES",
    "MAX_NOTE",
    "MAX_QUANTITY",
    "MAX_TOTAL",
    "BulkRow",
    "BulkRun",
    "Corrected",
    "DeadLetter",
    "Drop",
    "DropItem",
    "DropRelease",
    "DropStatus",
    "DropTally",
    "Findable",
    "Hold",
    "Lane",
    "Order",
    "OrderCorrection",
    "OrderEvent",
    "OrderLine",
    "OrderNote",
    "OrderTerm",
    "Payment",
    "Refund",
    "Settlement",
    "SettlementEntry",
    "Status",
    "TermKind",
    "Trouble",
]
