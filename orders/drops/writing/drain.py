"""From the stream into the database: batches through `place_batch`, each order exactly once.

An order is known by its number, which is unique in the database and looked up under the drop's lock: an
entry that is delivered twice, to whatever worker, is written once. What cannot be written is set aside.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence

import msgspec
from django.db import DatabaseError, IntegrityError, connection
from django.db.utils import DataError

from orders.drops.definitions import drop_offers
from orders.drops.escrow import write_from_escrow
from orders.drops.redis.connections import client
from orders.drops.redis.entries import AdmittedOrder, AdmittedRequest, decode_order
from orders.drops.redis.stream import Delivered, Stream
from orders.drops.selectors import live_drops
from orders.drops.writing.dead_letters import set_aside
from orders.errors import IdempotencyKeyReused, OutcomeUnknown
from orders.placement.batch import Offers, place_batch
from orders.placement.requests import Outcome, Placed
from yousinsa.db.errors import is_connection_lost, is_lock_conflict
from yousinsa.errors import Busy, Problem

logger = logging.getLogger(__name__)

BATCH = 500
# How often one order alone may fail for a reason of its own, and how often it may be delivered at all (an
# order that kills its worker is never seen to fail).
MAX_TRIES = 3
MAX_DELIVERIES = 20
# Another worker's entries are taken over after this time: writing one twice is harmless, only work.
CLAIM_IDLE_MS = 3000
CLAIM_EVERY_SECONDS = 1.0
DROPS_EVERY_SECONDS = 0.5
# How long a worker that found nothing waits before it looks again.
WAIT_SECONDS = 0.05


def worker_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class DropDrain:
    """One worker at one drop."""

    def __init__(self, drop_id: int, consumer: str, *, idle_ms: int = CLAIM_IDLE_MS) -> None:
        self.drop_id = drop_id
        self.stream = Stream(client(), drop_id, consumer)
        self._idle_ms = idle_ms
        self._again: list[Delivered] = []
        self._claimed_at = 0.0

    def once(self) -> int:
        """Write one batch; returns how many entries are done with. Raises `RedisError`, `DatabaseError`."""
        batch, self._again = self._again, []
        if not batch and time.monotonic() - self._claimed_at >= CLAIM_EVERY_SECONDS * bool(self._idle_ms):
            batch = self.stream.claim(BATCH, idle_ms=self._idle_ms)
            # As long as a dead worker's entries keep coming, the next round asks for more of them.
            self._claimed_at = 0.0 if batch else time.monotonic()
        batch = batch or self.stream.read(BATCH)
        if not batch:
            return 0
        try:
            return self._apply(batch)
        except BaseException:
            self._again = batch
            raise

    @property
    def is_done(self) -> bool:
        return not self._again and self.stream.is_empty()

    def _apply(self, batch: Sequence[Delivered]) -> int:
        readable: list[tuple[Delivered, AdmittedOrder]] = []
        finished: list[tuple[str, str]] = []
        for delivered in batch:
            order = _read(delivered)
            if isinstance(order, str):
                self._set_aside(delivered, None, "malformed", order)
                finished.append((delivered.id, ""))
            elif delivered.times > MAX_DELIVERIES:
                reason = f"It was tried {delivered.times} times and never finished."
                self._set_aside(delivered, order, "undeliverable", reason)
                finished.append((delivered.id, order.number))
            else:
                readable.append((delivered, order))
        outcomes = self._place([AdmittedRequest.of(self.drop_id, order) for _, order in readable])
        for (delivered, order), outcome in zip(readable, outcomes, strict=True):
            if self._finish(delivered, order, outcome):
                finished.append((delivered.id, order.number))
            else:
                self._again.append(delivered)
        self.stream.done(finished)
        return len(finished)

    def _finish(self, delivered: Delivered, order: AdmittedOrder, outcome: Outcome) -> bool:
        """Whether this order needs no further attempt; what is refused is set aside."""
        if isinstance(outcome, Placed):
            if outcome.order.number == order.number:
                return True
            outcome = IdempotencyKeyReused()  # another order was placed under its key before
        if isinstance(outcome, Busy | OutcomeUnknown):
            return False
        if isinstance(outcome, Problem):
            self._set_aside(delivered, order, outcome.code, str(outcome.detail or outcome.title))
        else:
            self._set_aside(delivered, order, "unwritable", str(outcome))
        return True

    def _set_aside(self, delivered: Delivered, order: AdmittedOrder | None, code: str, reason: str) -> None:
        raw = delivered.fields.get("o") or repr(delivered.fields)
        if set_aside(self.drop_id, order, code=code, reason=reason, raw=raw, entry_id=delivered.id):
            logger.error("drop %d: order %s was set aside: %s", self.drop_id, order and order.number, reason)

    def _place(self, requests: Sequence[AdmittedRequest], tries: int = 1) -> list[Outcome]:
        """What became of each: a batch that fails for one of its orders is halved until that one is alone."""
        if not requests:
            return []
        try:
            return place_batch(requests, write_from_escrow, self._look_up)
        except DatabaseError as exc:
            connection.close()
            own_fault = isinstance(exc, IntegrityError | DataError)
            if not own_fault and (is_connection_lost(exc) or is_lock_conflict(exc)):
                return [Busy() for _ in requests]
            failure: Exception = exc
        except Exception as exc:
            failure = exc
        if len(requests) > 1:
            half = len(requests) // 2
            return self._place(requests[:half]) + self._place(requests[half:])
        logger.warning("order %s, attempt %d: %s", requests[0].number, tries, failure)
        return self._place(requests, tries + 1) if tries < MAX_TRIES else [failure]

    def _look_up(self, option_ids: Iterable[int]) -> Offers:
        """Asked for every batch: while a drop sells, a product may move to another store."""
        return drop_offers(self.drop_id)


def _read(delivered: Delivered) -> AdmittedOrder | str:
    """An order, or what is wrong with the entry."""
    try:
        return decode_order(delivered.fields.get("o", ""))
    except msgspec.DecodeError as exc:
        return f"Not an order: {exc}"


class Drain:
    """One worker at all drops that there are."""

    def __init__(self) -> None:
        self.consumer = worker_name()
        self._drains: dict[int, DropDrain] = {}
        self._looked_at = 0.0

    def once(self) -> int:
        """A batch of each drop; returns how many orders are done with. Raises what `DropDrain.once` does."""
        if time.monotonic() - self._looked_at >= DROPS_EVERY_SECONDS:
            live = live_drops()
            for gone in self._drains.keys() - set(live):
                self._drains.pop(gone).stream.leave()
            for drop_id in live:
                if drop_id not in self._drains:
                    self._drains[drop_id] = DropDrain(drop_id, self.consumer)
            self._looked_at = time.monotonic()
        return sum(drain.once() for drain in list(self._drains.values()))

    @property
    def is_done(self) -> bool:
        return all(drain.is_done for drain in self._drains.values())

    def leave(self) -> None:
        for drain in self._drains.values():
            drain.stream.leave()


def drain_drop(drop_id: int, *, seconds: float) -> bool:
    """Write all that a drop has admitted, whoever was given it; True when nothing is left.

    For a drop whose gate is shut. Raises `RedisError`, `DatabaseError`.
    """
    drain = DropDrain(drop_id, worker_name(), idle_ms=0)
    give_up_at = time.monotonic() + seconds
    try:
        while not drain.is_done:
            if time.monotonic() > give_up_at:
                return False
            if not drain.once():
                time.sleep(WAIT_SECONDS)
        return True
    finally:
        drain.stream.leave()
