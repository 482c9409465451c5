"""What the people of a day were told, each by the shop itself: kept by them, held against the books later."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# What may be told of an order after this was told; "" is before anything was.
LATER: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {"accepted", "pending", "paid", "shipped", "delivered", "returned", "cancelled", "expired"}
    ),
    "accepted": frozenset({"pending", "paid", "shipped", "delivered", "cancelled", "expired"}),
    "pending": frozenset({"paid", "shipped", "delivered", "returned", "cancelled", "expired"}),
    "paid": frozenset({"shipped", "delivered", "returned", "cancelled"}),
    "shipped": frozenset({"delivered", "returned"}),
    "delivered": frozenset({"returned"}),
    # A payment that nobody answered may turn out to have been made.
    "expired": frozenset({"paid", "shipped", "delivered"}),
    "cancelled": frozenset(),
    "returned": frozenset(),
}


@dataclass(slots=True, eq=False)
class Purchase:
    """What somebody wanted to buy under one key, and what they were told of it.

    number: empty until one was told. refused: it was said for certain that there is no order. status, total,
    refunded, returned: as told last. doubts: what was asked for without a clear answer (`pay`, `cancel`,
    `return`). wrong: what contradicts itself already.
    """

    buyer: int
    key: str
    lines: dict[int, int]
    drop: int | None = None
    number: str = ""
    refused: bool = False
    status: str = ""
    total: int = 0
    refunded: int = 0
    returned: dict[int, int] = field(default_factory=dict)
    doubts: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def told(self, order: Mapping[str, Any]) -> None:
        """An answer that shows the order."""
        lines = {line["option"]: line["quantity"] for line in order["lines"]}
        if self.number and order["number"] != self.number:
            self.wrong.append(f"it was {self.number} and is {order['number']}")
        if lines != self.lines:
            self.wrong.append(f"{self.lines} was asked for, {lines} is shown")
        if self.total and order["total"] != self.total:
            self.wrong.append(f"it cost {self.total} and costs {order['total']}")
        self.number, self.total = order["number"], order["total"]
        self.move(order["status"])
        payment = order.get("payment")
        self.refunded = payment["refunded"] if payment else 0
        self.returned = {ln["option"]: ln["returned"] for ln in order["lines"] if ln.get("returned")}

    def move(self, status: str) -> None:
        """The order is said to be in this state."""
        if status != self.status and status not in LATER[self.status]:
            self.wrong.append(f"it was {self.status} and is {status}")
        self.status = status


@dataclass(slots=True)
class Listing:
    """A product that an owner listed: `told` where the answer came; units received of each SKU, and those
    of which that is not certain."""

    skus: dict[str, int]
    told: bool = False
    doubtful: Counter[str] = field(default_factory=Counter)


class Journal:
    """Everybody's, of one day."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self.purchases: list[Purchase] = []
        self.listings: list[Listing] = []

    def purchase(self, buyer: int, lines: dict[int, int], drop: int | None = None) -> Purchase:
        """A new one, with a key of its own."""
        found = Purchase(buyer, f"{self._name}-{next(self._numbers)}", lines, drop)
        self.purchases.append(found)
        return found

    def told(self) -> Iterator[Purchase]:
        """Those with a number."""
        return (purchase for purchase in self.purchases if purchase.number)
