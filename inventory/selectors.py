"""Questions about stock: read-only, no locks."""

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import OuterRef, QuerySet, Subquery

from inventory.models import Stock
from shop.models import Option, Product, Store
from shop.schemas import OptionView, ProductView

# Fewer available units than this are few.
LOW_STOCK = 5


class Offer(NamedTuple):
    """What an order asks of an option: what it is, its price (won), who sells it, how many are left.

    `commission_rate` is the store's own rate in basis points; None: the shop's usual one.
    """

    option_id: int
    sku: str
    size: str
    color: str
    product_id: int
    product_name: str
    price: int
    stock_id: int
    store_id: int
    commission_rate: int | None
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
            "stock__id", "product__store_id", "product__store__commission_rate", "stock__on_hand",
            "stock__reserved",
        )
    )  # fmt: skip
    return {row[0]: Offer(*row[:10], row[10] - row[11]) for row in rows}


def available_units(option_ids: Iterable[int]) -> dict[int, int]:
    """Units that can be bought now, by option id; options without a stock row are left out. One query."""
    rows = Stock.objects.filter(option_id__in=list(option_ids)).values_list(
        "option_id", "on_hand", "reserved"
    )
    return {option_id: on_hand - reserved for option_id, on_hand, reserved in rows}


def stocks_of_sku(sku: str) -> list[int]:
    """The id of the stock row of the option with this SKU, or nothing."""
    return list(Stock.objects.filter(option__sku=sku).values_list("id", flat=True))


def stock_ids(option_ids: Iterable[int]) -> dict[int, int]:
    """Stock ids by option id."""
    return dict(Stock.objects.filter(option_id__in=set(option_ids)).values_list("option_id", "id"))


def product_views(products: QuerySet[Product]) -> list[ProductView]:
    """Products as shoppers see them, with what is available of each option now. One query.

    In the order of the queryset, which must keep a product's rows together; options by id.
    """
    rows = products.values_list(
        "id", "name", "category__slug", "price", "store_id",
        "options__id", "options__sku", "options__size", "options__color",
        "options__stock__on_hand", "options__stock__reserved",
    )  # fmt: skip
    views: dict[int, ProductView] = {}
    for id, name, category, price, store, option, sku, size, color, on_hand, reserved in rows:
        view = views.get(id)
        if view is None:
            view = views[id] = ProductView(id, name, category, price, store, [])
        if option is not None:
            view.options.append(OptionView(option, sku, size, color, (on_hand or 0) - (reserved or 0)))
    for view in views.values():
        view.options.sort(key=lambda option: option.id)
    return list(views.values())


def in_stock(product_ids: Iterable[int]) -> set[int]:
    """Those of these products that have an option which is available now. One query."""
    rows = Stock.objects.filter(option__product__in=list(product_ids), sold_out=False).order_by()
    return set(rows.values_list("option__product", flat=True))


def sold_out_products(limit: int = 20_000) -> set[int] | None:
    """Products none of whose options is available. Two queries.

    None when more than `limit` options are sold out: then a look at any products finds enough of them.
    """
    sold_out = Stock.objects.filter(sold_out=True).order_by()
    if sold_out.count() > limit:
        return None
    # LIMIT keeps MariaDB from turning this into a join with all the stock that there is.
    available = Stock.objects.filter(option__product=OuterRef("option__product"), sold_out=False)
    alone = sold_out.annotate(another=Subquery(available.order_by().values("pk")[:1]))
    return set(alone.filter(another__isnull=True).values_list("option__product", flat=True))
