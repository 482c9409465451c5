"""The articles of a replay in the shop: one product an article, priced and stocked as the next order needs.

The file sells an article at many prices (a customer pays less than a guest, a large lot less than a small
one) and the shop knows one price a product. So the price is changed before an order is placed, as a shop
changes prices; the order keeps the price that it was placed at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.core.management.base import CommandError
from django.utils import timezone

from inventory.ledger import receive
from inventory.listing import list_in_bulk
from inventory.selectors import available_units
from orders.replay.invoices import DOMAIN
from orders.replay.report import Report
from shop.bulk import NewOption, NewProduct, ensure_users
from shop.models import Category, Option, Product, Role, Store, User
from shop.services import apply_for_store, decide_store, update_product
from yousinsa.db.transactions import transact

OWNER = f"owner@{DOMAIN}"
STORE = "Replayed orders"
CATEGORY = {"slug": "gifts", "name": "Gifts"}
# Goods arrive by the hundred: what an order lacks is rounded up to the next multiple.
LOT = 100


@dataclass(slots=True, frozen=True)
class Article:
    """A product of the replay and its only option."""

    product: Product
    option_id: int


class Catalogue:
    """Finds and creates articles in the replay's own store, which it opens when it is first needed."""

    def __init__(self, report: Report) -> None:
        """Raises CommandError where an operator closed or rejected the store."""
        self._report = report
        self._store_id = _store().pk
        category = Category.objects.filter(slug=CATEGORY["slug"]).first()
        category = category or Category.objects.add_root(dict(CATEGORY))
        self._category_id = category.pk

    def articles(self, names: Mapping[str, str], prices: Mapping[str, int]) -> dict[str, Article]:
        """The articles with these codes; those that are missing are created, without stock.

        `names` and `prices` (won) are for new ones: an article keeps the name it was first sold under.
        Raises IntegrityError where somebody else creates the same now.
        """
        found = _find(names)
        missing = [code for code in names if code not in found]
        if missing:
            new = [self._new(code, names[code] or code, prices[code]) for code in sorted(missing)]
            transact(lambda: list_in_bulk(new, created_at=timezone.now()))
            found |= _find(missing)
        return found

    def _new(self, code: str, name: str, price: int) -> NewProduct:
        options = [NewOption(f"REPLAY-{code}", "", "")]
        return NewProduct(_source_id(code), self._store_id, self._category_id, name[:200], price, options)

    def set_prices(self, prices: Iterable[tuple[Article, int]]) -> None:
        """Give each article the price (won) of the next order, in one transaction."""
        changes = [(article.product, price) for article, price in prices if article.product.price != price]
        # In key order, so that two who change prices wait for each other in one direction only.
        changes.sort(key=lambda change: change[0].pk)

        def work() -> None:
            for product, price in changes:
                update_product(product=product, changes={"price": price})

        if changes:
            transact(work)
            self._report.prices_changed += len(changes)

    def stock_up(self, units: Mapping[int, int], *, reference: str) -> None:
        """Receive what is missing of these units (option id -> units), in whole lots."""
        available = available_units(units)
        for option_id, wanted in units.items():
            missing = wanted - available.get(option_id, 0)
            if missing > 0:
                quantity = -(-missing // LOT) * LOT
                receive(option_id=option_id, quantity=quantity, reference=reference)
                self._report.receipts += 1
                self._report.units_received += quantity


def option_ids(codes: Iterable[str]) -> dict[str, int]:
    """The options of the articles that exist among these, by code."""
    return {code: article.option_id for code, article in _find(codes).items()}


def _source_id(code: str) -> str:
    return f"replay:{code}"


def _find(codes: Iterable[str]) -> dict[str, Article]:
    sources = {_source_id(code): code for code in codes}
    options = Option.objects.filter(product__source_id__in=sources).select_related("product")
    # An owner may have added sizes since: the first option is the one that was sold.
    return {
        sources[str(option.product.source_id)]: Article(option.product, option.pk)
        for option in options.order_by("-id")
    }


def _store() -> Store:
    ensure_users({OWNER: STORE}, role=Role.STORE_OWNER)
    owner = User.objects.get(email=OWNER)
    store = Store.objects.filter(owner=owner, name=STORE).first()
    if store is None:
        store = apply_for_store(owner_id=owner.pk, role=owner.role, name=STORE)
    if store.status == Store.Status.REQUESTED:
        decide_store(store=store, status=Store.Status.ACCEPTED)
    if store.status != Store.Status.ACCEPTED:
        raise CommandError(
            f"The store {STORE!r} is {store.status}, so nothing can be ordered there. "
            "Set it to accepted in the admin, then run the replay again."
        )
    return store
