"""What orders refuse, as problems that carry their data."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from orders.models import Status
from yousinsa import errors
from yousinsa.errors import Conflict, Invalid, NotFound, Problem
from yousinsa.language import filled_later


class UnknownOption(Invalid):
    """400: a line names an option that does not exist or is not on sale."""

    code = "unknown_option"
    title = _("There is no such option on sale.")


class OrderNotFound(NotFound):
    """404: no such order, or somebody else's: the answer does not tell which."""

    title = _("You have no order with this number.")


class InvalidTransition(Conflict):
    """409: the order's state does not allow this."""

    code = "invalid_transition"
    title = _("The order's state does not allow this.")

    def __init__(self, order_status: str, to_status: str, detail: Any = "") -> None:
        self.order_status, self.to_status = order_status, to_status
        names = dict(Status.choices)
        super().__init__(
            detail
            or filled_later(
                _("An order that is %(from)s cannot become %(to)s."),
                {"from": names.get(order_status, order_status), "to": names.get(to_status, to_status)},
            ),
            order_status=order_status,
            to_status=to_status,
        )


class TooManyUnpaid(Conflict):
    """409: the buyer would hold more unpaid than is allowed. `held_…` is what is held, `limit_…` what may be.

    A limit that is None is not set.
    """

    code = "too_many_unpaid"
    title = _("You hold too much that is not paid for.")

    def __init__(self, *, held_orders: int, held_units: int, units: int) -> None:
        limits = {
            "limit_orders": settings.UNPAID_ORDERS or None,
            "limit_units": settings.UNPAID_UNITS or None,
        }
        super().__init__(
            filled_later(
                _(
                    "You hold %(units)s units in %(orders)s orders that are not paid for: pay for one of "
                    "them or cancel one, then order again."
                ),
                {"orders": held_orders, "units": held_units},
            ),
            held_orders=held_orders, held_units=held_units, requested_units=units, **limits,
        )  # fmt: skip


class PriceChanged(Conflict):
    """409: the order costs something else than its buyer saw; nothing was placed. Both totals in won."""

    code = "price_changed"
    title = _("The price has changed. Nothing was ordered.")

    def __init__(self, *, expected_total: int, total: int) -> None:
        super().__init__(
            filled_later(
                _("You expected %(expected)s won in all, and it is %(total)s won now."),
                {"expected": f"{expected_total:,}", "total": f"{total:,}"},
            ),
            expected_total=expected_total, total=total,
        )  # fmt: skip


class IdempotencyKeyReused(errors.IdempotencyKeyReused):
    """422: the key belongs to an order that was placed with another body."""

    title = _("This Idempotency-Key was used for an order with another body.")


class IdempotencyInFlight(Conflict):
    """409: the same key was sent before, and that request has not been decided in the time to wait for it."""

    code = "idempotency_in_flight"
    title = _("A request with this Idempotency-Key is still being decided: ask again in a moment.")

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class OutcomeUnknown(Problem):
    """503: the database was lost at COMMIT and did not come back in time to ask it.

    `number` is what the order is called if it exists; the same Idempotency-Key tells for certain.
    """

    status = 503
    code = "outcome_unknown"
    title = _("It cannot be said yet whether the order was placed. Ask again with the same Idempotency-Key.")

    def __init__(self, number: str) -> None:
        super().__init__(number=number, retry_after=5)


class ShippingRequired(Invalid):
    """400: neither the request nor the profile says where to ship."""

    code = "shipping_required"
    title = _("Say where to ship: give `shipping`, or save an address in your profile.")


class PaymentDeclined(Problem):
    """402: the provider said no; the order still holds its units until it expires."""

    status = 402
    code = "payment_declined"
    title = _("The payment was declined.")


class PaymentInProgress(Conflict):
    """409: another attempt to pay for this order has not been decided yet."""

    code = "payment_in_progress"
    title = _("Another payment for this order is being decided: look at the order in a moment.")


class PaymentUnknown(Problem):
    """503: the provider did not answer; it will be asked again, and the order shows what came of it."""

    status = 503
    code = "payment_unknown"
    title = _("The payment provider did not answer in time. Look at the order before you pay again.")
