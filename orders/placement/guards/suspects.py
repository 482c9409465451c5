"""Who made a batch fail, and is therefore placed apart for a while, so that the others need not be halved.

A batch that fails is halved until the culprit stands alone (batch.py). One that comes again and again would
have each batch halved; so its buyer and its options are remembered, unless others were placed with them.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from orders.placement.requests import PlaceRequest

Lines = tuple[tuple[int, int], ...]


class Suspects:
    """Buyers and options that requests failed with, in this process, lately."""

    SECONDS = 30.0
    # For so long the same buyer asking for the same is answered the same, without another attempt.
    PAUSE_SECONDS = 1.0
    MOST = 1_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[tuple[str, int], float] = {}
        self._failures: dict[tuple[int, Lines], float] = {}

    def has_just_failed(self, request: PlaceRequest) -> bool:
        """Whether the same buyer has just failed with the same; what was promised is always tried."""
        if not self._failures or request.admitted:
            return False
        return self._failures.get((request.buyer_id, request.lines), 0.0) > time.monotonic()

    def apart(self, requests: Sequence[PlaceRequest]) -> list[Sequence[PlaceRequest]]:
        """What is to be committed together: those that nothing is known against, then each suspect alone."""
        if not self._until:
            return [requests] if requests else []
        now = time.monotonic()
        with self._lock:
            self._until = {what: until for what, until in self._until.items() if until > now}
            known = set(self._until)
        trusted = [request for request in requests if known.isdisjoint(_marks(request))]
        alone = [[request] for request in requests if not known.isdisjoint(_marks(request))]
        return [trusted, *alone] if trusted else list(alone)

    def learn(self, failed: Sequence[PlaceRequest], placed: Iterable[PlaceRequest]) -> None:
        """Remember with what requests failed; what others were placed with at the same time is innocent."""
        if not failed and not self._until:
            return
        innocent = {mark for request in placed for mark in _marks(request)}
        now = time.monotonic()
        with self._lock:
            for mark in innocent:
                self._until.pop(mark, None)
            for request in failed:
                # Where each alone is innocent, it is this buyer with these options.
                guilty = _marks(request) - innocent or {("buyer", request.buyer_id)}
                self._until |= dict.fromkeys(guilty, now + self.SECONDS)
                self._failures[request.buyer_id, request.lines] = now + self.PAUSE_SECONDS
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


def _marks(request: PlaceRequest) -> set[tuple[str, int]]:
    return {("buyer", request.buyer_id), *(("option", option_id) for option_id, _ in request.lines)}


suspects = Suspects()
