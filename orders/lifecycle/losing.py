"""A parcel that was shipped and arrives nowhere."""

from dataclasses import dataclass

from django.utils.translation import gettext, gettext_lazy, gettext_noop

from inventory.models import Kind
from inventory.reasons import LOST_ON_ITS_WAY
from orders.changes.batch import change
from orders.changes.commands import Command, Decision, Move, next_status
from orders.changes.held import HeldOrder
from orders.errors import InvalidTransition
from orders.models import Status
from orders.payments import by_hand
from orders.payments.aftermath import follow
from orders.payments.refunds import owe
from yousinsa.errors import Invalid
from yousinsa.language import filled_later, recordable

LOSE = "orders.lose_order"
MAX_REASON = 150
# Recorded, for its buyer.
LOST = recordable(gettext_noop("The parcel was lost on its way: what was paid goes back."))
_NOT_ON_ITS_WAY = gettext_lazy("It is %(status)s: only an order that is on its way can be lost.")


@dataclass(slots=True, eq=False, kw_only=True)
class Lose(Command):
    """A shipped order's parcel is lost."""

    reason: str

    def moves_stock(self, status: str) -> bool:
        return True

    def decide(self, held: HeldOrder) -> Decision:
        """It becomes `returned`, and the buyer gets everything back; no unit is for sale again.

        On paper they come back and are written off at once: what an order shipped and what it gave back stay
        the sums that its lines say, and the loss is an adjustment as every other one. Raises
        `InvalidTransition`.
        """
        # A delivered order can become `returned` too, by its buyer's hands: that is none of this.
        if held.status != Status.SHIPPED:
            raise InvalidTransition(
                held.status, Status.RETURNED,
                filled_later(_NOT_ON_ITS_WAY, {"status": Status(held.status).label}),
            )  # fmt: skip
        return Decision(
            next_status(held, Status.RETURNED, note=LOST),
            note=self.reason,
            moves=[
                Move(line, kind, line.quantity) for line in held.lines for kind in (Kind.RESTOCK, Kind.ADJUST)
            ],
            reason=LOST_ON_ITS_WAY % {"note": self.reason},
            returned={line.id: line.quantity for line in held.lines},
            lost=True,
            owed=owe(held, held.total, reason=LOST),
        )


def lose_order(*, order_id: int, actor_id: int, reason: str) -> None:
    """A shipped order's parcel is lost (`Lose`). There is no sale to settle: the store is paid for what was
    delivered.

    Raises `Invalid` without a reason, `FourEyes` (it is the operator's own order), `OrderNotFound`,
    `InvalidTransition`, `Busy`.
    """
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON:
        raise Invalid(errors={"reason": gettext("Say why, in at most %d characters.") % MAX_REASON})
    by_hand.refuse_own_order(order_id=order_id, actor_id=actor_id, permission=LOSE)
    follow(change(Lose(order_id=order_id, actor_id=actor_id, reason=reason)))
