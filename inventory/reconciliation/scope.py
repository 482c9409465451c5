"""The words that all of this room share: what a run looks at, what it asks the orders, what it finds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run looks at: everything, or one option, or one store's, or only what moved since a moment.

    `full` reads the whole ledger even where months of it are sealed.
    """

    option_id: int | None = None
    store_id: int | None = None
    since: datetime | None = None
    full: bool = False

    def __str__(self) -> str:
        said = "whole shop"
        if self.option_id is not None:
            said = f"option {self.option_id}"
        elif self.store_id is not None:
            said = f"store {self.store_id}"
        if self.since is not None:
            said += f", moved since {timezone.localtime(self.since):%Y-%m-%d}"
        return f"{said}, in full" if self.full else said


WHOLE_SHOP = Scope()


class Finding(NamedTuple):
    """A figure that is `found` and should be `expected`; `stock` is None where the row itself is missing.

    `order` is the number of the order that the ledger does not agree with, where it is one alone.
    """

    stock: int | None
    option: int
    sku: str
    kind: str
    expected: int
    found: int
    cause: str
    order: str = ""


# The kind of a difference between a drop's allotment and what became of its units.
ESCROW = "escrow"


class OrderedUnits(NamedTuple):
    """What orders say of an option, in units: promised by open orders, shipped by, and returned to them.

    `expired` are units that an order's hold once promised; known of single orders only.
    """

    promised: int = 0
    shipped: int = 0
    returned: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class OrderBook:
    """How to ask the orders. Inventory does not know them: whoever reconciles hands their selectors in.

    `units`: option ids -> all orders' units by option id. `lines`: an option's id -> (order number, that
    order's units) for each of its orders, closed ones included, streamed. `escrow`: option ids -> units by
    option id that are reserved for no order yet, such as a drop's allotment. `elsewhere`: a run's scope ->
    differences between units that are kept in other places (`ESCROW`), which no movement can set right.
    """

    units: Callable[[Sequence[int]], Mapping[int, OrderedUnits]]
    lines: Callable[[int], Iterable[tuple[str, OrderedUnits]]]
    escrow: Callable[[Sequence[int]], Mapping[int, int]] = lambda option_ids: {}
    elsewhere: Callable[[Scope], Iterable[Finding]] = lambda scope: ()
