"""Stock rows against the ledger against the orders: what is true, what differs, and why.

What is true:

* `on_hand` is what the ledger says was received, adjusted, shipped and restocked, less the units of shipped
  orders that have no `ship` movement, plus returned units that have no `restock`. `correct` movements are
  no part of it: they mend the ledger's total, and never need to be mended themselves.
* `reserved` is what open orders were promised, plus what is set aside for drops (`OrderBook.escrow`).

A `Difference` is a counter of the stock row that is not so (`on_hand`, `reserved`) or, where the counter is
right, a sum of the ledger's deltas that is not (`ledger_on_hand`, `ledger_reserved`). Where all four agree,
what a deleted or changed movement leaves behind is a difference too: the row's last movement number is not
the ledger's (`sequence`), numbers are missing (`ledger_sequence`: how many there should be, and are), or a
balance does not follow from the one before (`ledger_balance`). A `correct` movement closes the books: gaps
and balances before it are not reported again. Where a receipt or an adjustment was itself deleted or changed,
`on_hand` follows what is left of the ledger, for want of a better witness: then the units must be counted.

Two faults of one option that cancel out to the unit, and leave numbers and balances whole, are not seen:
stocks are compared in sum, and single orders only where a sum is off.
"""

from inventory.reconciliation.runs import (
    CHUNK,
    WHOLE_SHOP,
    Correction,
    Difference,
    Reconciliation,
    Scope,
    Uncorrectable,
    correct,
)
from inventory.reconciliation.sources import ESCROW, OrderBook

__all__ = [
    "CHUNK",
    "ESCROW",
    "WHOLE_SHOP",
    "Correction",
    "Difference",
    "OrderBook",
    "Reconciliation",
    "Scope",
    "Uncorrectable",
    "correct",
]  # fmt: skip
