"""Users and products by the thousand, for imports and demo data: multi-row INSERTs instead of `save`.

Nothing is checked here but what the database's constraints check. Stock is not created here: the caller
opens it through `inventory.ledger` for the options that it gets back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from django.contrib.auth.hashers import make_password
from django.db import connection
from django.utils import timezone

from shop.models import Option, Product, Role, SearchTerm, User
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact
from yousinsa.text.keys import key

T = TypeVar("T")

# Rows of one INSERT and values of one IN (…): well below SQLite's limit of parameters and MariaDB's packet.
USER_BATCH = 1000
# A CASE is read from its top for every row: beyond this, more statements are faster than longer ones.
PRICE_BATCH = 100


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter; no more than one list is taken at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class NewOption(NamedTuple):
    sku: str
    size: str
    color: str


class NewProduct(NamedTuple):
    """A product to be inserted; `source_id` says where it is from and is unique, `price` is in won."""

    source_id: str
    store_id: int
    category_id: int
    name: str
    price: int
    options: Sequence[NewOption]


_PRODUCT_FIELDS = ("store", "category", "name", "name_key", "price", "is_active", "created_at", "source_id")


def insert_products(products: Sequence[NewProduct], *, created_at: datetime) -> dict[str, int]:
    """Insert products with their options, inside the caller's transaction; returns option ids by SKU.

    Raises IntegrityError where a source id or SKU exists already: look them up first.
    """
    insert_rows(
        Product,
        _PRODUCT_FIELDS,
        [
            (p.store_id, p.category_id, p.name, key(p.name), p.price, True, created_at, p.source_id)
            for p in products
        ],
    )
    ids = dict(
        Product.objects.filter(source_id__in=[p.source_id for p in products])
        .order_by()
        .values_list("source_id", "id")
    )
    SearchTerm.objects.note({ids[p.source_id]: p.name for p in products})
    insert_rows(
        Option,
        ("product", "sku", "sku_key", "size", "color", "look_key"),
        [
            (ids[p.source_id], o.sku, key(o.sku), o.size, o.color, key(o.size, o.color))
            for p in products
            for o in p.options
        ],
    )
    return dict(Option.objects.filter(product__in=ids.values()).order_by().values_list("sku", "id"))


def set_prices(prices: Mapping[int, int]) -> None:
    """Give products (by id) these prices (won), inside the caller's transaction."""
    # In key order, so that two who change prices wait for each other in one direction only.
    for batch in in_batches(sorted(prices.items()), PRICE_BATCH):
        cases, marks = " ".join(["WHEN %s THEN %s"] * len(batch)), ", ".join(["%s"] * len(batch))
        with connection.cursor() as cursor:
            # By hand: the ORM takes longer to build this than the database to do it.
            cursor.execute(
                f"UPDATE {Product._meta.db_table} SET price = CASE id {cases} END WHERE id IN ({marks})",  # noqa: S608
                [value for pair in batch for value in pair] + [pk for pk, _price in batch],
            )


def ensure_users(
    names: Mapping[str, str],
    *,
    role: str = Role.BUYER,
    password: str | None = None,
    joined: datetime | None = None,
) -> int:
    """Create the users that are missing of `names` (lower-case e-mail address -> name); returns how many.

    `password` is a password's hash and the same for all of them; None: nobody can sign in with a password.
    Users that exist stay as they are. Commits in batches, so that an interruption keeps what is done.
    """
    password = password or make_password(None)
    joined = joined or timezone.now()
    created = 0
    for batch in in_batches(names, USER_BATCH):
        present = set(User.objects.filter(email__in=batch).order_by().values_list("email", flat=True))
        users = [
            User(email=email, name=names[email], role=role, password=password, date_joined=joined)
            for email in batch
            if email not in present
        ]
        transact(partial(User.objects.bulk_create, users))
        created += len(users)
    return created
