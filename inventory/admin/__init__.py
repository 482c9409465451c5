"""Stock on the desk: the counters, what changes them, the ledger, and many changes from a file."""

from inventory.admin import deliveries, movements, stock, stocktakes

__all__ = ["deliveries", "movements", "stock", "stocktakes"]
