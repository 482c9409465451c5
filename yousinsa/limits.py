"""Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371): one number a caller.

The number is the "theoretical arrival time": a request conforms when it comes no earlier than that time
less the burst tolerance. It lives in memory that gunicorn's workers share, so a limit holds for the machine
at the cost of a few microseconds and without any I/O (docs/adr/0010). Where Redis is configured, sign-in and
sign-up are counted there, over all machines.
"""

import hashlib
import logging
import math
import re
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from yousinsa.errors import TooManyRequests
from yousinsa.process.redis_cache import is_away, note_away
from yousinsa.process.shared import shared_bytes

logger = logging.getLogger(__name__)

# Seconds since 1970 are exact to a quarter of a microsecond only, and a burst adds up many of them.
TOLERANCE = 1e-3

_UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "m": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "day": 86400,
}


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` requests in `seconds`, of which up to `burst` may come at once."""

    count: int
    seconds: int
    burst: int

    @classmethod
    def parse(cls, text: str, *, burst_seconds: int = 0) -> "Rate":
        """Read `20/s` or `10/min`; the burst is what `burst_seconds` allow, at least one period's count."""
        match = re.fullmatch(r"(\d+)/([a-z]+)", text.strip())
        if not match or match[2] not in _UNITS or int(match[1]) < 1:
            raise ValueError(f"A rate is written like 20/s or 10/min, not {text!r}")
        count, seconds = int(match[1]), _UNITS[match[2]]
        return cls(count, seconds, max(count, count * burst_seconds // seconds))

    @property
    def interval(self) -> float:
        return self.seconds / self.count


class SharedMemory:
    """Theoretical arrival times in a fixed table of slots, shared by gunicorn's workers.

    Two callers whose keys fall on the same of 2^20 slots share a limit; a lost update between two
    processes gives a caller one request more. Both are harmless for a limit.
    """

    SLOTS = 1 << 20

    def __init__(self) -> None:
        self._table = shared_bytes("limits", self.SLOTS * 8)
        self._lock = threading.Lock()

    def wait(self, key: str, rate: Rate, *, now: float | None = None) -> float:
        """Take one request off `key`'s budget: 0.0 when it conforms, else seconds until it would."""
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        offset = int.from_bytes(digest, "big") % self.SLOTS * 8
        now = time.time() if now is None else now
        with self._lock:
            (written,) = struct.unpack_from("d", self._table, offset)
            # Nobody can be further ahead than a whole burst; a clock that was put back makes it look so.
            arrival = min(max(written, now), now + rate.interval * rate.burst)
            early = arrival - now - rate.interval * (rate.burst - 1)
            conforms = early <= TOLERANCE
            if conforms:
                arrival += rate.interval
            if arrival != written:
                struct.pack_into("d", self._table, offset, arrival)
        return 0.0 if conforms else early

    def clear(self) -> None:
        with self._lock:
            self._table[:] = bytes(len(self._table))


shared_memory = SharedMemory()

# KEYS[1] the caller; ARGV: interval, burst tolerance and TOLERANCE in seconds. Answers 0, or ms to wait.
_REDIS_GCRA = """
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1e6
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local early = arrival - now - tonumber(ARGV[2])
if early > tonumber(ARGV[3]) then return math.ceil(early * 1000) end
arrival = arrival + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.6f', arrival), 'PX', math.ceil((arrival - now) * 1000))
return 0
"""


def _redis_wait(key: str, rate: Rate) -> float:
    client: Any = cache.client.get_client(write=True)  # type: ignore[attr-defined]
    burst = rate.interval * (rate.burst - 1)
    wait = client.eval(_REDIS_GCRA, 1, f"limit:{key}", rate.interval, burst, TOLERANCE)
    return int(wait) / 1000


def seconds_to_wait(key: str, rate: Rate, *, everywhere: bool = False) -> float:
    """Count one request of `key`; returns 0.0 or the seconds to wait.

    `everywhere` counts over all machines where Redis is configured; without Redis, or while it does not
    answer, the machine's own memory counts: a limit is never simply off.
    """
    if everywhere and settings.REDIS_URL and not is_away():
        try:
            return _redis_wait(key, rate)
        except Exception as exc:
            note_away(exc)
            logger.warning("Redis did not answer; this machine alone counts %s", key.partition(":")[0])
    return shared_memory.wait(key, rate)


def check(budgets: Iterable[tuple[str, Rate]], *, everywhere: bool = False) -> None:
    """Count a request against each budget (key, rate) in turn; raises `TooManyRequests` at a used-up one.

    The budgets after it are not touched: name the narrowest first, so that who has used up his own does
    not go on using up one that he shares with others.
    """
    for key, rate in budgets:
        if wait := seconds_to_wait(key, rate, everywhere=everywhere):
            raise TooManyRequests(retry_after=math.ceil(wait))


for _name in ("ORDER_RATE", "SIGN_IN_RATE", "SIGN_UP_RATE", "PAYMENT_RATE"):
    try:
        Rate.parse(getattr(settings, _name))
    except ValueError as exc:
        # At the start, not with the first request.
        raise ImproperlyConfigured(f"{_name}: {exc}") from exc


@lru_cache(maxsize=32)
def order_rate(text: str) -> Rate:
    """ORDER_RATE with its burst of ten seconds' worth: `20/s` lets 200 come at once."""
    return Rate.parse(text, burst_seconds=10)


class OrderThrottle(BaseThrottle):
    """Orders a user (`ORDER_RATE`)."""

    scope = "order"
    _wait = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        self._wait = seconds_to_wait(f"{self.scope}:{request.user.pk}", order_rate(settings.ORDER_RATE))
        return not self._wait

    def wait(self) -> float | None:
        return self._wait or None


class ReceiptThrottle(OrderThrottle):
    """Receipts of stock a store owner: as many as orders, on a budget of its own."""

    scope = "receipt"


class PingThrottle(OrderThrottle):
    """The same work as `OrderThrottle`, on a budget of its own."""

    scope = "ping"


def client_address(request: Request) -> str:
    """The caller's address; X-Forwarded-For counts only as far as TRUSTED_PROXIES appended to it."""
    return BaseThrottle().get_ident(request)
