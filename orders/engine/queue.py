"""The requests that wait in one process for their outcome: how many, how long, and who decides each."""

import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from django.conf import settings

from orders.engine.requests import Request
from orders.errors import IdempotencyInFlight
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred

# How long a request may wait before a batch takes it, and after; and how often that is looked at.
QUEUE_SECONDS = 5.0
CLAIMED_SECONDS = 15.0
CLOCK_SECONDS = 0.25


class Queued(Deferred[Any]):
    """A request that waits; what `run_batch` says of it decides it."""

    __slots__ = ("claimed", "deadline", "request", "since")

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request
        self.claimed = False
        self.since = time.monotonic()
        self.deadline = self.since + QUEUE_SECONDS


class RequestQueue:
    """Whoever takes a request out of it, under its lock, decides it: each is decided once."""

    def __init__(self) -> None:
        # Guards what follows, and every waiter's claim.
        self._lock = threading.Lock()
        self._waiting: dict[Queued, None] = {}
        self._twins: Counter[Hashable] = Counter()
        threading.Thread(target=self._watch_clock, name="queue-clock", daemon=True).start()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, waiter: Queued) -> bool:
        return waiter in self._waiting

    def add(self, request: Request) -> Queued:
        """Let a request wait. Raises `Busy` for a full queue."""
        waiter = Queued(request)
        with self._lock:
            if len(self._waiting) >= settings.ORDER_QUEUE:
                raise Busy
            self._waiting[waiter] = None
            self._twins[request.twin] += 1
        return waiter

    def claim(self, waiters: Iterable[Queued]) -> list[Queued]:
        """Those that still wait: from now on they may be done at any moment."""
        with self._lock:
            claimed = [waiter for waiter in waiters if waiter in self._waiting]
            deadline = time.monotonic() + CLAIMED_SECONDS
            for waiter in claimed:
                waiter.claimed, waiter.deadline = True, deadline
        return claimed

    def give_back(self, waiters: Iterable[Queued]) -> None:
        """Certainly not done, and not decided either: they wait on, until the deadline of their claim."""
        with self._lock:
            for waiter in waiters:
                waiter.claimed = False

    def decide(self, outcomes: Iterable[tuple[Queued, Any]]) -> None:
        """Decide each of these waiters, unless that was done, and call back who waits for it."""
        with self._lock:
            decided = self._take_out(outcomes)
        for waiter, outcome in decided:
            waiter.decide(outcome)

    def _take_out(self, outcomes: Iterable[tuple[Queued, Any]]) -> list[tuple[Queued, Any]]:
        """Under the lock; returns what to decide after it."""
        decided: list[tuple[Queued, Any]] = []
        for waiter, outcome in outcomes:
            if waiter not in self._waiting:
                continue
            del self._waiting[waiter]
            twin = waiter.request.twin
            self._twins[twin] -= 1
            if not self._twins[twin]:
                del self._twins[twin]
            elif twin is not None and isinstance(outcome, Busy):
                # Its twin still waits for the same.
                outcome = IdempotencyInFlight()
            decided.append((waiter, outcome))
        return decided

    def _watch_clock(self) -> None:
        """Refuse those who waited too long; a batch that hangs cannot do it itself."""
        while True:
            time.sleep(CLOCK_SECONDS)
            now = time.monotonic()
            with self._lock:  # one hold for both: what is not claimed now must not be claimed any more
                late = self._take_out(
                    [(waiter, _too_late(waiter)) for waiter in self._waiting if waiter.deadline < now]
                )
            for waiter, outcome in late:
                waiter.decide(outcome)


def _too_late(waiter: Queued) -> Exception:
    return waiter.request.unknown() if waiter.claimed else Busy()
