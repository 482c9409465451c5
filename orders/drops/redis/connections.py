"""How drops reach Redis: a client for workers and operators, a lean pool for the orders.

An order asks Redis once. It waits a short time for a connection and for the answer, and is never sent
twice: after a lost answer only `OutcomeUnknown` is true. Each connection of the pool knows the `run_id` of
the server that it leads to, since a server that was restarted may have forgotten what it sold.
"""

import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from django.conf import settings
from django.utils.translation import gettext
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError, TimeoutError
from redis.retry import Retry

from orders.drops.errors import RedisNeeded
from yousinsa.errors import Busy
from yousinsa.process.once import PerProcess

T = TypeVar("T")
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
# As many as Redis can keep busy from one process; who finds none free waits for one, shortly.
POOL_SIZE = 16
POOL_WAIT_SECONDS = 2.0
WORKER_SECONDS = 10.0
# What a client raises where there is no Redis that answers.
NO_REDIS = (RedisError, RedisNeeded)


class AnswerLost(Exception):
    """A command was sent and not answered: nobody knows whether it was done."""


def redis_url() -> str:
    """REDIS_URL; raises `RedisNeeded` where there is none."""
    if not settings.REDIS_URL:
        raise RedisNeeded
    return str(settings.REDIS_URL)


def client() -> Any:
    """A redis-py client that decodes answers and never repeats a command. Raises `RedisNeeded`."""
    return _client(redis_url())


@PerProcess
def _client(url: str) -> Any:
    return redis.Redis.from_url(
        url, decode_responses=True, protocol=2, socket_timeout=WORKER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS, retry=Retry(NoBackoff(), 0),
    )  # fmt: skip


@contextmanager
def redis_or_busy() -> Iterator[None]:
    """For what an operator or a worker does with Redis: raises `Busy` where that raises `RedisError`."""
    try:
        yield
    except RedisError as exc:
        raise Busy(gettext("Redis does not answer: %s") % exc) from exc


def run_id(of: Any) -> str:
    """Which life of the server this is: another after each start."""
    return str(of.info("server")["run_id"])


def _introduce(connection: Any) -> None:
    """Sign in, and learn which life of the server the connection leads to."""
    connection.on_connect()
    for line in call(connection, "INFO", "server").splitlines():
        if line.startswith("run_id:"):
            connection.run_id = line.partition(":")[2]


class OrderPool:
    """The connections of one process that orders share."""

    def __init__(self, url: str) -> None:
        self._template: Any = redis.ConnectionPool.from_url(
            url, decode_responses=True, protocol=2, socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS, retry=Retry(NoBackoff(), 0),
            redis_connect_func=_introduce,
        )  # fmt: skip
        self._free = threading.BoundedSemaphore(POOL_SIZE)
        self._idle: deque[Any] = deque()

    def use(self, work: Callable[[Any], T]) -> T:
        """`work(connection)` with a connection that is up (see `call`).

        Raises `Busy` where nothing was sent, `AnswerLost` where nobody knows what was done.
        """
        if not self._free.acquire(timeout=POOL_WAIT_SECONDS):
            raise Busy
        connection = None
        try:
            connection = self._take()
            answer = work(connection)
        except (RedisConnectionError, TimeoutError) as exc:
            raise (Busy() if connection is None else AnswerLost()) from exc
        except ResponseError as exc:
            # Redis checks memory, role and disk before the first write of a script or a transaction.
            raise Busy from exc
        else:
            self._idle.append(connection)
            connection = None
        finally:
            if connection is not None:
                connection.disconnect()  # it may be in the middle of something
            self._free.release()
        return answer

    def _take(self) -> Any:
        """A connection that is up; raises RedisError."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            # Nothing is expected: what can be read is the end of a connection that the server closed.
            if not connection.idle_poll.poll(0):
                return connection
            connection.disconnect()
        # Not by the pool's own method, which would count the ones that failed against its limit.
        connection = self._template.connection_class(**self._template.connection_kwargs)
        connection.connect()
        connection.idle_poll = select.poll()
        connection.idle_poll.register(connection._sock, select.POLLIN)
        return connection


def call(connection: Any, *command: Any) -> Any:
    """Send one command and return its answer. Raises `RedisError`."""
    connection.send_command(*command)
    return connection.read_response()


_order_pool = PerProcess(OrderPool)


def order_pool() -> OrderPool:
    """This process's pool. Raises `Busy` without REDIS_URL."""
    if not settings.REDIS_URL:
        raise Busy(gettext("This drop needs Redis, which is not configured here."), retry_after=5)
    return _order_pool(str(settings.REDIS_URL))
