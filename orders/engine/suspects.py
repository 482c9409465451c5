"""What made a batch fail, and is therefore tried apart for a while, so that the others need not be halved.

A batch that fails is halved until the culprit stands alone (batch.py). One that comes again and again would
have each batch halved; so the rows that it needs are remembered, unless others succeeded with them.
"""

import threading
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from orders.engine.requests import R, Request, Row


class Suspects:
    """Buyers, options and orders that requests failed with, in this process, lately."""

    SECONDS = 30.0
    # For so long who asks for the same is answered the same, without another attempt.
    PAUSE_SECONDS = 1.0
    MOST = 1_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[Row, float] = {}
        self._failures: dict[Hashable, float] = {}

    def has_just_failed(self, request: Request) -> bool:
        """Whether the same has just failed; what was promised is always tried."""
        if not self._failures or request.always_tried:
            return False
        return self._failures.get(request.asks, 0.0) > time.monotonic()

    def apart(self, requests: Sequence[R]) -> list[Sequence[R]]:
        """What is to be committed together: those that nothing is known against, then each suspect alone."""
        if not self._until:
            return [requests] if requests else []
        now = time.monotonic()
        with self._lock:
            self._until = {what: until for what, until in self._until.items() if until > now}
            known = set(self._until)
        trusted = [request for request in requests if known.isdisjoint(request.needs)]
        alone = [[request] for request in requests if not known.isdisjoint(request.needs)]
        return [trusted, *alone] if trusted else list(alone)

    def learn(self, failed: Sequence[R], done: Iterable[R]) -> None:
        """Remember with what requests failed; what others needed at the same time, and got, is innocent."""
        if not failed and not self._until:
            return
        innocent = {row for request in done for row in request.needs}
        now = time.monotonic()
        with self._lock:
            for row in innocent:
                self._until.pop(row, None)
            for request in failed:
                # Where each alone is innocent, it is this buyer with these options.
                needs = list(request.needs)
                guilty = set(needs) - innocent or set(needs[:1])
                self._until |= dict.fromkeys(guilty, now + self.SECONDS)
                self._failures[request.asks] = now + self.PAUSE_SECONDS
            _forget(self._until, self.MOST)
            _forget(self._failures, self.MOST)

    def clear(self) -> None:
        with self._lock:
            self._until = {}
            self._failures = {}


def _forget(kept: dict[Any, Any], most: int) -> None:
    """The oldest, beyond so many."""
    while len(kept) > most:
        del kept[next(iter(kept))]


suspects = Suspects()
