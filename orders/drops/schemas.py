"""Drops as the API shows them."""

import msgspec

from orders.schemas import Moment


class DropOptionView(msgspec.Struct):
    """One option of a drop, at its drop price (won); `remaining` are the units that can still be bought."""

    option: int
    sku: str
    product: int
    name: str
    size: str
    color: str
    price: int
    allotment: int
    remaining: int


class DropView(msgspec.Struct):
    """A drop. `server_time` is now; `opens_in_seconds` counts down to the opening and is 0 from then on."""

    id: int
    name: str
    status: str
    paused: bool
    opens_at: Moment
    closes_at: Moment | None
    server_time: Moment
    opens_in_seconds: float
    limit_per_customer: int
    remaining: int
    options: list[DropOptionView]


class DropList(msgspec.Struct):
    """Open drops and those to come, the next to open first."""

    server_time: Moment
    results: list[DropView]
