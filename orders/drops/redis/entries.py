"""An order of a drop on its way: as a request, and as an entry of the stream."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from orders.models import MAX_LINES, MAX_QUANTITY
from orders.placement.requests import PlaceRequest

Id = Annotated[int, Meta(ge=1, lt=1 << 62)]
Units = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Price = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """An admitted order as the stream carries it. `lines` are (option, units, price frozen at admission)."""

    number: Annotated[str, Meta(min_length=1, max_length=40)]
    buyer: Id
    key: Annotated[str, Meta(max_length=255)] | None
    fingerprint: Annotated[str, Meta(max_length=32)]
    epoch: Id
    admitted_ms: Annotated[int, Meta(ge=0, lt=1 << 43)]
    lines: Annotated[list[tuple[Id, Units, Price]], Meta(min_length=1, max_length=MAX_LINES)]

    @property
    def units(self) -> int:
        return sum(units for _option, units, _price in self.lines)

    @property
    def admitted_at(self) -> datetime:
        return datetime.fromtimestamp(self.admitted_ms / 1000, UTC)


encode_entry = msgspec.json.Encoder().encode
decode_entry = msgspec.json.Decoder(Entry).decode


@dataclass(slots=True, kw_only=True)
class AdmittedRequest(PlaceRequest):
    """A request that Redis has admitted: its price and its moment are decided."""

    epoch: int
    prices: dict[int, int]
    admitted_at: datetime

    @classmethod
    def of(cls, drop_id: int, entry: Entry) -> "AdmittedRequest":
        return cls(
            buyer_id=entry.buyer,
            lines=tuple((option, units) for option, units, _price in entry.lines),
            idempotency_key=entry.key,
            number=entry.number,
            drop_id=drop_id,
            epoch=entry.epoch,
            prices={option: price for option, _units, price in entry.lines},
            admitted_at=entry.admitted_at,
        )
