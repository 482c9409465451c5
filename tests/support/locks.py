"""Locks from the other side: somebody who keeps a row locked, and seeing that somebody waits for one."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from django.db import connection

from tests.support.environment import mariadb_server

LIMIT_SECONDS = 30


def until_somebody_waits(how_many: int = 1) -> int:
    """A connection whose transaction waits for a lock on this run's MariaDB, once there are so many.

    Nothing tells, so it is asked again and again.

    Raises AssertionError if nobody does: the code under test takes no lock where it should.
    """
    give_up_at = time.monotonic() + LIMIT_SECONDS
    with mariadb_server().root() as server:
        cursor = server.cursor()
        while time.monotonic() < give_up_at:
            time.sleep(0.15)  # asked again within 0.1 s, InnoDB repeats its last answer
            cursor.execute(
                "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            )
            found = cursor.fetchall()
            if len(found) >= how_many:
                return int(found[0][0])
    raise AssertionError("nobody waits for a lock")


def kill_connection(thread_id: int) -> None:
    """The server drops this connection, as it does when it goes down."""
    with mariadb_server().root() as server:
        server.cursor().execute("KILL CONNECTION %s", [thread_id])


@contextlib.contextmanager
def other_session() -> Iterator[Any]:
    """A cursor of another session on the test database; what it did is rolled back at the end."""
    import MySQLdb

    settings = connection.settings_dict
    other = MySQLdb.connect(
        host=settings["HOST"],
        port=int(settings["PORT"]),
        user=settings["USER"],
        password=settings["PASSWORD"],
        database=settings["NAME"],
    )
    try:
        yield other.cursor()
    finally:
        other.rollback()
        other.close()


@contextlib.contextmanager
def row_locked(table: str, row_id: int) -> Iterator[None]:
    """Somebody keeps this row locked exclusively."""
    with other_session() as cursor:
        cursor.execute(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", [row_id])
        yield


def deadlocks() -> int:
    """How many transactions this run's MariaDB has killed so far because they waited for each other."""
    with mariadb_server().root() as server:
        cursor = server.cursor()
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        return int(cursor.fetchone()[1])
