"""Lane `group_commit`: orders that wait in the same process commit together.

One batch at a time in each process: it takes what waits, runs `place_batch` once, and decides each order
(`QueuedOrder`) by what became of it. While a batch commits the next one gathers, so a batch is as large as
the load makes it. There is no timer: an order that finds nobody there commits at once, in its own thread;
whoever comes meanwhile waits for the committer's thread (flat combining: Hendler et al., 2010). Answers
follow the commit, so nothing is promised that is not durable.

An order that runs into a row which somebody else keeps locked is held back with its like (see
`blocked.py`), so that it delays only itself.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections

from orders.placement.batch import place_batch
from orders.placement.guards.blocked import BlockedRows, LockedOut
from orders.placement.order_queue import OrderQueue, QueuedOrder
from orders.placement.requests import Outcome, Placed, PlaceRequest
from yousinsa.db.errors import is_connection_lost, is_lock_conflict
from yousinsa.db.transactions import limit_statements
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred

logger = logging.getLogger(__name__)

# A batch is bounded in orders, in distinct options, and (by each statement's limit) in time.
MAX_BATCH_ORDERS = 128
MAX_BATCH_OPTIONS = 200
STATEMENT_SECONDS = 0.5


class Committer:
    """What waits in one process, the thread that commits it, and the connection that it uses."""

    def __init__(self, place: Callable[[list[PlaceRequest]], list[Outcome]] = place_batch) -> None:
        self._place = place
        self.queue = OrderQueue()
        # None: nobody new, but the backlog or the blocked rows want looking after.
        self._inbox: SimpleQueue[QueuedOrder | None] = SimpleQueue()
        # Whoever has the turn may commit; the rest belongs to him.
        self._turn = threading.Lock()
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
        self._connection.inc_thread_sharing()
        self._backlog: deque[QueuedOrder] = deque()
        self._held_back: list[QueuedOrder] = []
        self._blocked = BlockedRows()
        threading.Thread(target=self._run, name="group-commit", daemon=True).start()

    def submit(self, request: PlaceRequest) -> Deferred[Placed]:
        """Queue a request; commit it here and now if nobody else is there. Raises `Busy` for a full queue."""
        order = self.queue.add(request)
        if self._inbox.empty() and self._turn.acquire(blocking=False):
            try:
                if batch := self.queue.claim([order]):
                    with self._connected():
                        self._commit(batch)
                # Rows that are locked are looked after by the committer's thread.
                handed_over = bool(self._backlog or self._held_back)
            finally:
                self._turn.release()
            if handed_over:
                self._inbox.put(None)
        else:
            self._inbox.put(order)
        return order

    def _run(self) -> None:
        while True:
            order = self._inbox.get()
            with self._turn, self._connected():
                self._take(order)
                while self._backlog or self._held_back:
                    try:
                        self._gather()
                        self._retry_held_back()
                        if batch := self._next_batch():
                            self._commit(batch)
                    except Exception:
                        logger.exception("group commit goes on")
                        connection.close()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Let this thread use the committer's connection, whose statements are limited."""
        threads_own = getattr(connections._connections, DEFAULT_DB_ALIAS, None)  # type: ignore[attr-defined]
        connections[DEFAULT_DB_ALIAS] = self._connection
        try:
            yield
        finally:
            if threads_own is None:
                del connections[DEFAULT_DB_ALIAS]
            else:
                connections[DEFAULT_DB_ALIAS] = threads_own

    # --- Batches --------------------------------------------------------------------------------------

    def _take(self, order: QueuedOrder | None) -> None:
        if order is not None:
            self._backlog.append(order)

    def _gather(self) -> None:
        """Move what waits to the backlog; with nothing but blocked rows, wait a moment for somebody."""
        if not self._backlog:
            try:
                self._take(self._inbox.get(timeout=BlockedRows.LOOK_AGAIN_SECONDS))
            except Empty:
                return
        for _ in range(self._inbox.qsize()):
            self._take(self._inbox.get())

    def _next_batch(self) -> list[QueuedOrder]:
        """Claim the next batch off the backlog; what needs a blocked row is held back."""
        batch: list[QueuedOrder] = []
        options: set[int] = set()
        while self._backlog and len(batch) < MAX_BATCH_ORDERS:
            order = self._backlog[0]
            wanted = {option_id for option_id, _ in order.request.lines}
            if batch and len(options | wanted) > MAX_BATCH_OPTIONS:
                break
            self._backlog.popleft()
            if self._blocked.concerns(order.request):
                self._held_back.append(order)
                continue
            options |= wanted
            batch.append(order)
        return self.queue.claim(batch)

    def _commit(self, batch: list[QueuedOrder]) -> None:
        outcomes: list[Outcome]
        try:
            limit_statements(STATEMENT_SECONDS)
            outcomes = self._place([order.request for order in batch])
        except Exception as exc:
            outcomes = [_explain(exc)] * len(batch)
            connection.close()
        found = list(zip(batch, outcomes, strict=True))
        self.queue.decide(pair for pair in found if not isinstance(pair[1], LockedOut))
        locked_out = [order for order, outcome in found if isinstance(outcome, LockedOut)]
        if locked_out:
            self._hold_back(locked_out)

    # --- Rows that others keep locked -----------------------------------------------------------------

    def _hold_back(self, locked_out: list[QueuedOrder]) -> None:
        """Keep those that need a row which is locked now; the others are first in the next batch."""
        self._look(lambda: self._blocked.look(order.request for order in locked_out))
        self.queue.give_back(locked_out)
        for order in reversed(locked_out):
            if self._blocked.concerns(order.request):
                self._held_back.append(order)
            else:
                self._backlog.appendleft(order)

    def _retry_held_back(self) -> None:
        """Put those in front whose rows are free again; refuse those that waited too long."""
        if not self._held_back:
            return
        self._look(self._blocked.look_again)
        give_up = time.monotonic() - settings.LOCK_WAIT_SECONDS
        held_back, self._held_back = self._held_back, []
        refused: list[QueuedOrder] = []
        for order in reversed(held_back):
            if order not in self.queue:
                continue
            if not self._blocked.concerns(order.request):
                self._backlog.appendleft(order)
            elif order.since < give_up:
                refused.append(order)
            else:
                self._held_back.insert(0, order)
        self.queue.decide((order, Busy()) for order in refused)

    @staticmethod
    def _look(at_rows: Callable[[], None]) -> None:
        try:
            at_rows()
        except DatabaseError:
            logger.warning("cannot tell which rows are blocked", exc_info=True)
            connection.close()


def _explain(exc: Exception) -> Exception:
    """What to say to those whose batch failed before it could place anything."""
    if isinstance(exc, DatabaseError) and (is_connection_lost(exc) or is_lock_conflict(exc)):
        logger.warning("batch failed: %s", exc)
        return Busy()
    logger.exception("batch failed")
    return exc


_committer: tuple[int, Committer] | None = None
_start = threading.Lock()


def committer() -> Committer:
    """This process's committer: threads do not survive a fork, so it starts with the first order after it."""
    global _committer
    found = _committer
    if found is None or found[0] != os.getpid():
        with _start:
            if _committer is None or _committer[0] != os.getpid():
                _committer = (os.getpid(), Committer())
            found = _committer
    return found[1]


def group_commit(request: PlaceRequest) -> Placed:
    """Place one order together with those that wait beside it.

    Raises RuntimeError inside an open transaction: the committer could not see what it wrote, and would
    wait for its locks while it waits for the committer.
    """
    return begin(request).result()


def begin(request: PlaceRequest) -> Deferred[Placed]:
    """The same without waiting for the outcome."""
    if connection.in_atomic_block:
        raise RuntimeError("group_commit cannot run inside a transaction: use row_lock there")
    return committer().submit(request)
