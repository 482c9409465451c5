"""A parcel that was shipped and arrives nowhere."""

from django.utils.translation import gettext, gettext_noop

from inventory import ledger
from inventory.reasons import LOST_ON_ITS_WAY
from orders.errors import InvalidTransition
from orders.locking import lock_order, move
from orders.models import Status
from orders.payments import by_hand, refunds
from yousinsa.db.transactions import transact
from yousinsa.errors import Invalid
from yousinsa.language import recordable

LOSE = "orders.lose_order"
MAX_REASON = 150
# Recorded, for its buyer.
LOST = recordable(gettext_noop("The parcel was lost on its way: what was paid goes back."))


def lose_order(*, order_id: int, actor_id: int, reason: str) -> None:
    """A shipped order's parcel is lost: it becomes `returned`, and the buyer gets everything back.

    No unit is for sale again: on paper they come back and are written off at once, in one transaction, so
    that the ledger says what became of each unit that it shipped. There is no sale to settle: the store is
    paid for what was delivered.

    Raises `Invalid` without a reason, `FourEyes` (it is the operator's own order), `OrderNotFound`,
    `InvalidTransition`, `Busy`.
    """
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON:
        raise Invalid(errors={"reason": gettext("Say why, in at most %d characters.") % MAX_REASON})
    by_hand.refuse_own_order(order_id=order_id, actor_id=actor_id, permission=LOSE)

    def work() -> list[int]:
        held = lock_order(order_id, with_stock=True)
        order = held.order
        # A delivered order can become `returned` too, by its buyer's hands: that is none of this.
        if order.status != Status.SHIPPED:
            raise InvalidTransition(
                order.status, Status.RETURNED,
                gettext("It is %s: only an order that is on its way can be lost.")
                % order.get_status_display(),
            )  # fmt: skip
        order.note = LOST
        order.save(update_fields=["note"])
        move(order, Status.RETURNED, actor_id=actor_id, note=reason)
        for line in held.lines:
            line.returned = line.quantity
            line.save(update_fields=["returned"])
        ledger.lose(
            held.stock, held.units, reference=order.number, actor_id=actor_id,
            reason=LOST_ON_ITS_WAY % {"note": reason},
        )  # fmt: skip
        return refunds.owe_all(order, reason=LOST)

    refunds.pay_out_now(transact(work))
