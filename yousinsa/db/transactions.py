"""One way to run a transaction, and to ask outside of one."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection, transaction

from yousinsa.db.errors import is_connection_lost, is_lock_conflict
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ATTEMPTS = 10
BACKOFF_SECONDS = 0.01


def transact(work: Callable[[], T], *, attempts: int = MAX_ATTEMPTS) -> T:
    """Run `work` in one outermost transaction; on a lock conflict roll all of it back and try again.

    Never inside another transaction: MariaDB's 1205 rolls back only the statement and 1213 everything, so
    a retry below a savepoint would go on in a half-dead transaction (`durable=True` refuses to nest).

    Raises `Busy` when the bounded attempts, or twice the lock wait, are used up.
    """
    give_up_at = time.monotonic() + 2 * settings.LOCK_WAIT_SECONDS
    for attempt in range(1, attempts + 1):
        try:
            with transaction.atomic(durable=True):
                return work()
        except OperationalError as exc:
            if not is_lock_conflict(exc):
                raise
            if attempt == attempts or time.monotonic() >= give_up_at:
                raise Busy from exc
            logger.info("lock conflict, attempt %d: %s", attempt, exc)
        time.sleep(BACKOFF_SECONDS * attempt * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable")


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
