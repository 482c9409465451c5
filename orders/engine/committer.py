"""Group commit: requests of one kind that wait in the same process commit together.

One batch at a time: it takes what waits, carries it out once (`run_batch`), and decides each request
(`Queued`) by what became of it. While a batch commits the next one gathers, so a batch is as large as the
load makes it. There is no timer: a request that finds nobody there commits at once, in its own thread;
whoever comes meanwhile waits for the committer's thread (flat combining: Hendler et al., 2010). Answers
follow the commit, so nothing is promised that is not durable.

A request that runs into a row which somebody else keeps locked is held back with its like (see
`blocked.py`), so that it delays only itself.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections

from orders.engine.blocked import BlockedRows, LockedOut
from orders.engine.queue import Queued, RequestQueue
from orders.engine.requests import Apply, Foresee, Request, Row
from yousinsa.db.errors import is_connection_lost, is_lock_conflict
from yousinsa.db.transactions import limit_statements
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred

logger = logging.getLogger(__name__)

# A batch is bounded in requests, in distinct rows, and (by each statement's limit) in time.
MAX_BATCH = 128
MAX_BATCH_ROWS = 330
STATEMENT_SECONDS = 0.5


class Committer:
    """What waits in one process, the thread that commits it, and the connection that it uses."""

    def __init__(self, apply: Apply[Any], foresee: Foresee[Any] | None = None) -> None:
        self._apply = apply
        self._foresee = foresee
        self.queue = RequestQueue()
        # None: nobody new, but the backlog or the blocked rows want looking after.
        self._inbox: SimpleQueue[Queued | None] = SimpleQueue()
        # Whoever has the turn may commit; the rest belongs to him.
        self._turn = threading.Lock()
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
        self._connection.inc_thread_sharing()
        self._backlog: deque[Queued] = deque()
        self._held_back: list[Queued] = []
        self._blocked = BlockedRows()
        threading.Thread(target=self._run, name="group-commit", daemon=True).start()

    def submit(self, request: Request) -> Deferred[Any]:
        """Queue a request; commit it here and now if nobody else is there. Raises `Busy` for a full queue."""
        waiter = self.queue.add(request)
        if self._inbox.empty() and self._turn.acquire(blocking=False):
            try:
                if batch := self.queue.claim([waiter]):
                    with self._connected():
                        self._commit(batch)
                # Rows that are locked are looked after by the committer's thread.
                handed_over = bool(self._backlog or self._held_back)
            finally:
                self._turn.release()
            if handed_over:
                self._inbox.put(None)
        else:
            self._inbox.put(waiter)
        return waiter

    def _run(self) -> None:
        while True:
            waiter = self._inbox.get()
            with self._turn, self._connected():
                self._take(waiter)
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

    def _take(self, waiter: Queued | None) -> None:
        if waiter is not None:
            self._backlog.append(waiter)

    def _gather(self) -> None:
        """Move what waits to the backlog; with nothing but blocked rows, wait a moment for somebody."""
        if not self._backlog:
            try:
                self._take(self._inbox.get(timeout=BlockedRows.LOOK_AGAIN_SECONDS))
            except Empty:
                return
        for _ in range(self._inbox.qsize()):
            self._take(self._inbox.get())

    def _next_batch(self) -> list[Queued]:
        """Claim the next batch off the backlog; what needs a blocked row is held back."""
        batch: list[Queued] = []
        rows: set[Row] = set()
        if self._blocked:
            self._foresee_backlog()
        while self._backlog and len(batch) < MAX_BATCH:
            waiter = self._backlog[0]
            needs = list(waiter.request.needs)
            if len(rows) + len(needs) > MAX_BATCH_ROWS and batch and len(rows.union(needs)) > MAX_BATCH_ROWS:
                break
            self._backlog.popleft()
            if self._blocked.concerns(waiter.request):
                self._held_back.append(waiter)
                continue
            rows.update(needs)
            batch.append(waiter)
        return self.queue.claim(batch)

    def _commit(self, batch: list[Queued]) -> None:
        outcomes: Sequence[Any]
        try:
            limit_statements(STATEMENT_SECONDS)
            outcomes = self._apply([waiter.request for waiter in batch])
        except Exception as exc:
            outcomes = [_explain(exc)] * len(batch)
            connection.close()
        found = list(zip(batch, outcomes, strict=True))
        self.queue.decide(pair for pair in found if not isinstance(pair[1], LockedOut))
        locked_out = [waiter for waiter, outcome in found if isinstance(outcome, LockedOut)]
        if locked_out:
            self._hold_back(locked_out)

    # --- Rows that others keep locked -----------------------------------------------------------------

    def _foresee_backlog(self) -> None:
        """Without it each newcomer would have to run into the blocked row first, and its batch with it."""
        foresee = self._foresee
        unknown = [waiter.request for waiter in self._backlog if not waiter.request.needs]
        if foresee and unknown:
            self._look(lambda: foresee(unknown))

    def _hold_back(self, locked_out: list[Queued]) -> None:
        """Keep those that need a row which is locked now; the others are first in the next batch."""
        self._look(lambda: self._blocked.look(waiter.request for waiter in locked_out))
        self.queue.give_back(locked_out)
        for waiter in reversed(locked_out):
            if self._blocked.concerns(waiter.request):
                self._held_back.append(waiter)
            else:
                self._backlog.appendleft(waiter)

    def _retry_held_back(self) -> None:
        """Put those in front whose rows are free again; refuse those that waited too long."""
        if not self._held_back:
            return
        self._look(self._blocked.look_again)
        give_up = time.monotonic() - settings.LOCK_WAIT_SECONDS
        held_back, self._held_back = self._held_back, []
        refused: list[Queued] = []
        for waiter in reversed(held_back):
            if waiter not in self.queue:
                continue
            if not self._blocked.concerns(waiter.request):
                self._backlog.appendleft(waiter)
            elif waiter.since < give_up:
                refused.append(waiter)
            else:
                self._held_back.insert(0, waiter)
        self.queue.decide((waiter, Busy()) for waiter in refused)

    @staticmethod
    def _look(at_rows: Callable[[], object]) -> None:
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
