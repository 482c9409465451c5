"""What a drop refuses, as problems that carry their data."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext_lazy as _

from yousinsa.errors import Conflict, Invalid, NotFound, TooManyRequests
from yousinsa.language import filled_later


class UnknownDrop(Invalid):
    """400: an order names a drop that does not exist."""

    code = "unknown_drop"
    title = _("There is no such drop.")

    def __init__(self, drop_id: int) -> None:
        super().__init__(errors={"drop": _("There is no drop %s.") % drop_id})


class DropNotFound(NotFound):
    """404: the address of a drop that does not exist."""

    title = _("There is no such drop.")


class DropNotOpen(Conflict):
    """409: before the opening, after the closing, while paused, or while Redis is not to be believed."""

    code = "drop_not_open"
    title = _("This drop is not open.")

    def __init__(
        self, opens_at: datetime | None, closes_at: datetime | None = None, detail: Any = "", **more: Any
    ) -> None:
        super().__init__(detail, opens_at=opens_at, closes_at=closes_at, **more)


class PurchaseLimit(Conflict):
    """409: the buyer would have more units of this drop than a customer may; `bought` is what there is."""

    code = "purchase_limit"
    title = _("That is more than a customer may buy of this drop.")

    def __init__(self, *, limit: int, bought: int, requested: int) -> None:
        super().__init__(
            filled_later(
                _("At most %(limit)s a customer: %(bought)s ordered, %(requested)s asked for."),
                {"limit": limit, "bought": bought, "requested": requested},
            ),
            limit=limit, bought=bought, requested=requested,
        )  # fmt: skip


class Queued(TooManyRequests):
    """429: the shopper has a place in the drop's queue; `ticket` proves it, and nobody else can use it."""

    code = "queued"
    title = _("You are in the queue: ask again when it is your turn.")

    def __init__(self, *, position: int, wait_seconds: float, ticket: str) -> None:
        super().__init__(
            _("Place %(position)s, in about %(wait)s seconds.")
            % {"position": position, "wait": max(1, round(wait_seconds))},
            retry_after=wait_seconds, position=position, wait_seconds=round(wait_seconds, 1), ticket=ticket,
        )  # fmt: skip


class OrderNotWritten(Conflict):
    """409: the order was admitted and is not in the database yet: it can be paid or cancelled in a moment."""

    code = "order_not_settled"
    title = _("The order is accepted and about to be written: ask again in a moment.")

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class StaleEpoch(Conflict):
    """An order that was admitted in an epoch that the database has taken back."""

    code = "stale_epoch"
    title = _("This order was admitted before the drop's counters were rebuilt, and could not be kept.")


class RedisNeeded(Conflict):
    """409: the drop's lane needs a Redis that is there and keeps what it is given."""

    code = "redis_needed"
    title = _("This lane needs Redis: set REDIS_URL, or use the lane group_commit.")
