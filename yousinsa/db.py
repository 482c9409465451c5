"""What every app needs of the database: one way to run a transaction, one way to insert many rows."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from yousinsa.errors import Busy, is_connection_lost, is_lock_conflict

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


def insert_rows(model: type[models.Model], fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """INSERT rows of plain values in one statement, without building model instances.

    `fields` are field names, `rows` their values in that order, as Python values (aware datetimes). Fields
    that are not named take the database's default. Returns the number of rows. Database constraints apply;
    nothing else does (no `save`, no validation): meant for services that have checked already.
    """
    meta = model._meta
    columns = [meta.get_field(name) for name in fields]
    adapt = [i for i, field in enumerate(columns) if isinstance(field, models.DateTimeField)]
    # The rows of a batch share few moments: each is converted once.
    convert = lru_cache(maxsize=64)(connection.ops.adapt_datetimefield_value)
    values = []
    for row in rows:
        value = list(row)
        for i in adapt:
            value[i] = convert(value[i])
        values.append(value)
    if not values:
        return 0
    quote = connection.ops.quote_name
    names = ", ".join(quote(str(field.column)) for field in columns)  # type: ignore[union-attr]
    marks = ", ".join(["%s"] * len(columns))
    # mysqlclient sends this as one multi-row INSERT, sqlite3 as one prepared statement.
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {quote(meta.db_table)} ({names}) VALUES ({marks})", values)  # noqa: S608
    return len(values)


class ExactMixin:
    """Text that is compared byte by byte, as SQLite does anyway and MariaDB's default collation does not.

    For identifiers: `Shirt-1` and `shirt-1` are two SKUs, `jose@…` and `josé@…` are two people.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class ExactCharField(ExactMixin, models.CharField):
    """A CharField that is compared byte by byte."""


class ExactEmailField(ExactMixin, models.EmailField):
    """An EmailField that is compared byte by byte."""
