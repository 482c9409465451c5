"""Stock on the desk: the counters, what changes them, the ledger and its books, many changes from a file."""

from inventory.admin import books, deliveries, movements, stock, stocktakes

__all__ = ["books", "deliveries", "movements", "stock", "stocktakes"]
