"""Questions about stock: read-only, no locks."""

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import Exists, F, OuterRef, QuerySet

from inventory.models import Stock
from shop.models import Option, Product, Store


class Offer(NamedTuple):
    """What a buyer needs to know of an option: what it is, what it costs (won), how many there are."""

    option_id: int
    sku: str
    size: str
    color: str
    product_id: int
    product_name: str
    price: int
    stock_id: int
    available: int


def offers(option_ids: Iterable[int]) -> dict[int, Offer]:
    """The options among these that are on sale, by id, as they were when the database was asked.

    On sale: kept in stock, the product active, its store accepted. One query.
    """
    rows = (
        Option.objects.filter(
            pk__in=set(option_ids),
            product__is_active=True,
            product__store__status=Store.Status.ACCEPTED,
            stock__isnull=False,
        )
        .order_by()
        .values_list(
            "id", "sku", "size", "color", "product_id", "product__name", "product__price",
            "stock__id", "stock__on_hand", "stock__reserved",
        )
    )  # fmt: skip
    return {row[0]: Offer(*row[:8], row[8] - row[9]) for row in rows}


def available_units(option_ids: Iterable[int]) -> dict[int, int]:
    """Units that can be bought now, by option id; options without a stock row are left out. One query."""
    rows = Stock.objects.filter(option_id__in=list(option_ids)).values_list(
        "option_id", "on_hand", "reserved"
    )
    return {option_id: on_hand - reserved for option_id, on_hand, reserved in rows}


def stock_ids(option_ids: Iterable[int]) -> dict[int, int]:
    """Stock ids by option id."""
    return dict(Stock.objects.filter(option_id__in=set(option_ids)).values_list("option_id", "id"))


def in_stock(products: QuerySet[Product], wanted: bool) -> QuerySet[Product]:
    """Narrow products to those with (or without) an option that is available now."""
    available = Exists(
        Stock.objects.filter(option__product=OuterRef("pk"), on_hand__gt=F("reserved")).order_by()
    )
    return products.filter(available if wanted else ~available)
