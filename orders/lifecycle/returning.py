"""Units of a delivered order come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext_lazy, gettext_noop

from inventory.models import Kind
from orders.changes.batch import begin_change, change
from orders.changes.commands import Changed, Command, Decision, Move, next_status
from orders.changes.held import HeldOrder, Line
from orders.errors import InvalidTransition
from orders.models import Status
from orders.payments.aftermath import follow, follow_soon
from orders.payments.refunds import owe
from yousinsa.errors import Invalid
from yousinsa.http.deferred import Deferred
from yousinsa.language import filled_later, recordable

# Recorded, for whoever reads it.
UNITS_RETURNED = recordable(gettext_noop("Units were returned."))
_NOT_IN_IT = gettext_lazy("Option %(option)s is not in this order.")
_TOO_MANY = gettext_lazy("Of option %(option)s %(out)s can be returned, not %(asked)s.")


@dataclass(slots=True, eq=False, kw_only=True)
class Return(Command):
    """Take back units of a delivered order: option id -> units, or None for all that is still out."""

    units: Mapping[int, int] | None = None
    reason: str = ""

    def moves_stock(self, status: str) -> bool:
        return True

    def decide(self, held: HeldOrder) -> Decision:
        """They are restocked and their price is refunded; with its last unit the order is `returned`.

        Raises `Invalid`, `InvalidTransition`.
        """
        if held.status != Status.DELIVERED:
            raise InvalidTransition(held.status, Status.RETURNED)
        back = units_back(held.lines, self.units)
        lines = {line.option_id: line for line in held.lines}
        amount = sum(n * lines[option_id].unit_price for option_id, n in back.items())
        is_last = all(line.returned + back.get(line.option_id, 0) == line.quantity for line in held.lines)
        return Decision(
            next_status(held, Status.RETURNED) if is_last else {},
            note=self.reason,
            moves=[Move(lines[option_id], Kind.RESTOCK, n) for option_id, n in back.items()],
            reason=self.reason,
            returned={lines[option_id].id: n for option_id, n in back.items()},
            owed=owe(held, amount, reason=self.reason or UNITS_RETURNED),
        )


def return_order(
    *, order_id: int, units: Mapping[int, int] | None, actor_id: int | None, reason: str = ""
) -> None:
    """Take back units of a delivered order: option id -> units, or None for all that is still out.

    Raises `Invalid` (an option that is not in the order, or more than is still out), `OrderNotFound`,
    `InvalidTransition`, `Busy`.
    """
    follow(change(Return(order_id=order_id, units=units, actor_id=actor_id, reason=reason)))


def begin_return(*, number: str, buyer_id: int, units: Mapping[int, int] | None) -> Deferred[Changed]:
    """The same of a buyer's own order, without waiting for the outcome."""
    command = Return(number=number, owner_id=buyer_id, actor_id=buyer_id, units=units)
    return begin_change(command).map(follow_soon)


def units_back(lines: Sequence[Line], units: Mapping[int, int] | None) -> dict[int, int]:
    """What comes back, checked against what is still out: option id -> units, none of them zero."""
    out = {line.option_id: line.quantity - line.returned for line in lines}
    if units is None:
        return {option_id: n for option_id, n in out.items() if n}
    errors = {}
    for option_id, n in units.items():
        if option_id not in out:
            errors["lines.option"] = filled_later(_NOT_IN_IT, {"option": option_id})
        elif not 1 <= n <= out[option_id]:
            values = {"option": option_id, "out": out[option_id], "asked": n}
            errors["lines.quantity"] = filled_later(_TOO_MANY, values)
    if errors:
        raise Invalid(errors=errors)
    return dict(sorted(units.items()))
