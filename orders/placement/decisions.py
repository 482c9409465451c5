"""What a batch decides of its requests, each on its own: accepted, refused, or a repeat of a placed order."""

from collections.abc import Iterable, Sequence

from django.db import connection

from orders.engine.requests import Outcomes
from orders.errors import IdempotencyKeyReused
from orders.models import Order
from orders.placement.requests import Placed, PlaceRequest
from orders.schemas import OrderView
from orders.selectors import numbered_views

Key = tuple[int, str]
"""A buyer and an idempotency key."""


class Decisions:
    """Collects what becomes of the requests of one transaction.

    It begins by looking up which orders exist already under the requests' idempotency keys and, where
    `look_up_numbers` says so, under their numbers: an attempt before this one may have been committed.
    """

    def __init__(self, requests: Sequence[PlaceRequest], *, look_up_numbers: bool) -> None:
        self.accepted: list[tuple[PlaceRequest, OrderView]] = []
        self._refused: Outcomes = {}
        self._replays: dict[str, str] = {}
        self._placed = placed_under_keys(requests)
        self._committed = _placed_numbers(requests) if look_up_numbers else set()

    def was_committed(self, request: PlaceRequest) -> bool:
        """True where an earlier attempt at this very request has taken effect: it is decided."""
        if request.number not in self._committed:
            return False
        self._replays[request.number] = request.number
        return True

    def repeats(self, request: PlaceRequest) -> bool:
        """True for a request that repeats an order, of this batch or an earlier one: it is decided.

        The same request under the same key is answered with that order, another one is refused.
        """
        if not request.idempotency_key:
            return False
        placed = self._placed.get((request.buyer_id, request.idempotency_key))
        if placed is None:
            return False
        number, fingerprint = placed
        if fingerprint == request.fingerprint:
            self._replays[request.number] = number
        else:
            self.refuse(request, IdempotencyKeyReused())
        return True

    def accept(self, request: PlaceRequest, order: OrderView) -> None:
        """It becomes this order."""
        self.accepted.append((request, order))
        if request.idempotency_key:
            key = (request.buyer_id, request.idempotency_key)
            self._placed[key] = (request.number, request.fingerprint)

    def refuse(self, request: PlaceRequest, reason: Exception) -> None:
        """There will be no order, for this reason."""
        self._refused[request.number] = reason

    def outcomes(self) -> Outcomes:
        """What became of each, once it is committed; orders that are repeated as they are now."""
        outcomes = self._refused | {request.number: Placed(order) for request, order in self.accepted}
        if self._replays:
            views = numbered_views(set(self._replays.values()))
            for asked, number in self._replays.items():
                outcomes[asked] = Placed(views[number], replayed=asked != number)
        return outcomes


def placed_under_keys(requests: Iterable[PlaceRequest]) -> dict[Key, tuple[str, str]]:
    """Orders that exist under these requests' idempotency keys: (buyer, key) -> (number, fingerprint).

    One query, none for none.
    """
    keys = [(r.buyer_id, r.idempotency_key) for r in requests if r.idempotency_key]
    if not keys:
        return {}
    # By hand: the ORM takes longer to build this condition than the database to answer it.
    matches = " OR ".join(["buyer_id = %s AND idempotency_key = %s"] * len(keys))
    columns = "buyer_id, idempotency_key, number, fingerprint"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {Order._meta.db_table} WHERE {matches}",  # noqa: S608
            [value for key in keys for value in key],
        )
        return {(row[0], row[1]): (row[2], row[3]) for row in cursor.fetchall()}


def _placed_numbers(requests: Iterable[PlaceRequest]) -> set[str]:
    numbers = [request.number for request in requests]
    return set(Order.objects.filter(number__in=numbers).values_list("number", flat=True))
