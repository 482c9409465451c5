"""What tests start from, made with the services that the shop itself uses."""

import itertools
from collections.abc import Sequence

from inventory.listing import list_product
from inventory.models import Stock
from orders.models import Order
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from shop.models import Category, Option, Role, Store, User
from shop.options import OptionDraft

_numbers = itertools.count(1)

ADDRESS = {
    "recipient": "Kim Minji",
    "phone": "010-1234-5678",
    "postal_code": "04799",
    "address1": "5 Seongsui-ro, Seongdong-gu, Seoul",
    "address2": "B1",
}
PASSWORD = "correct horse battery"


def make_user(
    email: str = "", *, role: str = Role.BUYER, staff: bool = False, address: bool = False, password: str = ""
) -> User:
    fields = ADDRESS if address else {}
    return User.objects.create_user(
        email or f"user{next(_numbers)}@example.com",
        password or None,
        name="Kim Minji",
        role=role,
        is_staff=staff,
        is_superuser=staff,
        **fields,
    )


def make_store(*, owner: User | None = None, status: str = Store.Status.ACCEPTED, name: str = "") -> Store:
    owner = owner or make_user(role=Role.STORE_OWNER)
    return Store.objects.create(owner=owner, name=name or f"Store {next(_numbers)}", status=status)


def make_category(slug: str = "top") -> Category:
    """A root of the tree; transactional tests empty the table that the migration filled."""
    return Category.objects.filter(slug=slug).first() or Category.objects.add_root(
        {"slug": slug, "name": slug.title()}
    )


def make_options(
    stock: Sequence[int] = (10,), *, store: Store | None = None, price: int = 10_000, name: str = ""
) -> list[Option]:
    """A product with an option for each number of `stock`, which is the units received."""
    number = next(_numbers)
    _product, options = list_product(
        store=store or make_store(),
        category=make_category(),
        name=name or f"Shirt {number}",
        price=price,
        options=[OptionDraft(f"SKU-{number}-{i}", size=str(i)) for i in range(len(stock))],
        units=stock,
    )
    return options


def make_order(buyer: User, *lines: tuple[Option, int], key: str | None = None) -> Order:
    """A pending order, placed by the plain lane."""
    request = PlaceRequest.build(
        buyer_id=buyer.pk, lines=[(option.pk, n) for option, n in lines], idempotency_key=key
    )
    return Order.objects.get(number=row_lock(request).order.number)


def stock_of(option: Option) -> tuple[int, int]:
    """(on hand, reserved) of an option, as the database has it now."""
    return Stock.objects.values_list("on_hand", "reserved").get(option=option)
