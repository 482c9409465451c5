"""An order of a drop on its way: as an entry of the stream, and as a request to the database."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from inventory.selectors import Offer
from orders.models import MAX_LINES, MAX_QUANTITY
from orders.placement.requests import PlaceRequest
from shop.models import MAX_PRICE

RowId = Annotated[int, Meta(ge=1, lt=1 << 62)]
Epoch = Annotated[int, Meta(ge=1, lt=1 << 62)]
LineUnits = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
UnitPrice = Annotated[int, Meta(ge=0, le=MAX_PRICE)]
AdmittedLine = tuple[RowId, LineUnits, UnitPrice]


class AdmittedOrder(msgspec.Struct, array_like=True, frozen=True):
    """An entry of the stream. `lines` are (option, units, price in won, frozen at admission)."""

    number: Annotated[str, Meta(min_length=1, max_length=40)]
    buyer: RowId
    key: Annotated[str, Meta(max_length=255)] | None
    fingerprint: Annotated[str, Meta(max_length=32)]
    epoch: Epoch
    admitted_ms: Annotated[int, Meta(ge=0, lt=1 << 43)]
    lines: Annotated[list[AdmittedLine], Meta(min_length=1, max_length=MAX_LINES)]

    @classmethod
    def of(cls, request: PlaceRequest, epoch: int, offers: Mapping[int, Offer]) -> "AdmittedOrder":
        """The request as it is admitted now, at these prices, if Redis admits it."""
        return cls(
            request.number, request.buyer_id, request.idempotency_key, request.fingerprint, epoch,
            time.time_ns() // 1_000_000,
            [(option_id, units, offers[option_id].price) for option_id, units in request.lines],
        )  # fmt: skip

    @property
    def units(self) -> int:
        return sum(units for _option, units, _price in self.lines)

    @property
    def admitted_at(self) -> datetime:
        return datetime.fromtimestamp(self.admitted_ms / 1000, UTC)


encode_order = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(AdmittedOrder).decode


@dataclass(slots=True, kw_only=True)
class AdmittedRequest(PlaceRequest):
    """A request that Redis has admitted: its price and its moment are decided."""

    admitted: ClassVar[bool] = True

    epoch: int
    prices: dict[int, int]
    admitted_at: datetime

    @classmethod
    def of(cls, drop_id: int, order: AdmittedOrder) -> "AdmittedRequest":
        request = cls(
            buyer_id=order.buyer,
            lines=tuple((option, units) for option, units, _price in order.lines),
            idempotency_key=order.key,
            number=order.number,
            drop_id=drop_id,
            epoch=order.epoch,
            prices={option: price for option, _units, price in order.lines},
            admitted_at=order.admitted_at,
        )
        # What it was admitted with, the price that its buyer saw included.
        request._fingerprint = order.fingerprint
        return request
