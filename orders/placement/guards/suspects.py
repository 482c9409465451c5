"""Who made a batch fail, and is therefore placed apart for a while, so that the others need not be halved.

A batch that fails is halved until the culprit stands alone (batch.py). One that comes again and again would
have each batch halved; so its buyer and its options are remembered, unless others were placed with them.
"""

import threading
import time
from collections.abc import Iterable, Sequence

from orders.placement.requests import PlaceRequest


class Suspects:
    """Buyers and options that requests failed with, in this process, lately."""

    SECONDS = 30.0
    MOST = 1_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[tuple[str, int], float] = {}

    def apart(self, requests: Sequence[PlaceRequest]) -> list[Sequence[PlaceRequest]]:
        """What is to be committed together: those that nothing is known against, then each suspect alone."""
        if not self._until:
            return [requests]
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
        until = time.monotonic() + self.SECONDS
        with self._lock:
            for mark in innocent:
                self._until.pop(mark, None)
            for request in failed:
                # Where each alone is innocent, it is this buyer with these options.
                guilty = _marks(request) - innocent or {("buyer", request.buyer_id)}
                self._until |= dict.fromkeys(guilty, until)
            while len(self._until) > self.MOST:
                del self._until[next(iter(self._until))]

    def clear(self) -> None:
        with self._lock:
            self._until = {}


def _marks(request: PlaceRequest) -> set[tuple[str, int]]:
    return {("buyer", request.buyer_id), *(("option", option_id) for option_id, _ in request.lines)}


suspects = Suspects()
