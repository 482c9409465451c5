"""Lane `distributed_lock`: a Redis lock for each option around `row_lock`.

The lock has a token (only its holder can release it) and an expiry (a dead holder does not keep it), both
from redis-py. The expiry is also its limit: a holder that is stopped for longer no longer has the lock and
does not know it. Therefore the row lock stays underneath, and what this lane adds is order at the door.
"""

from contextlib import ExitStack, suppress
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from orders.placement.batch import place_batch
from orders.placement.requests import Placed, PlaceRequest
from yousinsa.errors import Busy

HOLD_SECONDS = 10.0
POLL_SECONDS = 0.005


def option_lock(option_id: int) -> Lock:
    """The lock of one option; expires HOLD_SECONDS after it was taken."""
    if not settings.REDIS_URL:
        raise ImproperlyConfigured("PLACEMENT=distributed_lock needs REDIS_URL")
    client: Any = cache.client.get_client(write=True)  # type: ignore[attr-defined]
    return Lock(
        client,
        f"lock:option:{option_id}",
        timeout=HOLD_SECONDS,
        sleep=POLL_SECONDS,
        blocking_timeout=settings.LOCK_WAIT_SECONDS,
        thread_local=False,
    )


def distributed_lock(request: PlaceRequest) -> Placed:
    """Place one order while holding the locks of its options, taken in ascending order.

    Raises `Busy` when a lock is not had in time or Redis does not answer, and what `place_batch` says.
    """
    with ExitStack() as held:
        for option_id, _units in request.lines:
            lock = option_lock(option_id)
            try:
                if not lock.acquire():
                    raise Busy
            except RedisError as exc:
                raise Busy from exc
            held.callback(_release, lock)
        (outcome,) = place_batch([request])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _release(lock: Lock) -> None:
    # It may have expired, and will if Redis is away: the row lock decided.
    with suppress(LockError, RedisError):
        lock.release()
