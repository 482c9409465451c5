"""The articles of a replay in the shop: one product an article.

The file sells an article at many prices (a customer pays less than a guest, a large lot less than a small
one) and the shop knows one price a product: the last one. Each order keeps its own.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.core.management.base import CommandError

from inventory.listing import list_in_bulk
from inventory.selectors import Offer
from orders.replay.invoices import DOMAIN
from shop.bulk import NewOption, NewProduct, ensure_users, set_prices
from shop.models import Category, Option, Role, Store, User
from shop.services import apply_for_store, decide_store
from yousinsa.db.transactions import transact

OWNER = f"owner@{DOMAIN}"
STORE = "Replayed orders"
CATEGORY = {"slug": "gifts", "name": "Gifts"}


class Catalogue:
    """Finds and creates articles in the replay's own store, which it opens when it is first needed."""

    def __init__(self) -> None:
        """Raises CommandError where an operator closed or rejected the store."""
        self._store_id = _store().pk
        category = Category.objects.filter(slug=CATEGORY["slug"]).first()
        category = category or Category.objects.add_root(dict(CATEGORY))
        self._category_id = category.pk
        self._option_ids: dict[str, int] = {}

    def ensure(self, names: Mapping[str, str], prices: Mapping[str, int], *, at: datetime) -> dict[str, int]:
        """The option ids of the articles with these codes; those that are missing are created at `at`.

        `names` and `prices` (won) are for new ones: an article keeps the name it was first sold under.
        Raises IntegrityError where somebody else creates the same now.
        """
        if unseen := [code for code in names if code not in self._option_ids]:
            self._option_ids |= option_ids(unseen)
        missing = sorted(code for code in unseen if code not in self._option_ids)
        if missing:
            new = [self._new(code, names[code] or code, prices[code]) for code in missing]
            transact(lambda: list_in_bulk(new, created_at=at))
            self._option_ids |= option_ids(missing)
        return {code: self._option_ids[code] for code in names}

    def _new(self, code: str, name: str, price: int) -> NewProduct:
        options = [NewOption(f"REPLAY-{code}", "", "")]
        return NewProduct(_source_id(code), self._store_id, self._category_id, name[:200], price, options)


def leave_prices(prices: Mapping[int, int], on_sale: Mapping[int, Offer]) -> int:
    """Leave each article (option id) at the price (won) of its last order; returns how many changed.

    Inside the caller's transaction.
    """
    changed = {
        on_sale[option_id].product_id: price
        for option_id, price in prices.items()
        if on_sale[option_id].price != price
    }
    set_prices(changed)
    return len(changed)


def option_ids(codes: Iterable[str]) -> dict[str, int]:
    """The options of the articles that exist among these, by code."""
    sources = {_source_id(code): code for code in codes}
    options = Option.objects.filter(product__source_id__in=sources)
    # An owner may have added sizes since: the first option is the one that was sold.
    found = options.order_by("-id").values_list("product__source_id", "id")
    return {sources[str(source_id)]: option_id for source_id, option_id in found}


def _source_id(code: str) -> str:
    return f"replay:{code}"


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
