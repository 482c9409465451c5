"""Questions about stock: read-only, no locks."""

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import OuterRef, Q, QuerySet, Subquery

from inventory.models import Stock
from shop.models import Option, Product, Store
from shop.schemas import OptionView, ProductView
from shop.selectors import find_sku

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


def on_sale(option: str = "") -> Q:
    """That an option is on sale, as a condition on what leads to it by `option` (`option__`).

    The option and its product are active, their store is accepted.
    """
    wanted = {"is_active": True, "product__is_active": True, "product__store__status": Store.Status.ACCEPTED}
    return Q(**{f"{option}{field}": value for field, value in wanted.items()})


def offers(option_ids: Iterable[int]) -> dict[int, Offer]:
    """The options among these that are on sale, by id, as they were when the database was asked.

    They are kept in stock as well. One query.
    """
    rows = (
        Option.objects.filter(on_sale(), pk__in=set(option_ids), stock__isnull=False)
        .order_by()
        .values_list(
            "id", "sku", "size", "color", "product_id", "product__name", "product__price",
            "stock__id", "product__store_id", "product__store__commission_rate", "stock__on_hand",
            "stock__reserved",
        )
    )  # fmt: skip
    return {row[0]: Offer(*row[:10], row[10] - row[11]) for row in rows}


def off_sale(option_ids: Iterable[int]) -> set[int]:
    """Those of these options that are taken off sale, alone or with their product or store. One query."""
    ids = set(option_ids)
    there = Option.objects.filter(on_sale(), pk__in=ids)
    return ids - set(there.order_by().values_list("id", flat=True))


def available_units(option_ids: Iterable[int]) -> dict[int, int]:
    """Units that can be bought now, by option id; options without a stock row are left out. One query."""
    rows = Stock.objects.filter(option_id__in=list(option_ids)).values_list(
        "option_id", "on_hand", "reserved"
    )
    return {option_id: on_hand - reserved for option_id, on_hand, reserved in rows}


def stocks_of_sku(sku: str) -> list[int]:
    """The ids of the stock rows of the options with this SKU, in whatever case it is typed; or nothing."""
    return list(Stock.objects.filter(option__in=find_sku(sku)).values_list("id", flat=True))


def stock_ids(option_ids: Iterable[int]) -> dict[int, int]:
    """Stock ids by option id."""
    return dict(Stock.objects.filter(option_id__in=set(option_ids)).values_list("option_id", "id"))


def product_views(products: QuerySet[Product], *, whole: bool = False) -> list[ProductView]:
    """Products as shoppers see them, with what is available of each option now. One query.

    In the order of the queryset, which must keep a product's rows together; options by id, those that are on
    sale or (`whole`, as their owner sees them) all.
    """
    rows = products.values_list(
        "id", "name", "category__slug", "price", "store_id", "is_active",
        "options__id", "options__sku", "options__size", "options__color",
        "options__stock__on_hand", "options__stock__reserved", "options__is_active",
    )  # fmt: skip
    views: dict[int, ProductView] = {}
    for row in rows:
        id, name, category, price, store, is_active = row[:6]
        view = views.get(id)
        if view is None:
            view = views[id] = ProductView(id, name, category, price, store, is_active, [])
        option_id, sku, size, color, on_hand, reserved, on_sale = row[6:]
        if option_id is not None and (on_sale or whole):
            available = (on_hand or 0) - (reserved or 0)
            view.options.append(OptionView(option_id, sku, size, color, available, on_sale))
    for view in views.values():
        view.options.sort(key=lambda option: option.id)
    return list(views.values())


def in_stock(product_ids: Iterable[int]) -> set[int]:
    """Those of these products that have an option which is available now. One query."""
    rows = Stock.objects.filter(
        option__product__in=list(product_ids), sold_out=False, option__is_active=True
    ).order_by()
    return set(rows.values_list("option__product", flat=True))


def sold_out_products(limit: int = 20_000) -> set[int] | None:
    """Products none of whose options is available, or on sale. Four queries.

    None when more than `limit` options are sold out: then a look at any products finds enough of them.
    """
    # Each has an index of its own; together in one condition they would have none.
    gone = [
        Stock.objects.filter(sold_out=True).order_by(),
        Stock.objects.filter(option__is_active=False).order_by(),
    ]
    if sum(rows.count() for rows in gone) > limit:
        return None
    # LIMIT keeps MariaDB from turning this into a join with all the stock that there is.
    available = Stock.objects.filter(
        option__product=OuterRef("option__product"), sold_out=False, option__is_active=True
    )
    found: set[int] = set()
    for rows in gone:
        alone = rows.annotate(another=Subquery(available.order_by().values("pk")[:1]))
        found |= set(alone.filter(another__isnull=True).values_list("option__product", flat=True))
    return found
