"""What the database's exceptions mean: try again, connection lost, somebody was first."""

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection

# MariaDB: deadlock, lock wait timeout, record changed since last read, statement timeout.
LOCK_CONFLICTS = {1213, 1205, 1020, 1969}
# MariaDB: cannot connect, server gone, lost connection, killed, shutting down, too many connections.
CONNECTION_LOST = {2002, 2003, 2005, 2006, 2013, 2014, 2026, 2055, 1927, 1053, 1040, 1129, 1317}
# Those among them that say that there was no connection to begin with.
NOT_CONNECTED = {2002, 2003, 2005, 1040, 1129}
DUPLICATE_KEY = 1062
STATEMENT_TIMEOUT = 1969


def error_code(exc: BaseException) -> int | None:
    """The server's error number of a database exception, where it has one."""
    return exc.args[0] if exc.args and isinstance(exc.args[0], int) else None


def is_lock_conflict(exc: BaseException) -> bool:
    """True for an error after which the whole transaction may be tried again."""
    if connection.vendor == "sqlite":
        return isinstance(exc, OperationalError) and ("locked" in str(exc) or "busy" in str(exc))
    return error_code(exc) in LOCK_CONFLICTS


def is_connection_lost(exc: BaseException) -> bool:
    """True where the connection died: at COMMIT this leaves the outcome open."""
    return error_code(exc) in CONNECTION_LOST


def may_be_half_done(exc: BaseException) -> bool:
    """True where the connection died after it had been made: a COMMIT may have been on its way."""
    if isinstance(exc, InterfaceError):
        return True
    return is_connection_lost(exc) and error_code(exc) not in NOT_CONNECTED


def is_duplicate(exc: BaseException) -> bool:
    """True where a unique constraint refused a row: somebody else was first."""
    return isinstance(exc, IntegrityError) and (
        error_code(exc) == DUPLICATE_KEY or "UNIQUE constraint" in str(exc)
    )


def duplicate_key(exc: BaseException) -> str:
    """Which unique key refused a row: its name on MariaDB, `table.column, …` on SQLite; '' for none."""
    if not is_duplicate(exc):
        return ""
    if error_code(exc) == DUPLICATE_KEY:
        # MySQL puts the table in front of the name.
        return str(exc.args[1]).rpartition("for key ")[2].strip("'").rpartition(".")[2]
    return str(exc).partition("UNIQUE constraint failed: ")[2]


def is_outage(exc: BaseException) -> bool:
    """True where it is nobody's fault in particular: the database is away, or busy."""
    return isinstance(exc, InterfaceError) or (
        isinstance(exc, DatabaseError) and (is_connection_lost(exc) or is_lock_conflict(exc))
    )
