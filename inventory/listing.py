"""Listing products: an option is kept in stock from its first moment, in the transaction that creates it.

`list_product` and `change_product` are whole use cases and open their own transaction; the others run inside
the caller's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_noop

from inventory import ledger
from shop import services
from shop.bulk import NewProduct, insert_products
from shop.models import Category, Option, Product, Store
from shop.options import OptionDraft
from yousinsa.db.transactions import transact
from yousinsa.language import recordable

# Recorded, for whoever reads it.
FIRST_STOCK = recordable(gettext_noop("first stock"))


def list_product(
    *,
    store: Store,
    category: Category,
    name: str,
    price: int,
    options: Sequence[OptionDraft],
    units: Sequence[int] = (),
    actor_id: int | None = None,
) -> tuple[Product, list[Option]]:
    """A new product (price in won) with its options, in the order given; `units` are received of each.

    No `units`: all of them begin empty. Raises `Invalid` naming the option, `SkuTaken`, `Busy`.
    """

    def work() -> tuple[Product, list[Option]]:
        product, added = services.create_product(
            store=store, category=category, name=name, price=price, options=options
        )
        ids = [option.pk for option in added]
        received = dict(zip(ids, units, strict=True)) if units else {}
        keep_in_stock(ids, received, actor_id=actor_id, reason=FIRST_STOCK)
        return product, added

    return transact(work)


def change_product(
    *, product: Product, changes: Mapping[str, Any], options: Sequence[OptionDraft] = ()
) -> None:
    """As `shop.services.update_product`; options that are new begin without stock. Raises `Busy` as well."""

    def work() -> None:
        added = services.update_product(product=product, changes=changes, options=options)
        keep_in_stock([option.pk for option in added])

    transact(work)


def list_in_bulk(
    products: Sequence[NewProduct],
    *,
    created_at: datetime,
    units: Mapping[str, int] | None = None,
    reference: str = "",
) -> dict[str, int]:
    """Products by the thousand (see `shop.bulk.insert_products`), with `units` by SKU; option ids by SKU."""
    option_ids = insert_products(products, created_at=created_at)
    received = {option_ids[sku]: n for sku, n in (units or {}).items()}
    keep_in_stock(list(option_ids.values()), received, reference=reference)
    return option_ids


def keep_in_stock(
    option_ids: Sequence[int],
    units: Mapping[int, int] | None = None,
    *,
    actor_id: int | None = None,
    reference: str = "",
    reason: str = "",
) -> None:
    """Open the stock of options that this transaction created, and receive `units` (option id -> units)."""
    stock_ids = ledger.open_stock(option_ids)
    if units:
        received = {stock_ids[option_id]: n for option_id, n in units.items()}
        ledger.receive_new(received, actor_id=actor_id, reference=reference, reason=reason)
