"""The tables of this app. Begin with stock.py; people prepare documents.py, books.py is what is proven."""

from inventory.models.books import Difference, MonthSeal, ReconciliationRun, SealedBalance
from inventory.models.documents import Delivery, DeliveryLine, StockDocument, Stocktake, StocktakeLine
from inventory.models.stock import MAX_UNITS, Kind, Movement, Stock

__all__ = [
    "MAX_UNITS",
    "Delivery",
    "DeliveryLine",
    "Difference",
    "Kind",
    "MonthSeal",
    "Movement",
    "ReconciliationRun",
    "SealedBalance",
    "Stock",
    "StockDocument",
    "Stocktake",
    "StocktakeLine",
]  # fmt: skip
