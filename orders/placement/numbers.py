"""Keys that the application makes: order numbers for people, order ids for the database.

Both are time-ordered, so that new rows land at the end of their indexes, and both are fixed before an
order's first attempt, so that every retry, in whatever process, speaks of the same order.
"""

import os
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
EPOCH_MS = 1_704_067_200_000  # 2024-01-01 UTC
_NODE_BITS, _SEQUENCE_BITS = 14, 8
_BITS_BELOW_TIME = _NODE_BITS + _SEQUENCE_BITS
# An id is drawn first and its order written later: retries, queues and clocks lie between.
SLACK = timedelta(days=1)


# Every order draws a number: two digits at a time.
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def _eight_digits(value: int) -> str:
    """The last 40 bits in base 32."""
    return (
        _PAIRS[value >> 30 & 1023] + _PAIRS[value >> 20 & 1023] + _PAIRS[value >> 10 & 1023]
        + _PAIRS[value & 1023]
    )  # fmt: skip


class _Random:
    """40 random bits at a time, as good as `secrets`, fetched from the system many at once.

    Each fetch lets other threads take the interpreter, which costs more than the bits do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn: Iterator[bytes] = iter(())
        # Two processes must not draw the same: a child begins anew.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._drawn = iter(())

    def bits(self) -> int:
        with self._lock:
            drawn = next(self._drawn, None)
            if drawn is None:
                fetched = os.urandom(5 * 512)
                self._drawn = iter([fetched[i : i + 5] for i in range(0, len(fetched), 5)])
                drawn = next(self._drawn)
        return int.from_bytes(drawn, "big")


_random = _Random()


def new_number() -> str:
    """An order number such as `01KAV5Q2X-7H2M4TQZ`: 45 bits of time in ms, 40 random bits.

    Nobody can guess another's, and two within the same millisecond differ but for one chance in 10^12.
    """
    return _number(time.time_ns() // 1_000_000)


def number_at(moment: datetime) -> str:
    """A new number of an order of the past."""
    return _number(int(moment.timestamp() * 1000))


def _number(ms: int) -> str:
    return f"{_ALPHABET[ms >> 40 & 31]}{_eight_digits(ms)}-{_eight_digits(_random.bits())}"


class OrderIds:
    """63-bit ids: 41 bits of time in ms, 14 bits that this process drew by lot, 8 bits of sequence.

    The layout is Twitter's Snowflake with the worker number drawn instead of assigned. Should two processes
    draw alike, the primary key refuses the second order; `renew` then draws again (placement/batch.py).
    A burst beyond 256 ids a millisecond borrows from the next one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self.renew()

    def renew(self) -> None:
        self._node = secrets.randbits(_NODE_BITS) << _SEQUENCE_BITS

    def new(self) -> int:
        ticks = (time.time_ns() // 1_000_000 - EPOCH_MS) << _SEQUENCE_BITS
        with self._lock:
            self._last = max(ticks, self._last + 1)
            last = self._last
        sequence = last & ((1 << _SEQUENCE_BITS) - 1)
        return (last >> _SEQUENCE_BITS) << _BITS_BELOW_TIME | self._node | sequence


_ids = OrderIds()
new_order_id = _ids.new
renew_order_ids = _ids.renew


def id_at(seconds: float, below: int = 0) -> int:
    """The order id of a time (seconds since 1970), with `below` in the bits under the time.

    Of a time before 2024 it is negative: orders of the past come before all others.
    """
    ticks = int(seconds * 1000) - EPOCH_MS
    return ticks << _BITS_BELOW_TIME | below & (1 << _BITS_BELOW_TIME) - 1


def first_id_since(moment: datetime, *, slack: timedelta = SLACK) -> int:
    """A lower bound of the ids of orders that were placed at `moment` or later.

    Without slack: of those whose id was drawn then.
    """
    return id_at((moment - slack).timestamp())


def ids_at(moment: datetime) -> range:
    """All ids that orders of this millisecond can have."""
    first = id_at(moment.timestamp())
    return range(first, first + (1 << _BITS_BELOW_TIME))


def placed_at(order_id: int) -> datetime:
    """When an order's id was drawn, to the millisecond."""
    return datetime.fromtimestamp(((order_id >> _BITS_BELOW_TIME) + EPOCH_MS) / 1000, UTC)
