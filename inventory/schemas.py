"""Stock as the API takes and shows it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shop.schemas import Text
from yousinsa.http.bodies import Body


class Receipt(Body, frozen=True):
    """Units that arrived: they are added to what is on hand. `reason` says where they come from."""

    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    reason: Text = ""


class StockView(msgspec.Struct):
    """How many there are of an option: there; promised to orders or set aside; left to be bought."""

    option: int
    sku: str
    on_hand: int
    reserved: int
    available: int
