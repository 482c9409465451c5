"""What goes into placing an order, and what comes out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from orders.engine.requests import Row
from orders.errors import OutcomeUnknown
from orders.placement.numbers import new_number, new_order_id
from orders.schemas import OrderView


@dataclass(slots=True)
class PlaceRequest:
    """What one buyer asks for. `lines` are (option id, units), each option once, in ascending order.

    `expected_total` is the price that the buyer saw, in won. `capped`: the limits of what a buyer may hold
    unpaid apply (`UNPAID_ORDERS`), as they do to all but what the shop itself places.
    """

    # Whether the buyer has been promised it already.
    admitted: ClassVar[bool] = False

    buyer_id: int
    lines: tuple[tuple[int, int], ...]
    idempotency_key: str | None = None
    number: str = field(default_factory=new_number)
    order_id: int = field(default_factory=new_order_id)
    drop_id: int | None = None
    expected_total: int | None = None
    capped: bool = True
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    @classmethod
    def build(
        cls,
        *,
        buyer_id: int,
        lines: Iterable[tuple[int, int]],
        idempotency_key: str | None = None,
        drop_id: int | None = None,
        expected_total: int | None = None,
        capped: bool = True,
    ) -> "PlaceRequest":
        """Sums the lines of the same option: two lines of one shirt are two shirts, checked as two."""
        units: dict[int, int] = {}
        for option_id, quantity in lines:
            units[option_id] = units.get(option_id, 0) + quantity
        return cls(
            buyer_id, tuple(sorted(units.items())), idempotency_key,
            drop_id=drop_id, expected_total=expected_total, capped=capped,
        )  # fmt: skip

    # --- What the engine knows of it (orders/engine/requests.py) --------------------------------------

    @property
    def ticket(self) -> str:
        return self.number

    @property
    def needs(self) -> list[Row]:
        drop: list[Row] = [] if self.drop_id is None else [("drop", self.drop_id)]
        return [("buyer", self.buyer_id), *(("option", option_id) for option_id, _ in self.lines), *drop]

    @property
    def asks(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        return self.buyer_id, self.lines

    @property
    def twin(self) -> tuple[int, str] | None:
        return (self.buyer_id, self.idempotency_key) if self.idempotency_key else None

    @property
    def always_tried(self) -> bool:
        return self.admitted

    def unknown(self) -> OutcomeUnknown:
        return OutcomeUnknown(self.number)

    # --- What is asked for ----------------------------------------------------------------------------

    @property
    def units(self) -> int:
        """Over all lines."""
        return sum(units for _option, units in self.lines)

    @property
    def fingerprint(self) -> str:
        """What was asked for, as 32 hexadecimal digits: tells a repeated request from a reused key."""
        if not self._fingerprint:
            wanted: tuple[Any, ...] = self.lines if self.drop_id is None else (self.drop_id, self.lines)
            if self.expected_total is not None:
                wanted = (self.expected_total, wanted)
            self._fingerprint = hashlib.blake2b(repr(wanted).encode(), digest_size=16).hexdigest()
        return self._fingerprint


@dataclass(slots=True, frozen=True)
class Placed:
    """The order is in the database. `replayed`: it was there before, under the same idempotency key."""

    order: OrderView
    replayed: bool = False


Outcome = Placed | Exception
"""What became of one request of a batch: an order, or the reason why there is none."""
