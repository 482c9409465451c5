"""Ending an order before its units have left."""

from django.utils.translation import gettext, gettext_noop

from orders.drops.writing import outbox
from orders.errors import InvalidTransition
from orders.locking import lock_order, move
from orders.models import Order, Status
from orders.payments import refunds
from yousinsa.db.transactions import transact
from yousinsa.language import recordable

# Recorded, for whoever reads it.
CANCELLED = recordable(gettext_noop("The order was cancelled."))


def cancel_order(*, order_id: int, actor_id: int | None, note: str = "", only_pending: bool = False) -> None:
    """Cancel a pending or paid order: its units are sellable at once, money that was taken goes back.

    `only_pending` for who means to release a hold: an order that was paid meanwhile stays.
    Raises `OrderNotFound`, `InvalidTransition`, `Busy`.
    """

    def work() -> tuple[Order, list[int]]:
        held = lock_order(order_id, with_stock=True)
        if only_pending and held.order.status != Status.PENDING:
            raise InvalidTransition(
                held.order.status, Status.CANCELLED,
                gettext("It is %s by now: only an order that is pending holds stock unpaid.")
                % held.order.get_status_display(),
            )  # fmt: skip
        move(held.order, Status.CANCELLED, actor_id=actor_id, note=note)
        held.release(actor_id=actor_id)
        return held.order, refunds.owe_all(held.order, reason=CANCELLED)

    order, due = transact(work)
    if order.drop_id:
        outbox.deliver_now(order.number)
    refunds.pay_out_now(due)
