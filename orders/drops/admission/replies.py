"""What every lane is asked, and what every lane replies."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from orders.drops.definitions import Definition
from orders.drops.redis.answers import Answer
from orders.drops.redis.entries import AdmittedOrder
from orders.placement.requests import Placed, PlaceRequest
from yousinsa.http.deferred import Deferred


class Reply(NamedTuple):
    """An answer, and what comes with it (see `Answer`).

    `admitted` is the order that Redis admitted, `placed` the order where the lane itself has written or
    read it.
    """

    answer: Answer
    details: Sequence[Any] = ()
    admitted: AdmittedOrder | None = None
    placed: Placed | None = None


class Ask(Protocol):
    """A lane: a way to have an order of a drop admitted."""

    def __call__(self, request: PlaceRequest, definition: Definition, slot: str) -> Deferred[Reply]:
        """Ask once. `slot` is the time on the shopper's queue ticket, '' for none.

        Raises, or has the exception as its outcome: `Busy` (certainly not admitted), `AnswerLost`, and
        whatever else `place_batch` refuses with.
        """
