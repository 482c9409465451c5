"""What a command is, and what it decides: from a held order to what is to be written. No database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from django.utils import timezone

from orders import states
from orders.changes.held import Attempt, HeldOrder, Line
from orders.engine.requests import Row
from orders.schemas import OrderView
from yousinsa.errors import Interrupted


class Move(NamedTuple):
    """Units of a line that move in the ledger: a kind of movement (`inventory.models.Kind`)."""

    line: Line
    kind: str
    units: int


class Owed(NamedTuple):
    """Money of an attempt that goes back to the buyer: won, why, and what the provider will know it by."""

    attempt: Attempt
    amount: int
    reason: str
    reference: str


@dataclass(slots=True)
class Decision:
    """What is to be written of one order.

    `fields`: columns of the order, by name; `status` among them is recorded as an event, with `note`.
    `attempts`: columns of attempts that change. `returned`: units that come back, by line. `delivered`: all
    lines were, and are owed to their stores. `lost`: what comes back had been owed to no store yet.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    started: Attempt | None = None
    attempts: list[tuple[Attempt, dict[str, Any]]] = field(default_factory=list)
    owed: list[Owed] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    reason: str = ""
    returned: dict[int, int] = field(default_factory=dict)
    delivered: bool = False
    lost: bool = False


@dataclass(slots=True, frozen=True)
class Changed:
    """What became of a command. `order`: as it is then.

    `owed`: references of the refunds to be paid out. `came_back`: units went back to a drop. `attempt`: the
    payment that it was about.
    """

    order: OrderView
    order_id: int
    owed: Sequence[str] = ()
    came_back: bool = False
    attempt: Attempt | None = None
    fresh: bool = False


class NeedsStock(Exception):
    """The order's stock rows have to be locked after all."""


@dataclass(slots=True, eq=False, kw_only=True)
class Command:
    """What is to be done to an order, named by `order_id` or by `number` (with `owner_id`: only theirs).

    `at` is when it is done, fixed before the first attempt: so that an attempt whose COMMIT was never
    answered is recognised.
    """

    # Tried however often it failed before: the shop's own affair, and nobody's who could press again.
    always_tried: ClassVar[bool] = False

    order_id: int = 0
    number: str = ""
    owner_id: int | None = None
    actor_id: int | None = None
    at: datetime = field(default_factory=timezone.now)
    with_stock: bool = False
    rows: tuple[Row, ...] = ()

    def moves_stock(self, status: str) -> bool:
        """Whether it moves stock of an order that has this status."""
        raise NotImplementedError

    def decide(self, held: HeldOrder) -> Decision:
        """What is to be written. Raises a `Problem` to refuse, `NeedsStock`; changes nothing."""
        raise NotImplementedError

    # --- What the engine knows of it (orders/engine/requests.py) --------------------------------------

    @property
    def ticket(self) -> "Command":
        return self

    @property
    def needs(self) -> tuple[Row, ...]:
        return self.rows

    @property
    def asks(self) -> tuple[str, str | int, int | None]:
        return type(self).__name__, self.number or self.order_id, self.owner_id

    @property
    def twin(self) -> None:
        return None

    def unknown(self) -> Exception:
        return Interrupted()


def next_status(held: HeldOrder, to_status: str, **fields: Any) -> dict[str, Any]:
    """The columns of an order that gets its next status. Raises `InvalidTransition`."""
    states.check(held.status, to_status)
    return {"status": to_status, **fields}
