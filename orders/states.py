"""The transition table: which status may follow which. Everything that changes a status asks it."""

from types import MappingProxyType

from orders.errors import InvalidTransition
from orders.models import Status

TRANSITIONS = MappingProxyType(
    {
        Status.PENDING: frozenset({Status.PAID, Status.CANCELLED, Status.EXPIRED}),
        Status.PAID: frozenset({Status.SHIPPED, Status.CANCELLED}),
        # Returned without having been delivered: lost on its way (orders/lifecycle/losing.py).
        Status.SHIPPED: frozenset({Status.DELIVERED, Status.RETURNED}),
        Status.DELIVERED: frozenset({Status.RETURNED}),
        # A payment that was under way when the hold ended, if the units can be had once more.
        Status.EXPIRED: frozenset({Status.PAID}),
        Status.CANCELLED: frozenset(),
        Status.RETURNED: frozenset(),
    }
)

# Orders whose units are promised (reserved), and orders whose units have left the house.
HOLDING = (Status.PENDING, Status.PAID)
SHIPPED_OUT = (Status.SHIPPED, Status.DELIVERED, Status.RETURNED)
# Orders for which nobody needs an address any more.
ENDED = (Status.DELIVERED, Status.RETURNED, Status.CANCELLED, Status.EXPIRED)


def allowed(from_status: str, to_status: str) -> bool:
    return to_status in TRANSITIONS[Status(from_status)]


def check(from_status: str, to_status: str) -> None:
    """Raises `InvalidTransition` unless `to_status` may follow `from_status`."""
    if not allowed(from_status, to_status):
        raise InvalidTransition(from_status, to_status)
