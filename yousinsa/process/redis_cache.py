"""Django's cache in Redis, which is a helper: while it is away, slow or full, this process keeps its own.

What is kept is JSON: whoever can write to Redis must not get to run code here, as pickles would let them.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django_redis.cache import RedisCache as DjangoRedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# After Redis did not answer, nobody waits for it again for so long.
AWAY_SECONDS = 2.0
_away_until = 0.0


def is_away() -> bool:
    """Whether Redis did not answer a moment ago."""
    return time.monotonic() < _away_until


def note_away(exc: Exception) -> None:
    """It did not answer, or not as it should: do without it for a while."""
    global _away_until
    _away_until = time.monotonic() + AWAY_SECONDS
    logger.warning("Redis is no help, this process does without it for %g s: %s", AWAY_SECONDS, exc)


def _with_spare(name: str) -> Callable[..., Any]:
    def method(self: "RedisCache", *args: Any, **keywords: Any) -> Any:
        if not is_away():
            try:
                return getattr(super(RedisCache, self), name)(*args, **keywords)
            except (RedisError, OSError) as exc:
                note_away(exc)
            except ValueError:
                logger.warning("what Redis keeps under %r is not ours", args[:1])
        return getattr(self._spare, name)(*args, **keywords)

    method.__name__ = name
    return method


class RedisCache(DjangoRedisCache):
    """What the shop uses of Django's cache, by Redis or else by the process's own memory."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._spare = LocMemCache("spare", {"KEY_PREFIX": params.get("KEY_PREFIX", "")})

    get = _with_spare("get")
    set = _with_spare("set")
    add = _with_spare("add")
    delete = _with_spare("delete")
    has_key = _with_spare("has_key")
    touch = _with_spare("touch")
    clear = _with_spare("clear")
    get_many = _with_spare("get_many")
    set_many = _with_spare("set_many")
    delete_many = _with_spare("delete_many")
