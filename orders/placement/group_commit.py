"""Lane `group_commit`: orders that wait in the same process commit together.

One batch at a time in each process: it takes what waits, runs `place_batch` once, and tells each order's
`Ticket` what became of it. While a batch commits the next one gathers, so a batch is as large as the load
makes it. There is no timer: an order that finds nobody there commits at once, in its own thread; whoever
comes meanwhile waits for the committer's thread (flat combining: Hendler et al., 2010). Answers follow the
commit, so nothing is promised that is not durable.

An order that runs into a row which somebody else keeps locked is set aside with its like (see
`blocked.py`), so that it delays only itself.
"""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections

from orders.errors import IdempotencyInFlight, OutcomeUnknown
from orders.placement.batch import place_batch
from orders.placement.blocked import BlockedRows, LockedOut
from orders.placement.requests import Outcome, Placed, PlaceRequest
from yousinsa.db.errors import is_connection_lost, is_lock_conflict
from yousinsa.db.transactions import limit_statements
from yousinsa.errors import Busy
from yousinsa.http.deferred import Promise

logger = logging.getLogger(__name__)

# A batch is bounded in orders, in distinct options, and (by each statement's limit) in time.
MAX_BATCH_ORDERS = 128
MAX_BATCH_OPTIONS = 200
STATEMENT_SECONDS = 0.5
# How long an order may wait before a batch takes it, and after; and how often that is looked at.
QUEUE_SECONDS = 5.0
CLAIMED_SECONDS = 15.0
CLOCK_SECONDS = 0.25


class Ticket(Promise[Outcome]):
    """A request that waits for its outcome."""

    __slots__ = ("claimed", "deadline", "request", "since")

    def __init__(self, request: PlaceRequest, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.request = request
        self.claimed = False
        self.since = time.monotonic()
        self.deadline = self.since + QUEUE_SECONDS

    def claim(self) -> None:
        """A batch takes it: from now on it may be placed at any moment."""
        self.claimed = True
        self.deadline = time.monotonic() + CLAIMED_SECONDS

    def result(self) -> Placed:
        """Wait for the outcome. Raises what `place_batch` says of a request that was not placed."""
        outcome = self.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Committer:
    """The queue of one process, the thread that empties it, and the connection that it uses."""

    def __init__(self, place: Callable[[list[PlaceRequest]], list[Outcome]] = place_batch) -> None:
        self._place = place
        # Guards what follows, and every ticket's outcome and claim.
        self._lock = threading.Lock()
        self._waiting: dict[Ticket, None] = {}
        self._keys: Counter[tuple[int, str]] = Counter()
        # None: nobody new, but the backlog or the blocked rows want looking after.
        self._inbox: SimpleQueue[Ticket | None] = SimpleQueue()
        # Whoever has the turn may commit; the rest belongs to him.
        self._turn = threading.Lock()
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
        self._connection.inc_thread_sharing()
        self._backlog: deque[Ticket] = deque()
        self._set_aside: list[Ticket] = []
        self._blocked = BlockedRows()
        threading.Thread(target=self._run, name="group-commit", daemon=True).start()
        threading.Thread(target=self._watch_clock, name="group-commit-clock", daemon=True).start()

    # --- The waiters' side ------------------------------------------------------------------------

    def submit(self, request: PlaceRequest) -> Ticket:
        """Queue a request; commit it here and now if nobody else is there. Raises `Busy` for a full queue."""
        ticket = Ticket(request, self._lock)
        with self._lock:
            if len(self._waiting) >= settings.ORDER_QUEUE:
                raise Busy
            self._waiting[ticket] = None
            self._keys[_key(request)] += 1
        if self._inbox.empty() and self._turn.acquire(blocking=False):
            try:
                ticket.claim()
                with self._connected():
                    self._commit([ticket])
                # Rows that are locked are looked after by the committer's thread.
                handed_over = bool(self._backlog or self._set_aside)
            finally:
                self._turn.release()
            if handed_over:
                self._inbox.put(None)
        else:
            self._inbox.put(ticket)
        return ticket

    def _watch_clock(self) -> None:
        """Tell those who waited too long; a batch that hangs cannot do it itself."""
        while True:
            time.sleep(CLOCK_SECONDS)
            now = time.monotonic()
            with self._lock:  # one hold for both: what is not claimed now must not be claimed any more
                late: list[tuple[Ticket, Outcome]] = [
                    (ticket, OutcomeUnknown(ticket.request.number) if ticket.claimed else Busy())
                    for ticket in self._waiting
                    if ticket.deadline < now
                ]
                callbacks = self._set_outcomes(late)
            for callback in callbacks:
                callback()

    # --- The committer's side -----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            ticket = self._inbox.get()
            with self._turn, self._connected():
                self._take(ticket)
                while self._backlog or self._set_aside:
                    try:
                        self._gather()
                        self._settle_set_aside()
                        if tickets := self._claim():
                            self._commit(tickets)
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

    def _take(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self._backlog.append(ticket)

    def _gather(self) -> None:
        """Move what waits to the backlog; with nothing but blocked rows, wait a moment for somebody."""
        if not self._backlog:
            try:
                self._take(self._inbox.get(timeout=BlockedRows.LOOK_AGAIN_SECONDS))
            except Empty:
                return
        for _ in range(self._inbox.qsize()):
            self._take(self._inbox.get())

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
                if ticket.decided:  # it waited too long
                    continue
                if self._blocked.concerns(ticket.request):
                    self._set_aside.append(ticket)
                    continue
                options |= wanted
                ticket.claim()
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
        self._decide(decided)
        if locked_out:
            self._look_for_blocked_rows(locked_out)

    def _decide(self, decided: Iterable[tuple[Ticket, Outcome]]) -> None:
        """Give each ticket its outcome, unless it has one, and call back who waits for it."""
        with self._lock:
            callbacks = self._set_outcomes(decided)
        for callback in callbacks:
            callback()

    def _set_outcomes(self, decided: Iterable[tuple[Ticket, Outcome]]) -> list[Callable[[], None]]:
        """Under the lock; returns what to call after it."""
        callbacks = []
        for ticket, outcome in decided:
            if ticket.decided:
                continue
            del self._waiting[ticket]
            key = _key(ticket.request)
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
            elif key[1] and isinstance(outcome, Busy):
                # Its twin still waits for the same order.
                outcome = IdempotencyInFlight()
            if callback := ticket.decide(outcome):
                callbacks.append(callback)
        return callbacks

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
            if ticket.decided:
                continue
            if not self._blocked.concerns(ticket.request):
                self._backlog.appendleft(ticket)
            elif ticket.since < give_up:
                refused.append((ticket, Busy()))
            else:
                self._set_aside.insert(0, ticket)
        self._decide(refused)


def _key(request: PlaceRequest) -> tuple[int, str]:
    return request.buyer_id, request.idempotency_key or ""


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


def begin(request: PlaceRequest) -> Ticket:
    """The same without waiting for the outcome."""
    if connection.in_atomic_block:
        raise RuntimeError("group_commit cannot run inside a transaction: use row_lock there")
    return committer().submit(request)
