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
from collections import Counter, deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import cast

from django.conf import settings
from django.db import DatabaseError, connection

from orders.errors import IdempotencyInFlight, OutcomeUnknown
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
    """A request that waits. Its `wake` is locked until the outcome is there.

    Waiters wake each other in a row (`next`): woken all at once, hundreds of threads would fight for the
    interpreter lock, which costs more than the orders do.
    """

    __slots__ = ("claimed", "gone", "next", "outcome", "request", "since", "wake")

    def __init__(self, request: PlaceRequest) -> None:
        self.request = request
        self.outcome: Outcome | None = None
        self.claimed = False
        self.gone = False
        self.next: Ticket | None = None
        self.since = time.monotonic()
        self.wake = threading.Lock()
        self.wake.acquire()


class Committer:
    """The queue of one process and the thread that empties it."""

    def __init__(self, place: Callable[[list[PlaceRequest]], list[Outcome]] = place_batch) -> None:
        self._place = place
        self._waiting = 0
        self._keys: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()
        self._inbox: SimpleQueue[Ticket] = SimpleQueue()
        # Only the committer's thread touches these.
        self._backlog: deque[Ticket] = deque()
        self._set_aside: list[Ticket] = []
        self._blocked = BlockedRows()
        threading.Thread(target=self._run, name="group-commit", daemon=True).start()

    # --- The waiters' side ------------------------------------------------------------------------

    def place(self, request: PlaceRequest) -> Placed:
        """Wait for the batch that takes this request; raises what became of it (see `place_batch`)."""
        ticket = Ticket(request)
        key = (request.buyer_id, request.idempotency_key or "")
        with self._lock:
            if self._waiting >= settings.ORDER_QUEUE:
                raise Busy
            self._waiting += 1
            self._keys[key] += 1
        self._inbox.put(ticket)
        outcome = self._await(ticket)
        with self._lock:
            self._waiting -= 1
            self._keys[key] -= 1
            twin_waits = bool(self._keys[key])
            if not twin_waits:
                del self._keys[key]
        if isinstance(outcome, Busy) and request.idempotency_key and twin_waits:
            raise IdempotencyInFlight
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _await(self, ticket: Ticket) -> Outcome:
        if not ticket.wake.acquire(timeout=QUEUE_SECONDS):
            with self._lock:
                ticket.gone = not ticket.claimed
            if ticket.gone:
                return Busy()
            # A batch has it: it may be committed at any moment, so only the outcome may be told.
            if not ticket.wake.acquire(timeout=CLAIMED_SECONDS):
                with self._lock:
                    ticket.gone = ticket.outcome is None
                if ticket.gone:
                    return OutcomeUnknown(ticket.request.number)
                ticket.wake.acquire()  # answered just now: its turn in the row is about to come
        self._wake(ticket.next)
        return cast(Outcome, ticket.outcome)

    def _wake(self, ticket: Ticket | None) -> None:
        """Wake the first of a row that still waits."""
        while ticket is not None and ticket.gone:
            ticket = ticket.next
        if ticket is not None:
            ticket.wake.release()

    # --- The committer's side -----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._gather()
                self._settle_set_aside()
                if tickets := self._claim():
                    self._commit(tickets)
            except Exception:
                logger.exception("group commit goes on")
                connection.close()

    def _gather(self) -> None:
        """Move what waits to the backlog; with nothing to do, sleep until somebody comes."""
        if not self._backlog:
            try:
                self._backlog.append(
                    self._inbox.get(timeout=BlockedRows.LOOK_AGAIN_SECONDS if self._set_aside else None)
                )
            except Empty:
                return
        for _ in range(self._inbox.qsize()):
            self._backlog.append(self._inbox.get())

    def _claim(self) -> list[Ticket]:
        """Take the next batch off the backlog; what needs a blocked row is set aside."""
        tickets: list[Ticket] = []
        options: set[int] = set()
        with self._lock:
            while self._backlog and len(tickets) < MAX_BATCH_ORDERS:
                ticket = self._backlog[0]
                wanted = {option_id for option_id, _ in ticket.request.lines}
                if tickets and len(options | wanted) > MAX_BATCH_OPTIONS:
                    break
                self._backlog.popleft()
                if ticket.gone:
                    continue
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
        decided: list[tuple[Ticket, Outcome]] = []
        locked_out: list[Ticket] = []
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, LockedOut):
                locked_out.append(ticket)
            else:
                decided.append((ticket, outcome))
        self._answer(decided)
        if locked_out:
            self._look_for_blocked_rows(locked_out)

    def _answer(self, decided: Sequence[tuple[Ticket, Outcome]]) -> None:
        """Give each waiter its outcome and wake the first; each wakes the next."""
        if not decided:
            return
        with self._lock:
            following = None
            for ticket, outcome in reversed(decided):
                ticket.next, following = following, ticket
                ticket.outcome = outcome
        self._wake(following)

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
                    self._backlog.appendleft(ticket)

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
        waiting, self._set_aside = self._set_aside, []
        refused: list[tuple[Ticket, Outcome]] = []
        for ticket in reversed(waiting):
            if not self._blocked.concerns(ticket.request):
                self._backlog.appendleft(ticket)
            elif ticket.since < give_up:
                refused.append((ticket, Busy()))
            else:
                self._set_aside.insert(0, ticket)
        self._answer(refused)


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
