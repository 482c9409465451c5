"""The orders that wait in one process for their outcome: how many, how long, and who decides each."""

import threading
import time
from collections import Counter
from collections.abc import Iterable

from django.conf import settings

from orders.errors import IdempotencyInFlight, OutcomeUnknown
from orders.placement.requests import Outcome, Placed, PlaceRequest
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred

# How long an order may wait before a batch takes it, and after; and how often that is looked at.
QUEUE_SECONDS = 5.0
CLAIMED_SECONDS = 15.0
CLOCK_SECONDS = 0.25


class QueuedOrder(Deferred[Placed]):
    """A request that waits; what `place_batch` says of it decides it."""

    __slots__ = ("claimed", "deadline", "request", "since")

    def __init__(self, request: PlaceRequest) -> None:
        super().__init__()
        self.request = request
        self.claimed = False
        self.since = time.monotonic()
        self.deadline = self.since + QUEUE_SECONDS


class OrderQueue:
    """Whoever takes an order out of it, under its lock, decides that order: each is decided once."""

    def __init__(self) -> None:
        # Guards what follows, and every order's claim.
        self._lock = threading.Lock()
        self._waiting: dict[QueuedOrder, None] = {}
        self._keys: Counter[tuple[int, str]] = Counter()
        threading.Thread(target=self._watch_clock, name="order-queue-clock", daemon=True).start()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, order: QueuedOrder) -> bool:
        return order in self._waiting

    def add(self, request: PlaceRequest) -> QueuedOrder:
        """Let a request wait. Raises `Busy` for a full queue."""
        order = QueuedOrder(request)
        with self._lock:
            if len(self._waiting) >= settings.ORDER_QUEUE:
                raise Busy
            self._waiting[order] = None
            self._keys[_key(request)] += 1
        return order

    def claim(self, orders: Iterable[QueuedOrder]) -> list[QueuedOrder]:
        """Those that still wait: from now on they may be placed at any moment."""
        with self._lock:
            claimed = [order for order in orders if order in self._waiting]
            deadline = time.monotonic() + CLAIMED_SECONDS
            for order in claimed:
                order.claimed, order.deadline = True, deadline
        return claimed

    def give_back(self, orders: Iterable[QueuedOrder]) -> None:
        """Certainly not placed, and not decided either: they wait on, until the deadline of their claim."""
        with self._lock:
            for order in orders:
                order.claimed = False

    def decide(self, outcomes: Iterable[tuple[QueuedOrder, Outcome]]) -> None:
        """Decide each of these orders, unless that was done, and call back who waits for it."""
        with self._lock:
            decided = self._take_out(outcomes)
        for order, outcome in decided:
            order.decide(outcome)

    def _take_out(self, outcomes: Iterable[tuple[QueuedOrder, Outcome]]) -> list[tuple[QueuedOrder, Outcome]]:
        """Under the lock; returns what to decide after it."""
        decided: list[tuple[QueuedOrder, Outcome]] = []
        for order, outcome in outcomes:
            if order not in self._waiting:
                continue
            del self._waiting[order]
            key = _key(order.request)
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
            elif key[1] and isinstance(outcome, Busy):
                # Its twin still waits for the same order.
                outcome = IdempotencyInFlight()
            decided.append((order, outcome))
        return decided

    def _watch_clock(self) -> None:
        """Refuse those who waited too long; a batch that hangs cannot do it itself."""
        while True:
            time.sleep(CLOCK_SECONDS)
            now = time.monotonic()
            with self._lock:  # one hold for both: what is not claimed now must not be claimed any more
                late = self._take_out(
                    [(order, _too_late(order)) for order in self._waiting if order.deadline < now]
                )
            for order, outcome in late:
                order.decide(outcome)


def _too_late(order: QueuedOrder) -> Outcome:
    return OutcomeUnknown(order.request.number) if order.claimed else Busy()


def _key(request: PlaceRequest) -> tuple[int, str]:
    return request.buyer_id, request.idempotency_key or ""
