"""Units of a delivered order come back."""

from collections.abc import Mapping

from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from inventory import ledger
from orders.errors import InvalidTransition
from orders.locking import lock_order, move
from orders.models import OrderLine, Status
from orders.payments import refunds
from orders.settlements import entries
from yousinsa.db.transactions import transact
from yousinsa.errors import Invalid


def return_order(
    *, order_id: int, units: Mapping[int, int] | None, actor_id: int | None, reason: str = ""
) -> None:
    """Take back units of a delivered order: option id -> units, or None for all that is still out.

    They are restocked and their price is refunded; the order becomes `returned` with its last unit.
    Raises `Invalid` (an option that is not in the order, or more than is still out), `OrderNotFound`,
    `InvalidTransition`, `Busy`.
    """

    def work() -> list[int]:
        held = lock_order(order_id, with_stock=True)
        order = held.order
        if order.status != Status.DELIVERED:
            raise InvalidTransition(order.status, Status.RETURNED)
        back = _units_back(held.lines, units)
        amount, now = 0, timezone.now()
        for line in held.lines:
            if n := back.get(line.option_id, 0):
                line.returned += n
                line.save(update_fields=["returned"])
                entries.write([entries.taken_back(line, n, at=now)])
                amount += n * line.unit_price
        ledger.restock(
            held.stock, [(held.stock_of[option_id], n) for option_id, n in back.items()],
            reference=order.number, actor_id=actor_id, reason=reason,
        )  # fmt: skip
        if all(line.returned == line.quantity for line in held.lines):
            move(order, Status.RETURNED, actor_id=actor_id, note=reason)
        return refunds.owe(order, amount, reason=reason or gettext_noop("Units were returned."))

    refunds.pay_out_now(transact(work))


def _units_back(lines: list[OrderLine], units: Mapping[int, int] | None) -> dict[int, int]:
    """What comes back, checked against what is still out: option id -> units, none of them zero."""
    out = {line.option_id: line.quantity - line.returned for line in lines}
    if units is None:
        return {option_id: n for option_id, n in out.items() if n}
    errors = {}
    for option_id, n in units.items():
        if option_id not in out:
            errors["lines.option"] = gettext("Option %s is not in this order.") % option_id
        elif not 1 <= n <= out[option_id]:
            text = gettext("Of option %(option)s %(out)s can be returned, not %(asked)s.")
            errors["lines.quantity"] = text % {"option": option_id, "out": out[option_id], "asked": n}
    if errors:
        raise Invalid(errors=errors)
    return dict(sorted(units.items()))
