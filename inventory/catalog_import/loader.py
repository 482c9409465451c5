"""Loads a file of styles into the shop: survey the file once, then write it in batches.

A product is recognised by its source id, and one that exists is left as it is, whatever an operator has
changed about it since. Each batch is one transaction, so an interrupted import simply goes on when it is
run again.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from django.contrib.auth.hashers import make_password
from django.db import reset_queries
from django.utils import timezone

from inventory.catalog_import import merchandise
from inventory.catalog_import.brands import Brand, Brands
from inventory.catalog_import.categories import CategoryTree, Names
from inventory.catalog_import.reader import Skipped, Style, read_styles
from inventory.listing import list_in_bulk
from shop.bulk import NewOption, NewProduct, in_batches
from shop.models import Option, Product, Role, Store, User
from yousinsa.commands.progress import Advance
from yousinsa.db.transactions import halving, transact
from yousinsa.text.keys import key

logger = logging.getLogger(__name__)

# Rows of one transaction: some 800 options, whose stock is moved by one statement.
BATCH = 200
SKIPPED_ROWS_NAMED = 10
REFERENCE = "import:styles"


@dataclass(slots=True)
class Report:
    """What became of the rows; `skipped` has the first rows' numbers by reason."""

    loaded: int = 0
    unchanged: int = 0
    mended: int = 0
    options: int = 0
    units: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    skipped_rows: dict[str, list[int]] = field(default_factory=dict)

    def skip(self, row: int, reason: str) -> None:
        self.skipped[reason] += 1
        rows = self.skipped_rows.setdefault(reason, [])
        if len(rows) < SKIPPED_ROWS_NAMED:
            rows.append(row)


@dataclass(slots=True)
class Survey:
    """What has to be known of the whole file before its first row is written."""

    rows: int = 0
    brands: Brands = field(default_factory=Brands)
    categories: Counter[Names] = field(default_factory=Counter)


def survey(path: Path) -> Survey:
    """Read the file once, counting rows, brands and categories. Raises CommandError (see `read_styles`)."""
    found = Survey()
    for row in read_styles(path):
        found.rows += 1
        if isinstance(row, Style):
            found.brands.add(row.name)
            found.categories[row.category] += 1
    found.brands.decide()
    return found


class Loader:
    """Writes the rows of a surveyed file; `report` counts what is committed."""

    def __init__(self, path: Path, found: Survey) -> None:
        self.report = Report()
        self._path = path
        self._brands = found.brands
        self._categories = CategoryTree(found.categories)
        self._stores: dict[Brand, int] = {}

    def load(self, *, limit: int | None, advance: Advance) -> None:
        """Write up to `limit` rows; one that cannot be written is skipped and keeps no other out.

        Raises `Busy`, and what says that the database is away.
        """
        rows = islice(read_styles(self._path), limit)
        for batch in in_batches(rows, BATCH):
            if new := list(self._new(batch)):
                halving(new, self._load_batch, self._skip_failed)
            advance(len(batch))
            # With DEBUG on, Django keeps the text of the last 9,000 statements, and these are long ones.
            reset_queries()

    def _new(self, batch: list[Style | Skipped]) -> Iterator[Style]:
        """The rows whose products do not exist yet; counts the others."""
        styles = [row for row in batch if isinstance(row, Style)]
        known = set(
            Product.objects.filter(source_id__in=[_source_id(style) for style in styles])
            .order_by()
            .values_list("source_id", flat=True)
        )
        skus = [sku for style in styles if _source_id(style) not in known for sku in _skus(style)]
        taken = set(Option.objects.filter(sku__in=skus).order_by().values_list("sku", flat=True))
        for row in batch:
            if isinstance(row, Skipped):
                self.report.skip(row.row, row.reason)
            elif _source_id(row) in known:
                self.report.unchanged += 1
            elif taken and not taken.isdisjoint(_skus(row)):
                self.report.skip(row.row, "another product has its SKU")
            else:
                yield row

    def _load_batch(self, styles: Sequence[Style]) -> int:
        """Write these, in one transaction or not at all; returns how many."""
        self._categories.ensure(style.category for style in styles)
        self._ensure_stores(styles)
        products = [self._product(style) for style in styles]
        units = {
            sku: merchandise.units(style, size) for style in styles for sku, size in _skus(style).items()
        }
        transact(partial(_write, products, units))
        self.report.loaded += len(styles)
        self.report.mended += sum(style.mended for style in styles)
        self.report.options += len(units)
        self.report.units += sum(units.values())
        return len(styles)

    def _skip_failed(self, style: Style, exc: Exception) -> None:
        logger.error("row %d cannot be written", style.row, exc_info=exc)
        self.report.skip(style.row, "it cannot be written, see the log")

    def _product(self, style: Style) -> NewProduct:
        return NewProduct(
            source_id=_source_id(style),
            store_id=self._stores[self._brands.of(style.name)],
            category_id=self._categories.id(style.category),
            name=style.name,
            price=merchandise.price(style),
            options=[NewOption(sku, size, style.color) for sku, size in _skus(style).items()],
        )

    def _ensure_stores(self, styles: Sequence[Style]) -> None:
        """Find or open the stores of these products, in a transaction of its own."""
        brands = {self._brands.of(style.name) for style in styles} - self._stores.keys()
        if brands:
            self._stores.update(transact(lambda: {brand: _open_store(brand) for brand in sorted(brands)}))


def _source_id(style: Style) -> str:
    return f"styles:{style.id}"


def _skus(style: Style) -> dict[str, str]:
    """The style's sizes by SKU."""
    return {merchandise.sku(style, size): size for size in merchandise.sizes(style)}


def _open_store(brand: Brand) -> int:
    owner, _ = User.objects.get_or_create(
        email=f"owner-{brand.slug}@catalog.yousinsa.test",
        defaults={"name": brand.name, "role": Role.STORE_OWNER, "password": make_password(None)},
    )
    store = Store.objects.filter(owner=owner).order_by("id").first() or Store.objects.create(
        owner=owner, name=_free_name(brand.name), status=Store.Status.ACCEPTED, decided_at=timezone.now()
    )
    return store.pk


def _free_name(name: str) -> str:
    """The name, with a number where a store of somebody else bears it already."""
    free, number = name, 1
    while Store.objects.filter(name_key=key(free)).exists():
        number += 1
        free = f"{name[:90]} ({number})"
    return free


def _write(products: list[NewProduct], units: dict[str, int]) -> None:
    list_in_bulk(products, created_at=timezone.now(), units=units, reference=REFERENCE)
