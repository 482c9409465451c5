"""Django's MySQL backend with a bounded pool of connections a process.

Hundreds of threads wait for orders, few of them use the database at once. With CONN_MAX_AGE each of them
would keep a connection, without it each request would open one. Here a thread borrows a connection when
it first asks the database and gives it back at the end of the request; who finds none free within the
lock wait gets error 1040, which the API answers with 503 `busy`.
"""

import threading
import time
from collections import deque
from typing import Any

import MySQLdb as Database
from django.conf import settings
from django.db.backends.mysql import base

from yousinsa.process.once import PerProcess

# A connection that was idle for longer is asked whether it still lives before it is used.
PING_AFTER_SECONDS = 1.0
TOO_MANY_CONNECTIONS = 1040


class FairSemaphore:
    """Permits that go to whoever has waited longest.

    `threading.Semaphore` lets newcomers overtake: under load some threads then wait too long.
    """

    def __init__(self, permits: int) -> None:
        self._lock = threading.Lock()
        self._permits = permits
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        with self._lock:
            if self._permits:
                self._permits -= 1
                return True
            granted = threading.Lock()
            granted.acquire()
            self._waiting.append(granted)
        if granted.acquire(timeout=timeout):
            return True
        with self._lock:
            if granted in self._waiting:
                self._waiting.remove(granted)
                return False
        return True  # granted at the last moment

    def release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._permits += 1


class Pool:
    """Open connections that nobody uses, and a count of those that may exist at all."""

    def __init__(self, size: int) -> None:
        self._free = FairSemaphore(size)
        self._idle: deque[tuple[Any, float]] = deque()

    def take(self, wait: float) -> Any:
        """An idle connection that answers, or None: then the caller may open one. Raises OperationalError."""
        if not self._free.acquire(timeout=wait):
            raise Database.OperationalError(TOO_MANY_CONNECTIONS, "every pooled connection is in use")
        while self._idle:
            try:
                raw, idle_since = self._idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if time.monotonic() - idle_since < PING_AFTER_SECONDS:
                return raw
            try:
                raw.ping()
            except Database.Error:
                raw.close()
            else:
                return raw
        return None

    def give_back(self, raw: Any) -> None:
        self._idle.append((raw, time.monotonic()))
        self._free.release()

    def forget(self) -> None:
        """A borrowed connection is closed, or was never opened."""
        self._free.release()


@PerProcess
def pool_of(server: str, database: str) -> Pool:
    """The pool of this process (connections do not survive a fork) for one database."""
    return Pool(settings.DB_POOL_SIZE)


class DatabaseWrapper(base.DatabaseWrapper):
    """Borrows its connection from the pool and gives it back when Django closes it."""

    _pool: Pool | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        server = f"{conn_params.get('host')}:{conn_params.get('port')}"
        pool = pool_of(server, str(conn_params.get("database")))
        raw = pool.take(settings.LOCK_WAIT_SECONDS)
        if raw is None:
            try:
                raw = super().get_new_connection(conn_params)
            except BaseException:
                pool.forget()
                raise
        self._pool = pool
        return raw

    def init_connection_state(self) -> None:
        # Isolation level and SQL mode stay as they are while the connection is idle.
        if not getattr(self.connection, "is_initialised", False):
            super().init_connection_state()
            self.connection.is_initialised = True

    def _close(self) -> None:
        raw, pool, self._pool = self.connection, self._pool, None
        if raw is None:
            return
        # A session whose statements are limited belongs to the thread that limited it.
        reusable = pool is not None and not self.errors_occurred and not hasattr(raw, "statement_limit")
        # Otherwise nothing is open: `atomic` turns autocommit off, who begins by hand ends by hand.
        if reusable and not raw.get_autocommit():
            try:
                raw.rollback()
            except Database.Error:
                reusable = False
        if pool is None:
            raw.close()
        elif reusable:
            pool.give_back(raw)
        else:
            try:
                raw.close()
            except Database.Error:
                pass  # it was closed by the other side
            finally:
                pool.forget()
