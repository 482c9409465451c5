"""What the API of the shop takes, and the shop as the API shows it."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shop.models import MAX_OPTIONS, MAX_PRICE
from yousinsa.http.bodies import Body, Query
from yousinsa.http.body_text import AS_SENT, EMAIL, SKU
from yousinsa.http.paging import MAX_PAGE_SIZE, PAGE_SIZE

# --- What it takes ----------------------------------------------------------------------------------------

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Price = Annotated[int, Meta(ge=0, le=MAX_PRICE)]
# No NUL, and something besides white space.
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=NOT_BLANK)]
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Password = Annotated[str, Meta(min_length=1, max_length=200), AS_SENT]
NewPassword = Annotated[
    str,
    AS_SENT,
    Meta(min_length=1, max_length=200, description="At least 8 characters; not common, not only digits."),
]
Email = Annotated[str, Meta(min_length=3, max_length=254, extra_json_schema={"format": "email"}), EMAIL]


class SignUp(Body, frozen=True):
    email: Email
    name: Name
    password: NewPassword
    role: Literal["buyer", "store_owner"] = "buyer"


class SignIn(Body, frozen=True):
    # Whatever is wrong with it, the answer is that of a wrong password.
    email: Annotated[Email, AS_SENT]
    password: Password


class Address(Body, frozen=True):
    """Where to ship."""

    recipient: Name
    phone: Annotated[str, Meta(min_length=1, max_length=30, pattern=NOT_BLANK)]
    postal_code: Annotated[str, Meta(min_length=1, max_length=10, pattern=NOT_BLANK)]
    address1: Annotated[str, Meta(min_length=1, max_length=200, pattern=NOT_BLANK)]
    address2: Text = ""


class ProfileChange(Body, frozen=True):
    """What is left out stays as it is; `address: null` forgets the saved address."""

    name: Name | UnsetType = UNSET
    address: Address | UnsetType | None = UNSET
    current_password: Password | UnsetType = UNSET
    new_password: NewPassword | UnsetType = UNSET


class Withdrawal(Body, frozen=True):
    """The password once more: an account is closed for good by nobody else."""

    password: Password


class StoreApplication(Body, frozen=True):
    name: Name


Sku = Annotated[str, Meta(min_length=1, max_length=64, pattern=NOT_BLANK), SKU]
Size = Annotated[str, Meta(max_length=30, pattern=r"^[^\x00]*$")]
Color = Annotated[str, Meta(max_length=50, pattern=r"^[^\x00]*$")]


class NewOption(Body, frozen=True):
    sku: Sku
    size: Size = ""
    color: Color = ""
    stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class OptionChange(Body, frozen=True):
    """The option with this SKU, or a new one; what is left out stays as it is."""

    sku: Sku
    size: Size | UnsetType = UNSET
    color: Color | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


ProductName = Annotated[str, Meta(min_length=1, max_length=200, pattern=NOT_BLANK)]
Slug = Annotated[str, Meta(min_length=1, max_length=100)]


class NewProduct(Body, frozen=True):
    store: Id
    name: ProductName
    category: Slug
    price: Price
    options: Annotated[list[NewOption], Meta(min_length=1, max_length=MAX_OPTIONS)]


class ProductChange(Body, frozen=True):
    """What is left out stays as it is. Options are recognised by SKU; new ones start without stock.

    `is_active: false` takes the product, or one option, off sale; `true` puts it on sale again.
    """

    name: ProductName | UnsetType = UNSET
    category: Slug | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    options: Annotated[list[OptionChange], Meta(min_length=1, max_length=MAX_OPTIONS)] | UnsetType = UNSET


class PageQuery(Query, frozen=True):
    cursor: str = ""
    page_size: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE


# --- What it shows ----------------------------------------------------------------------------------------


class OptionView(msgspec.Struct):
    """An option and the units of it that can be bought now.

    What is not on sale (`is_active`) only its owner is shown.
    """

    id: int
    sku: str
    size: str
    color: str
    available: int
    is_active: bool


class ProductView(msgspec.Struct):
    """A product; `category` is a slug, `store` an id, `price` in won.

    What is not on sale (`is_active`) only its owner is shown.
    """

    id: int
    name: str
    category: str
    price: int
    store: int
    is_active: bool
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
