"""Questions about the shop: read-only."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from msgspec import Meta

from shop.models import Category, Option, Product, SearchTerm, Store, TokenRevocation, User
from shop.schemas import AddressView, Id, Price, StoreView, UserView
from yousinsa.auth import Revocation
from yousinsa.db.statements import Statement
from yousinsa.errors import Invalid
from yousinsa.http.bodies import Query
from yousinsa.http.paging import MAX_PAGE_SIZE, PAGE_SIZE, Ordering
from yousinsa.text.keys import MAX_TERM, after, key, search_words

ORDERINGS: dict[str, Ordering] = {
    "newest": Ordering(("id",), (int,), descending=True),
    "oldest": Ordering(("id",), (int,)),
    "price": Ordering(("price", "id"), (int, int)),
    "-price": Ordering(("price", "id"), (int, int), descending=True),
    "name": Ordering(("name_key", "id"), (str, int)),
    "-name": Ordering(("name_key", "id"), (str, int), descending=True),
}
MAX_SEARCH_WORDS = 8
# How many records a search by another record's name looks at.
MATCH_LIMIT = 500


class ProductQuery(Query, frozen=True):
    """Filters of the product list; all of them narrow it."""

    category: Annotated[str, Meta(description="A category's slug; what lies below it is included.")] = ""
    store: Annotated[
        Id | None, Meta(description="A store's id; its owner is shown what is off sale as well.")
    ] = None
    search: Annotated[
        str,
        Meta(
            description="Words; each must begin a word of the name, or one inside a Korean compound.",
            max_length=100,
        ),
    ] = ""
    min_price: Price | None = None
    max_price: Price | None = None
    in_stock: Annotated[
        bool | None, Meta(description="Only products with (or without) an available option.")
    ] = None
    ordering: Annotated[str, Meta(extra_json_schema={"enum": list(ORDERINGS)})] = "newest"
    cursor: str = ""
    page_size: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE


def visible_products() -> QuerySet[Product]:
    """Products that shoppers see: on sale, in an accepted store."""
    hidden = Store.objects.exclude(status=Store.Status.ACCEPTED).values("id")
    return Product.objects.filter(is_active=True).exclude(store__in=hidden)


def ordering_named(name: str) -> Ordering:
    """Raises `Invalid` naming `ordering`."""
    if name not in ORDERINGS:
        raise Invalid(errors={"ordering": gettext("Must be one of: %s.") % ", ".join(ORDERINGS)})
    return ORDERINGS[name]


def filter_products(query: ProductQuery, *, own: bool = False) -> QuerySet[Product]:
    """The products that `query` asks for (stock aside, which inventory knows). Raises `Invalid`.

    `own`: also what shoppers do not see.
    """
    if query.min_price is not None and query.max_price is not None and query.min_price > query.max_price:
        raise Invalid(errors={"min_price": gettext("Must not be above max_price.")})
    products = Product.objects.all() if own else visible_products()
    if query.category:
        products = products.filter(category__in=category_ids(query.category))
    if query.store is not None:
        products = products.filter(store=query.store)
    if query.min_price is not None:
        products = products.filter(price__gte=query.min_price)
    if query.max_price is not None:
        products = products.filter(price__lte=query.max_price)
    return search_names(products, query.search)


def category_by_slug(slug: str) -> Category:
    """Raises `Invalid` naming `category`."""
    category = Category.objects.filter(slug=slug).first()
    if category is None:
        raise Invalid(errors={"category": gettext("There is no category with the slug %s.") % slug})
    return category


def category_ids(slug: str) -> list[int]:
    """A category and all below it. Raises `Invalid` naming `category`."""
    category = category_by_slug(slug)
    return list(Category.objects.get_tree(category).values_list("id", flat=True))


def search_names(products: QuerySet[Product], text: str) -> QuerySet[Product]:
    """Products whose name has, for each of the words of `text`, a word that begins with it, in whatever case.

    Words inside of Korean compounds count. A word is letters, digits and underscores. Raises `Invalid`.
    """
    if "\x00" in text:
        raise Invalid(errors={"search": gettext("Must not contain NUL.")})
    words = list(dict.fromkeys(search_words(text)))[:MAX_SEARCH_WORDS]
    if text.strip() and not words:
        return products.none()
    for word in words:
        begun = SearchTerm.objects.filter(begins("term", word[:MAX_TERM]))
        products = products.filter(pk__in=begun.values("product_id"))
    return products


def begins(field: str, text: str) -> Q:
    """That a column which is compared by code points begins with `text`: a range of its index everywhere."""
    return Q(**{f"{field}__gte": text, f"{field}__lt": after(text)})


def find_sku(term: str) -> list[int]:
    """The ids of the options with this SKU, in whatever case it is typed: one, or few."""
    found = Option.objects.filter(sku_key=key(term)).order_by()
    return list(found.values_list("id", flat=True)[:MATCH_LIMIT])


def find_options(term: str) -> list[int]:
    """The ids of the options that a search means, a bounded number of them.

    Those whose SKU begins with `term` if there are any, else those of products with these words in the name.
    """
    by_sku = (
        Option.objects.filter(begins("sku_key", key(term))).order_by("sku_key").values_list("id", flat=True)
    )
    if found := list(by_sku[:MATCH_LIMIT]):
        return found
    products = search_names(Product.objects.order_by("-id"), term).values_list("id", flat=True)
    by_name = Option.objects.filter(product__in=list(products[:MATCH_LIMIT])).order_by("-id")
    return list(by_name.values_list("id", flat=True)[: 4 * MATCH_LIMIT])


def find_users(email: str) -> list[int]:
    """The ids of users whose e-mail address begins like this, up to `MATCH_LIMIT` of them."""
    found = User.objects.filter(begins("email", User.objects.normalize_email(email))).order_by()
    return list(found.values_list("id", flat=True)[:MATCH_LIMIT])


def find_stores(name: str) -> list[int]:
    """The ids of stores whose name begins like this, up to `MATCH_LIMIT` of them."""
    found = Store.objects.filter(begins("name_key", key(name))).order_by()
    return list(found.values_list("id", flat=True)[:MATCH_LIMIT])


def _visible_stores(
    viewer_id: Any, *after: Any, backwards: bool, limit: int
) -> QuerySet[Store, tuple[Any, ...]]:
    shown = Q(status=Store.Status.ACCEPTED)
    stores = Store.objects.filter(shown | Q(owner_id=viewer_id) if viewer_id else shown)
    rows = stores.values_list("id", "name", "status")
    return ORDERINGS["newest"].seek(rows, after, backwards=backwards, limit=limit)


_VISIBLE_STORES = Statement(partial(_visible_stores, None))
_STORES_OF_VIEWER = Statement(_visible_stores)


def visible_stores(viewer_id: int | None, after: Sequence[int], *, backwards: bool, limit: int) -> list[Any]:
    """Accepted stores, and the viewer's own in whatever state, as a list to be paged. One query."""
    if viewer_id is None:
        return _VISIBLE_STORES.rows(*after, backwards=backwards, limit=limit)
    return _STORES_OF_VIEWER.rows(viewer_id, *after, backwards=backwards, limit=limit)


