"""The lanes: ways to feed `place_batch`. `PLACEMENT` names the one that the API uses."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from orders.placement.batch import place_batch
from orders.placement.conditional_update import conditional_update
from orders.placement.distributed_lock import distributed_lock
from orders.placement.group_commit import begin, group_commit
from orders.placement.requests import Placed, PlaceRequest
from yousinsa.http.deferred import Deferred


def row_lock(request: PlaceRequest) -> Placed:
    """One transaction an order: the plain way, and the one to read first."""
    (outcome,) = place_batch([request])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


LANES: dict[str, Callable[[PlaceRequest], Placed]] = {
    "group_commit": group_commit,
    "row_lock": row_lock,
    "conditional_update": conditional_update,
    "distributed_lock": distributed_lock,
}


def place_order(request: PlaceRequest) -> Placed:
    """Place one order by the lane that `PLACEMENT` names.

    Raises what `place_batch` says of a request: `UnknownOption`, `InsufficientStock`,
    `IdempotencyKeyReused`, `Busy`, `OutcomeUnknown`.
    """
    lane = LANES.get(settings.PLACEMENT)
    if lane is None:
        raise ImproperlyConfigured(f"PLACEMENT must be one of {', '.join(LANES)}, not {settings.PLACEMENT!r}")
    return lane(request)


def begin_order(request: PlaceRequest) -> Deferred[Placed]:
    """Like `place_order`, but no thread waits with an order that waits for its group."""
    return begin(request) if settings.PLACEMENT == "group_commit" else Deferred.of(place_order(request))
