"""What can be done to many orders at once: the right that it takes, where it leads, how it is carried out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from orders.changes.batch import change_batch
from orders.changes.commands import Changed
from orders.errors import OrderNotFound, ShippingRequired
from orders.lifecycle.shipping import Deliver, Ship
from orders.models import BulkRow, BulkRun, Status
from orders.payments import by_hand
from orders.payments.services import confirm_transfers
from yousinsa.errors import InternalError, Problem

Outcomes = Sequence[Changed | Exception]


@dataclass(frozen=True)
class BulkAction:
    """`permission` is what it takes of an order, and of many. `carry_out`: rows, the moment, who."""

    permission: str
    to_status: Status
    carry_out: Callable[[Sequence[BulkRow], datetime, int], Outcomes]


def _ship(rows: Sequence[BulkRow], at: datetime, actor_id: int) -> Outcomes:
    return change_batch(
        [
            Ship(
                order_id=_id(row), actor_id=actor_id, at=at,
                carrier=row.carrier, tracking_number=row.tracking_number,
            )
            for row in rows
        ]
    )  # fmt: skip


def _deliver(rows: Sequence[BulkRow], at: datetime, actor_id: int) -> Outcomes:
    return change_batch([Deliver(order_id=_id(row), actor_id=actor_id, at=at) for row in rows])


def _confirm(rows: Sequence[BulkRow], at: datetime, actor_id: int) -> Outcomes:
    return confirm_transfers([_id(row) for row in rows], actor_id=actor_id, at=at)


ACTIONS: dict[str, BulkAction] = {
    BulkRun.Action.SHIP: BulkAction("orders.ship_order", Status.SHIPPED, _ship),
    BulkRun.Action.DELIVER: BulkAction("orders.deliver_order", Status.DELIVERED, _deliver),
    BulkRun.Action.CONFIRM: BulkAction(by_hand.CONFIRM, Status.PAID, _confirm),
}


def _id(row: BulkRow) -> int:
    if row.order_id is None:
        raise ValueError("a row that waits names its order (bulkrow_has_order_or_is_refused)")
    return row.order_id


def reason(refusal: Exception) -> str:
    """Why an order was refused, for an operator, in the language of this thread."""
    if isinstance(refusal, OrderNotFound):
        return gettext("There is no order with this number.")
    if isinstance(refusal, ShippingRequired):
        return gettext("Nobody has said where to ship it. Save an address in the buyer's account first.")
    problem: Any = refusal if isinstance(refusal, Problem) else InternalError()
    texts = problem.errors.values() if problem.errors else [problem.detail or problem.title]
    return " ".join(map(str, texts))[:300]
