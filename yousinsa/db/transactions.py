"""One way to run a transaction, and to ask outside of one."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connection, connections, transaction

from yousinsa.db.errors import is_connection_lost, is_lock_conflict, is_outage
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)
T = TypeVar("T")
_patience = threading.local()

MAX_ATTEMPTS = 10
BACKOFF_SECONDS = 0.01


def bounded_attempts() -> Iterator[int]:
    """Number the attempts at a transaction, from 1, with longer and longer pauses between them.

    It ends when MAX_ATTEMPTS, or twice the lock wait, are used up. The pauses are random, so that those
    who ran into each other do not do so again.
    """
    give_up_at = time.monotonic() + 2 * getattr(_patience, "seconds", settings.LOCK_WAIT_SECONDS)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        yield attempt
        if attempt == MAX_ATTEMPTS or time.monotonic() >= give_up_at:
            return
        time.sleep(BACKOFF_SECONDS * attempt * random.uniform(0.5, 1.5))


def transact(work: Callable[[], T]) -> T:
    """Run `work` in one outermost transaction; on a lock conflict roll all of it back and try again.

    Never inside another transaction: MariaDB's 1205 rolls back only the statement and 1213 everything, so
    a retry below a savepoint would go on in a half-dead transaction (`durable=True` refuses to nest).

    Raises `Busy` when the attempts (see `bounded_attempts`) are used up.
    """
    conflict: OperationalError | None = None
    for attempt in bounded_attempts():
        try:
            with transaction.atomic(durable=True):
                return work()
        except OperationalError as exc:
            if not is_lock_conflict(exc):
                raise
            logger.info("lock conflict, attempt %d: %s", attempt, exc)
            conflict = exc
    raise Busy from conflict


def give_back_connection() -> None:
    """At the end of what a thread does for one request: its connection is free for others. Costs nothing
    where there is none."""
    found = getattr(connections._connections, DEFAULT_DB_ALIAS, None)  # type: ignore[attr-defined]
    if found is not None and found.connection is not None:
        found.close_if_unusable_or_obsolete()


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """In this thread, locks are waited for so many seconds meanwhile, instead of LOCK_WAIT_SECONDS.

    For those who have other things to do than to wait for one row.
    """
    _set_lock_wait(seconds)
    _patience.seconds = seconds
    try:
        yield
    finally:
        del _patience.seconds
        try:
            _set_lock_wait(settings.LOCK_WAIT_SECONDS)
        except DatabaseError:
            connection.close()  # the next one begins as all do


def _set_lock_wait(seconds: int) -> None:
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])


def halving(
    items: Sequence[T], work: Callable[[Sequence[T]], int], alone: Callable[[T, Exception], None]
) -> int:
    """`work` on all at once; if that fails, in halves, until what it fails with is told to `alone`.

    Returns the sum of what `work` returns. Raises what is nobody's fault: the database is away, or busy.
    """
    try:
        return work(items)
    except Exception as exc:
        if is_outage(exc) or isinstance(exc, Busy):
            raise
        if len(items) == 1:
            alone(items[0], exc)
            return 0
    half = len(items) // 2
    return halving(items[:half], work, alone) + halving(items[half:], work, alone)


def reading(question: Callable[[], T]) -> T:
    """Ask the database outside a transaction; once more on a new connection if the old one had died."""
    try:
        return question()
    except DatabaseError as exc:
        if connection.in_atomic_block or not is_connection_lost(exc):
            raise
        connection.close()
        return question()


def limit_statements(seconds: float) -> None:
    """Let this thread's session give up any statement after `seconds` (MariaDB: error 1969, a lock conflict).

    For threads that keep their connection. MySQL only bounds lock waits, in whole seconds.
    """
    if connection.vendor != "mysql":
        return
    connection.ensure_connection()
    raw: Any = connection.connection
    if getattr(raw, "statement_limit", None) == seconds:
        return
    with connection.cursor() as cursor:
        if connection.mysql_is_mariadb:  # type: ignore[attr-defined]
            cursor.execute("SET SESSION max_statement_time = %s", [seconds])
        else:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [max(1, round(seconds))])
    raw.statement_limit = seconds
