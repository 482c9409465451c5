"""One stock's movements against its orders, one by one: done only where a sum is off."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from django.db.models import Q, Sum

from inventory.models import Kind, Movement
from inventory.reconciliation import causes
from inventory.reconciliation.scope import OrderBook, OrderedUnits
from inventory.reconciliation.sources import Chain, Row

ORDERS_AT_A_TIME = 1000


@dataclass(slots=True)
class Comparison:
    """Units that the ledger lacks: `unshipped` and `unreturned`, which orders have shipped and got back.

    `holding` are units that the ledger holds too few of (negative: too many), by cause. `numbers` are the
    orders that it does not agree with, two at most.
    """

    unshipped: int = 0
    unreturned: int = 0
    holding: Counter[str] = field(default_factory=Counter)
    numbers: set[str] = field(default_factory=set)

    def add(self, number: str, said: OrderedUnits, reserved: int, shipped: int, restocked: int) -> None:
        """Compare what one order says with what the ledger has under its number."""
        unshipped, unreturned = max(0, said.shipped - shipped), max(0, said.returned - restocked)
        lacking = said.promised - reserved
        self.unshipped += unshipped
        self.unreturned += unreturned
        if lacking > 0:
            cause = causes.ORDER_WITHOUT_MOVEMENT if said.promised else causes.MOVEMENT_MISSING
        elif said.shipped:
            cause = causes.SHIPPED_WITHOUT_MOVEMENT
        elif said.expired:
            cause = causes.EXPIRED_HOLD
        else:
            cause = causes.MOVEMENT_WITHOUT_ORDER if said.promised else causes.CLOSED_STILL_HOLDING
        self.holding[cause] += lacking
        if (unshipped or unreturned or lacking) and len(self.numbers) < 2:
            self.numbers.add(number)

    def likeliest(self, lacking: int) -> str:
        """The cause of most units, among those that point in the same direction as `lacking`."""
        units = {cause: n for cause, n in self.holding.items() if n * lacking > 0}
        fallback = causes.ORDER_WITHOUT_MOVEMENT if lacking > 0 else causes.MOVEMENT_WITHOUT_ORDER
        return max(units, key=lambda cause: abs(units[cause]), default=fallback)


def compare_orders(row: Row, chain: Chain, orders: OrderBook) -> Comparison:
    """However many orders there are of this option, `ORDERS_AT_A_TIME` are in memory."""
    comparison = Comparison()
    matched = 0
    lines = iter(orders.lines(row.option_id))
    while batch := list(islice(lines, ORDERS_AT_A_TIME)):
        moved = _moved(row.id, [number for number, _said in batch])
        for number, said in batch:
            reserved, shipped, restocked = moved.get(number, (0, 0, 0))
            matched += reserved
            comparison.add(number, said, reserved, shipped, restocked)
    stray = chain.ordered - matched
    comparison.holding[causes.MOVEMENT_WITHOUT_ORDER if stray > 0 else causes.MOVEMENT_MISSING] -= stray
    return comparison


def _moved(stock_id: int, numbers: list[str]) -> dict[str, tuple[int, int, int]]:
    """What the ledger has under these order numbers: (still reserved, shipped, restocked) units."""
    rows = (
        Movement.objects.filter(stock_id=stock_id, reference__in=numbers)
        .order_by()
        .values_list("reference")
        .annotate(
            held=Sum("delta_reserved", filter=Q(kind__in=[Kind.RESERVE, Kind.RELEASE, Kind.SHIP])),
            left=Sum("delta_on_hand", filter=Q(kind=Kind.SHIP)),
            back=Sum("delta_on_hand", filter=Q(kind=Kind.RESTOCK)),
        )
    )
    return {number: (held or 0, -(left or 0), back or 0) for number, held, left, back in rows}
