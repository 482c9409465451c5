"""Ending an order before its units have left."""

from dataclasses import dataclass

from django.utils.translation import gettext_lazy, gettext_noop

from inventory.models import Kind
from orders.changes.batch import begin_change, change
from orders.changes.commands import Changed, Command, Decision, Move, next_status
from orders.changes.held import HeldOrder
from orders.errors import InvalidTransition
from orders.models import Status
from orders.payments.aftermath import follow, follow_soon
from orders.payments.refunds import owe
from yousinsa.http.deferred import Deferred
from yousinsa.language import filled_later, recordable

# Recorded, for whoever reads it.
CANCELLED = recordable(gettext_noop("The order was cancelled."))
_TOO_LATE = gettext_lazy("It is %(status)s by now: only an order that is pending holds stock unpaid.")


@dataclass(slots=True, eq=False, kw_only=True)
class Cancel(Command):
    """End a pending or paid order; `only_pending` where it was paid meanwhile: leave it."""

    note: str = ""
    only_pending: bool = False

    def moves_stock(self, status: str) -> bool:
        return True

    def decide(self, held: HeldOrder) -> Decision:
        """Its units are sellable at once, money that was taken goes back. Raises `InvalidTransition`."""
        if self.only_pending and held.status != Status.PENDING:
            raise InvalidTransition(
                held.status, Status.CANCELLED,
                filled_later(_TOO_LATE, {"status": Status(held.status).label}),
            )  # fmt: skip
        return Decision(
            next_status(held, Status.CANCELLED),
            note=self.note,
            moves=[Move(line, Kind.RELEASE, line.quantity) for line in held.lines],
            owed=owe(held, held.total, reason=CANCELLED),
        )


def cancel_order(*, order_id: int, actor_id: int | None, note: str = "", only_pending: bool = False) -> None:
    """Cancel a pending or paid order.

    `only_pending` for who means to release a hold: an order that was paid meanwhile stays.
    Raises `OrderNotFound`, `InvalidTransition`, `Busy`.
    """
    follow(change(Cancel(order_id=order_id, actor_id=actor_id, note=note, only_pending=only_pending)))


def begin_cancel(*, number: str, buyer_id: int) -> Deferred[Changed]:
    """The same of a buyer's own order, without waiting for the outcome."""
    return begin_change(Cancel(number=number, owner_id=buyer_id, actor_id=buyer_id)).map(follow_soon)
