"""Stock rows against the ledger against the orders: what is true (verdicts.py), what differs, and why.

Begin with runs.py, which looks; correction.py sets a row right, records.py keeps both on record.
"""

from inventory.reconciliation.correction import Correction, Uncorrectable, correct
from inventory.reconciliation.runs import CHUNK, Reconciliation
from inventory.reconciliation.scope import ESCROW, WHOLE_SHOP, Finding, OrderBook, OrderedUnits, Scope

__all__ = [
    "CHUNK", "ESCROW", "WHOLE_SHOP", "Correction", "Finding", "OrderBook", "OrderedUnits", "Reconciliation",
    "Scope", "Uncorrectable", "correct",
]  # fmt: skip
