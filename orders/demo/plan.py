"""What happened in the demo shop: a made-up history of orders, without a database.

Time is cut into periods (days, or shorter for very long histories). An order is placed, paid, and shipped
or given up within one period, so that each period can be written in one transaction after which the books
balance; only a return reaches into a later period. Within a period, and from one to the next, everything is
in the order of time. The same arguments give the same history.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from orders.models import Status

DAYS = 90
ORDERS_PER_PERIOD = 10_000
MAX_LINES = 3

# Which orders, counted round in twenties, did not simply arrive.
_ROUND = 20
_EXPIRED, _CANCELLED_UNPAID, _CANCELLED_PAID, _RETURNED = 3, 7, 11, 15
_RETURNED_AFTER = 7
"""Periods from an order to its return."""


@dataclass(slots=True)
class PlannedOrder:
    """Times are seconds since 1970; `lines` are pairs of (index of the option, units)."""

    index: int
    placed_at: float
    buyer: int
    lines: tuple[tuple[int, int], ...]
    steps: list[tuple[float, Status]]
    """What became of it, the return left out: times and states, in order."""
    returned_at: float | None = None

    @property
    def status(self) -> Status:
        return self.steps[-1][1] if self.steps else Status.PENDING


@dataclass(slots=True)
class Period:
    """Orders that were placed in it, and the (earlier) orders whose units came back in it."""

    orders: list[PlannedOrder]
    returns: list[PlannedOrder]


@dataclass(frozen=True, slots=True)
class Plan:
    """`count` orders numbered from `first`, placed from `start` to `end` (seconds since 1970).

    `options` and `buyers` say how many there are to choose from; `hold` is how long a pending order holds
    its units, in seconds. The last orders are still pending, those before them paid, then shipped.
    """

    first: int
    count: int
    start: float
    end: float
    options: int
    buyers: int
    hold: float

    def periods(self) -> Iterator[Period]:
        number = max(DAYS, self.count // ORDERS_PER_PERIOD)
        length = (self.end - self.start) / number
        pending = min(self.count, 2000, max(1, self.count // 50))
        paid = min(self.count - pending, 5000, max(1, self.count * 3 // 100))
        shipped = min(self.count - pending - paid, 5000, max(1, self.count * 3 // 100))
        ended = self.count - pending - paid - shipped

        returns: dict[int, list[PlannedOrder]] = defaultdict(list)
        position = 0
        for period in range(number):
            # Ended orders fill all periods but the last two.
            if period < number - 2:
                size = ended * (period + 1) // (number - 2) - position
            else:
                size = shipped if period == number - 2 else paid
            clock = _Clock(self.start + period * length, length, random.Random(self.first + position))
            orders = []
            for i in range(size):
                order = self._place(position + i, clock.within(i / size * 0.9), clock.random)
                self._play(order, clock, period, number)
                orders.append(order)
                if order.returned_at:
                    returns[period + _RETURNED_AFTER].append(order)
            position += size
            if period == number - 1:
                orders += self._pending(position, pending, clock)
            yield Period(orders, returns.pop(period, []))

    def _place(self, position: int, placed_at: float, draw: random.Random) -> PlannedOrder:
        wanted = min(self.options, 1 + (draw.random() < 0.3) + (draw.random() < 0.1))
        lines: dict[int, int] = {}
        while len(lines) < wanted:
            # Squared: a few options sell far better than the rest.
            option = int(draw.random() ** 2 * self.options)
            lines[option] = 1 + (draw.random() < 0.1)
        buyer = int(draw.random() * self.buyers)
        return PlannedOrder(self.first + position, placed_at, buyer, tuple(lines.items()), [])

    def _play(self, order: PlannedOrder, clock: "_Clock", period: int, number: int) -> None:
        """Give an order its steps: all of them in this period, but for delivery and return."""
        placed = order.placed_at
        kind = order.index % _ROUND if period < number - 2 else None
        if kind == _EXPIRED:
            order.steps = [(placed + min(self.hold, clock.length * 0.02), Status.EXPIRED)]
            return
        if kind == _CANCELLED_UNPAID:
            order.steps = [(placed + clock.some(0.002, 0.01), Status.CANCELLED)]
            return
        order.steps = [(placed + clock.some(0.0005, 0.002), Status.PAID)]
        if kind == _CANCELLED_PAID:
            order.steps.append((placed + clock.some(0.003, 0.02), Status.CANCELLED))
            return
        if period == number - 1:
            return
        shipped_at = clock.within(0.93 + 0.06 * clock.random.random())
        order.steps.append((shipped_at, Status.SHIPPED))
        if period == number - 2:
            return
        order.steps.append((shipped_at + clock.some(1, 1.5), Status.DELIVERED))
        if kind == _RETURNED and period + _RETURNED_AFTER < number:
            order.returned_at = clock.within(_RETURNED_AFTER + 0.9 * clock.random.random())

    def _pending(self, position: int, count: int, clock: "_Clock") -> Iterator[PlannedOrder]:
        """Orders of the last minutes, that nobody has paid yet."""
        span = min(self.hold / 3, clock.length * 0.05)
        for i in range(count):
            yield self._place(position + i, self.end - span * (1 - i / count), clock.random)


@dataclass(slots=True)
class _Clock:
    """A period: when it starts, how long it is (seconds), and what is random in it."""

    start: float
    length: float
    random: random.Random

    def within(self, share: float) -> float:
        """The time when `share` of the period is over."""
        return self.start + share * self.length

    def some(self, low: float, high: float) -> float:
        """A while from `low` to `high` periods long, in seconds."""
        return self.length * self.random.uniform(low, high)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
