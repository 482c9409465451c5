"""The shop as the API shows it."""

import msgspec


class OptionView(msgspec.Struct):
    """An option and the units of it that can be bought now."""

    id: int
    sku: str
    size: str
    color: str
    available: int


class ProductView(msgspec.Struct):
    """A product; `category` is a slug, `store` an id, `price` in won."""

    id: int
    name: str
    category: str
    price: int
    store: int
    options: list[OptionView]


class ProductPage(msgspec.Struct):
    """A page of products; `next` and `previous` are addresses, or null at an end of the list."""

    next: str | None
    previous: str | None
    results: list[ProductView]


class StoreView(msgspec.Struct):
    id: int
    name: str
    status: str


class StorePage(msgspec.Struct):
    """A page of stores."""

    next: str | None
    previous: str | None
    results: list[StoreView]


class AddressView(msgspec.Struct):
    recipient: str
    phone: str
    postal_code: str
    address1: str
    address2: str


class UserView(msgspec.Struct):
    """An account, for its owner; `address` is the saved one, or null."""

    id: int
    email: str
    name: str
    role: str
    address: AddressView | None


class SignedIn(msgspec.Struct):
    """`token` goes into the header `Authorization: Bearer <token>`."""

    token: str
    user: UserView
