"""Who is in the demo shop: three logins, a store, and as many buyers as are asked for."""

from datetime import datetime
from typing import Any, NamedTuple

from shop.bulk import ensure_users, in_batches
from shop.models import Role, Store, User
from yousinsa.db.transactions import transact

DOMAIN = "demo.yousinsa.test"
STORE_NAME = "Demo Street"

_FAMILY = ("Kim", "Lee", "Park", "Choi", "Jung", "Kang", "Cho", "Yoon", "Jang", "Lim", "Han", "Oh", "Seo")
_GIVEN = (
    "Minji", "Seojun", "Jiwoo", "Haeun", "Dohyun", "Yuna", "Junho", "Sora", "Taeyang", "Eunbi", "Hyunwoo",
    "Nari", "Siwoo", "Dain", "Kyungsoo", "Bora", "Jaemin",
)  # fmt: skip
_STREETS = (
    ("04799", "Seongsui-ro, Seongdong-gu, Seoul"), ("04044", "Yanghwa-ro, Mapo-gu, Seoul"),
    ("04349", "Itaewon-ro, Yongsan-gu, Seoul"), ("06021", "Apgujeong-ro, Gangnam-gu, Seoul"),
    ("48094", "Haeundae-ro, Haeundae-gu, Busan"), ("41911", "Dongseong-ro, Jung-gu, Daegu"),
    ("61475", "Chungjang-ro, Dong-gu, Gwangju"), ("34126", "Daehak-ro, Yuseong-gu, Daejeon"),
)  # fmt: skip


class Address(NamedTuple):
    recipient: str
    phone: str
    postal_code: str
    address1: str
    address2: str


class Logins(NamedTuple):
    """User ids of the demo logins, and the id of the store that owns the demo products."""

    buyer: int
    owner: int
    operator: int
    store: int


def name(number: int) -> str:
    return f"{_FAMILY[number % len(_FAMILY)]} {_GIVEN[number % len(_GIVEN)]}"


def address(number: int) -> Address:
    """Where the buyer of this number has things sent."""
    postal_code, street = _STREETS[number % len(_STREETS)]
    phone = f"010-0000-{number % 10_000:04d}"
    return Address(name(number), phone, postal_code, f"{number % 90 + 1} {street}", "")


def ensure_logins(*, password: str, joined: datetime) -> Logins:
    """Create the logins and the store that are missing; those that exist stay as they are.

    `password` is the password's hash.
    """

    def ensure(who: str, **fields: Any) -> User:
        defaults = {"name": f"Demo {who}", "password": password, "date_joined": joined, **fields}
        return User.objects.get_or_create(email=f"{who}@{DOMAIN}", defaults=defaults)[0]

    def work() -> Logins:
        buyer = ensure("buyer", role=Role.BUYER, **address(0)._asdict())
        owner = ensure("owner", role=Role.STORE_OWNER)
        operator = ensure("operator", is_staff=True, is_superuser=True)
        accepted = {"status": Store.Status.ACCEPTED, "created_at": joined, "decided_at": joined}
        store, _ = Store.objects.get_or_create(owner=owner, name=STORE_NAME, defaults=accepted)
        return Logins(buyer.pk, owner.pk, operator.pk, store.pk)

    return transact(work)


def ensure_buyers(count: int, *, password: str, joined: datetime) -> tuple[list[int], int]:
    """The ids of buyer1@… to buyer`count`@…, in that order, and how many of them are new."""
    names = {f"buyer{number}@{DOMAIN}": name(number) for number in range(1, count + 1)}
    created = ensure_users(names, password=password, joined=joined)
    ids: list[int] = []
    for emails in in_batches(names, 1000):
        found = dict(User.objects.filter(email__in=emails).order_by().values_list("email", "id"))
        ids += [found[email] for email in emails]
    return ids, created
