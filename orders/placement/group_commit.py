"""Lane `group_commit`: orders that wait in the same process commit together.

One committer thread a process drains the queue, runs `place_batch` once for all that wait, and wakes each
waiter once. While a batch commits the next one gathers, so a batch is as large as the load makes it and a
lone order waits for nobody: there is no timer. Answers follow the commit, so nothing is promised that is
not durable.

An order that runs into a row which somebody else keeps locked is set aside with its like (see
`blocked.py`), so that it delays only itself.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection

from orders.errors import OutcomeUnknown
from orders.placement.batch import place_batch
from orders.placement.blocked import BlockedRows, LockedOut
from orders.placement.requests import Outcome, Placed, PlaceRequest
from yousinsa.db import limit_statements
from yousinsa.errors import Busy, is_connection_lost, is_lock_conflict

logger = logging.getLogger(__name__)

# A batch is bounded in orders, in distinct options, and (by each statement's limit) in time.
MAX_BATCH_ORDERS = 128
MAX_BATCH_OPTIONS = 200
STATEMENT_SECONDS = 0.5
# How long an order may wait before a batch takes it, and after.
QUEUE_SECONDS = 5.0
CLAIMED_SECONDS = 15.0


class Ticket:
    """A request that waits. Its `wake` is locked until the outcome is there."""

    __slots__ = ("claimed", "outcome", "request", "since", "wake")

    def __init__(self, request: PlaceRequest) -> None:
        self.request = request
        self.outcome: Outcome = Busy()
        self.claimed = False
        self.since = time.monotonic()
        self.wake = threading.Lock()
        self.wake.acquire()

    def answer(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.wake.release()


class Committer:
    """The queue of one process and the thread that empties it."""

    def __init__(self, place: Callable[[list[PlaceRequest]], list[Outcome]] = place_batch) -> None:
        self._place = place
        self._queue: deque[Ticket] = deque()
        self._waiting = 0
        self._lock = threading.Lock()
        self._arrived = threading.Semaphore(0)
        self._blocked = BlockedRows()
        self._set_aside: list[Ticket] = []
        threading.Thread(target=self._run, name="group-commit", daemon=True).start()

    # --- The waiters' side ------------------------------------------------------------------------

    def place(self, request: PlaceRequest) -> Placed:
        """Wait for the batch that takes this request; raises what became of it (see `place_batch`)."""
        ticket = Ticket(request)
        with self._lock:
            if self._waiting >= settings.ORDER_QUEUE:
                raise Busy
            self._waiting += 1
            self._queue.append(ticket)
        self._arrived.release()
        try:
            self._await(ticket)
        finally:
            with self._lock:
                self._waiting -= 1
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        return ticket.outcome

    def _await(self, ticket: Ticket) -> None:
        if ticket.wake.acquire(timeout=QUEUE_SECONDS):
            return
        with self._lock:
            if not ticket.claimed:
                self._forget(ticket)
                raise Busy
        # A batch has it: it may be committed at any moment, so only the outcome may be told.
        if not ticket.wake.acquire(timeout=CLAIMED_SECONDS):
            raise OutcomeUnknown(ticket.request.number)

    def _forget(self, ticket: Ticket) -> None:
        if ticket in self._queue:
            self._queue.remove(ticket)
        if ticket in self._set_aside:
            self._set_aside.remove(ticket)

    # --- The committer's side -----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            # With nothing set aside, sleep until somebody comes; else look again soon.
            self._arrived.acquire(timeout=BlockedRows.LOOK_AGAIN_SECONDS if self._set_aside else None)
            try:
                self._settle_set_aside()
                while tickets := self._claim():
                    self._commit(tickets)
                    self._settle_set_aside()
            except Exception:
                logger.exception("group commit goes on")
                connection.close()

    def _claim(self) -> list[Ticket]:
        """Take the next batch off the queue; what needs a blocked row is set aside."""
        tickets: list[Ticket] = []
        options: set[int] = set()
        with self._lock:
            while self._queue and len(tickets) < MAX_BATCH_ORDERS:
                ticket = self._queue[0]
                wanted = {option_id for option_id, _ in ticket.request.lines}
                if tickets and len(options | wanted) > MAX_BATCH_OPTIONS:
                    break
                self._queue.popleft()
                if self._blocked.concerns(ticket.request):
                    self._set_aside.append(ticket)
                    continue
                options |= wanted
                ticket.claimed = True
                tickets.append(ticket)
        return tickets

    def _commit(self, tickets: list[Ticket]) -> None:
        outcomes: list[Outcome]
        try:
            limit_statements(STATEMENT_SECONDS)
            outcomes = self._place([ticket.request for ticket in tickets])
        except Exception as exc:
            outcomes = [self._explain(exc)] * len(tickets)
            connection.close()
        locked_out = [t for t, o in zip(tickets, outcomes, strict=True) if isinstance(o, LockedOut)]
        if locked_out:
            self._look_for_blocked_rows(locked_out)
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if not isinstance(outcome, LockedOut):
                ticket.answer(outcome)

    @staticmethod
    def _explain(exc: Exception) -> Exception:
        """What to tell waiters whose batch failed before it could place anything."""
        if isinstance(exc, DatabaseError) and (is_connection_lost(exc) or is_lock_conflict(exc)):
            logger.warning("batch failed: %s", exc)
            return Busy()
        logger.exception("batch failed")
        return exc

    # --- Rows that others keep locked ----------------------------------------------------------------

    def _look_for_blocked_rows(self, locked_out: list[Ticket]) -> None:
        """Set aside those that need a row which is locked now; the others are first in the next batch."""
        try:
            self._blocked.look(ticket.request for ticket in locked_out)
        except DatabaseError:
            logger.warning("cannot tell which rows are blocked", exc_info=True)
            connection.close()
        with self._lock:
            for ticket in reversed(locked_out):
                ticket.claimed = False
                if self._blocked.concerns(ticket.request):
                    self._set_aside.append(ticket)
                else:
                    self._queue.appendleft(ticket)

    def _settle_set_aside(self) -> None:
        """Put those back in front whose rows are free again; refuse those that waited too long."""
        if not self._set_aside:
            return
        try:
            self._blocked.look_again()
        except DatabaseError:
            logger.warning("cannot tell which rows are blocked", exc_info=True)
            connection.close()
        give_up = time.monotonic() - settings.LOCK_WAIT_SECONDS
        refused = []
        with self._lock:
            waiting, self._set_aside = self._set_aside, []
            for ticket in reversed(waiting):
                if not self._blocked.concerns(ticket.request):
                    self._queue.appendleft(ticket)
                elif ticket.since < give_up:
                    ticket.claimed = True
                    refused.append(ticket)
                else:
                    self._set_aside.insert(0, ticket)
        for ticket in refused:
            ticket.answer(Busy())


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
    if connection.in_atomic_block:
        raise RuntimeError("group_commit cannot run inside a transaction: use row_lock there")
    return committer().place(request)
