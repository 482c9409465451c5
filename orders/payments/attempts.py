"""What is decided of an attempt to pay: that it may begin, and what an answer means. No database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy, gettext_noop

from inventory.models import Kind
from orders.changes.commands import Command, Decision, Move, NeedsStock, next_status
from orders.changes.held import Attempt, HeldOrder
from orders.errors import InvalidTransition, PaymentInProgress, ShippingRequired
from orders.models import Payment, Status
from orders.models.orders import SHIPPING_FIELDS
from orders.payments.providers import APPROVED, UNKNOWN, WAITING, Answer
from orders.payments.refunds import new_reference, owe_of
from yousinsa.language import recordable

# Recorded on the order, for whoever reads it.
SECOND_PAYMENT = recordable(gettext_noop("A second payment was taken for this order: it was refunded."))
TOO_LATE = recordable(gettext_noop("The payment came after the order had ended: it was refunded."))
LATE_BUT_THERE = recordable(
    gettext_noop("The payment came after the hold had expired; the units were still there.")
)
UNITS_GONE = recordable(
    gettext_noop("The payment came after the hold had expired and the units were gone: it was refunded.")
)
_NO_ADDRESS = gettext_lazy("Required, as no address is saved in the profile.")

_CLOSED = {"live": None, "token": ""}  # a card's token: nobody asks about this attempt any more


@dataclass(slots=True, eq=False, kw_only=True)
class Start(Command):
    """Begin to pay for a pending order; where to ship is kept on it.

    `shipping` has the fields of `SHIPPING_FIELDS`; None takes the buyer's saved address.
    """

    provider: str
    token: str = ""
    shipping: Mapping[str, str] | None = None
    by_buyer: bool = True
    reference: str = field(default_factory=new_reference)

    def moves_stock(self, status: str) -> bool:
        return False

    def decide(self, held: HeldOrder) -> Decision:
        """A new attempt, unless the same bank transfer is waited for already (then nothing changes).

        Raises `InvalidTransition`, `ShippingRequired`, `PaymentInProgress`.
        """
        # A payment is started for a pending order only; an expired one is paid late by `Settle` alone.
        if held.status != Status.PENDING:
            raise InvalidTransition(held.status, Status.PAID)
        decision = Decision(self._address(held))
        live = held.live_attempt
        if live and live.status != Payment.Status.WAITING:
            raise PaymentInProgress
        if live and live.provider == self.provider:
            return decision
        if live:
            replaced = {"status": Payment.Status.REPLACED, "decided_at": self.at, **_CLOSED}
            decision.attempts.append((live, replaced))
        decision.started = Attempt(self.reference, self.provider, held.total, self.token, created_at=self.at)
        return decision

    def _address(self, held: HeldOrder) -> dict[str, Any]:
        if not self.by_buyer and held.shipping["address1"]:
            return {}
        values = self.shipping or held.buyer.shipping
        if values.get("address1"):
            return {name: values[name] for name in SHIPPING_FIELDS}
        if held.shipping["address1"]:
            return {}
        raise ShippingRequired(errors={"shipping": _NO_ADDRESS})


@dataclass(slots=True, eq=False, kw_only=True)
class Settle(Command):
    """Write down what a provider said of an attempt, once; an approved attempt stays as it is."""

    reference: str
    answer: Answer

    def moves_stock(self, status: str) -> bool:
        # Only a late payment does; whether it is late is certain only under the order's lock.
        return status != Status.PENDING

    def decide(self, held: HeldOrder) -> Decision:
        """Approved: a pending order is paid. One whose hold expired takes its units again if there are any;
        else, and for a cancelled order, the money goes back and the order says so. So it does where another
        attempt has taken this one's place meanwhile. Raises `NeedsStock`.
        """
        if held.status == Status.EXPIRED and held.available is None:
            raise NeedsStock
        attempt = held.attempt(self.reference)
        approved = self.answer.status == APPROVED
        # An attempt that was given up for declined can turn out to have taken the money all the same.
        is_decided = attempt is None or attempt.status == Payment.Status.APPROVED
        if attempt is None or is_decided or not (attempt.live or approved):
            return Decision()
        if self.answer.status == UNKNOWN:
            return Decision(attempts=[(attempt, {"status": Payment.Status.UNKNOWN})])
        detail = self.answer.detail[:200]
        if self.answer.status == WAITING:
            waiting = {"status": Payment.Status.WAITING, "detail": detail}
            return Decision(_hold_for_transfer(held, attempt), attempts=[(attempt, waiting)])
        is_replaced = held.live_attempt not in (None, attempt)
        closed: dict[str, Any] = {
            "status": Payment.Status(self.answer.status), "detail": detail, "decided_at": self.at, **_CLOSED,
        }  # fmt: skip
        if approved and not is_replaced:
            closed["live"] = True
        decision = self._accept(held, attempt, is_replaced=is_replaced) if approved else Decision()
        decision.attempts.append((attempt, closed))
        return decision

    def _accept(self, held: HeldOrder, attempt: Attempt, *, is_replaced: bool) -> Decision:
        if is_replaced:
            return _give_back(attempt, SECOND_PAYMENT)
        if held.status == Status.PENDING:
            return Decision(next_status(held, Status.PAID))
        # Who withdrew meanwhile took the address away: there is nowhere to ship to.
        if held.status != Status.EXPIRED or not held.shipping["address1"]:
            return _give_back(attempt, TOO_LATE)
        available = held.available or {}
        # The units of a drop are the drop's again, and there somebody may have bought them.
        if held.drop_id or any(line.quantity > available[line.stock_id] for line in held.lines):
            return _give_back(attempt, UNITS_GONE)
        return Decision(
            next_status(held, Status.PAID, note=LATE_BUT_THERE),
            note=LATE_BUT_THERE,
            moves=[Move(line, Kind.RESERVE, line.quantity) for line in held.lines],
        )


def _hold_for_transfer(held: HeldOrder, attempt: Attempt) -> dict[str, Any]:
    """Money that is transferred takes a day: a pending order is held for so long from the first time on that
    its buyer chose to, and no longer however often that is chosen again.
    """
    if held.status != Status.PENDING:
        return {}
    begun = min(
        one.created_at for one in held.attempts if one.provider == attempt.provider and one.created_at
    )
    held_until = begun + timedelta(hours=settings.TRANSFER_HOLD_HOURS)
    return {"expires_at": held_until} if held_until > held.expires_at else {}


def _give_back(attempt: Attempt, note: str) -> Decision:
    """The money of a payment that buys nothing goes back, and the order says so."""
    return Decision({"note": note}, owed=owe_of(attempt, attempt.amount, reason=note))
