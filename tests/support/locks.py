"""Seeing that somebody waits for a lock: the moment in which a test lets the other one go on."""

import time

from tests.support.environment import mariadb_server

LIMIT_SECONDS = 30


def until_somebody_waits() -> int:
    """The connection whose transaction waits for a lock on this run's MariaDB, once there is one.

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
            if found := cursor.fetchone():
                return int(found[0])
    raise AssertionError("nobody waits for a lock")


def kill_connection(thread_id: int) -> None:
    """The server drops this connection, as it does when it goes down."""
    with mariadb_server().root() as server:
        server.cursor().execute("KILL CONNECTION %s", [thread_id])
