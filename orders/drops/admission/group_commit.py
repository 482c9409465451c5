"""Lane `group_commit`: the database alone. Orders that wait together commit together, as any order does."""

from collections.abc import Callable, Sequence
from typing import Any

from orders.drops.admission.replies import Reply
from orders.drops.definitions import Definition, drop_offers
from orders.drops.escrow import write_from_escrow
from orders.drops.redis.answers import Answer
from orders.engine.committer import Committer
from orders.placement.batch import place_batch
from orders.placement.requests import Outcome, Placed, PlaceRequest
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess


def ask(request: PlaceRequest, definition: Definition, slot: str) -> Deferred[Reply]:
    """As `Ask`. There is no queue to have a `slot` in."""
    return _committer().submit(request).map(_reply)


def _reply(placed: Placed) -> Reply:
    return Reply(Answer.REPLAYED if placed.replayed else Answer.PLACED, placed=placed)


def place_in_drops(requests: Sequence[PlaceRequest]) -> list[Outcome]:
    """One transaction for each drop that these requests are of."""
    by_drop: dict[int, list[PlaceRequest]] = {}
    for request in requests:
        by_drop.setdefault(request.drop_id or 0, []).append(request)
    outcomes: dict[str, Outcome] = {}
    for drop_id, of_drop in by_drop.items():
        placed = place_batch(of_drop, write_from_escrow, _offers_of(drop_id))
        outcomes |= zip((r.number for r in of_drop), placed, strict=True)
    return [outcomes[request.number] for request in requests]


def _offers_of(drop_id: int) -> Callable[[Any], Any]:
    return lambda option_ids: drop_offers(drop_id)


# One of their own: ordinary orders do not wait behind a drop's batch.
_committer = PerProcess(lambda: Committer(place_in_drops))