def store_view(store: Any) -> StoreView:
    """A store, or the row of one."""
    return StoreView(store.id, store.name, store.status)


_ACTIVE_USER = Statement(
    lambda user_id: User.objects.filter(pk=user_id, is_active=True).values_list(
        "id", "email", "name", "role", "recipient", "phone", "postal_code", "address1", "address2"
    )
)


def profile(user_id: int) -> UserView | None:
    """An account as its owner sees it; None for one that is not active any more. One query."""
    rows = _ACTIVE_USER.rows(user_id)
    return user_view(rows[0]) if rows else None


def user_view(user: Any) -> UserView:
    """A user, or the row of one."""
    address = None
    if user.address1:
        address = AddressView(user.recipient, user.phone, user.postal_code, user.address1, user.address2)
    return UserView(user.id, user.email, user.name, user.role, address)


def token_revocations(since: datetime | None) -> Iterable[Revocation]:
    """Revocations since then, or (None) all that a living token could still meet."""
    horizon = timezone.now() - timedelta(hours=settings.TOKEN_HOURS)
    rows = TokenRevocation.objects.filter(revoked_at__gte=max(since, horizon) if since else horizon)
    return [
        Revocation(user_id, token_id, at.timestamp())
        for user_id, token_id, at in rows.values_list("user_id", "token_id", "revoked_at")
    ]
