"""What a delivery and a return are worth to the store, written in the transaction that makes them.

An entry never changes, and a settlement claims it once. So it does not matter when a settlement looks: what
is committed after its look is still unclaimed, and goes into the next one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from orders.models import SettlementEntry
from yousinsa.db.rows import insert_rows

BASIS_POINTS = 10_000
_FIELDS = ("line", "store", "units", "won", "commission", "returned", "created_at")

Row = tuple[Any, ...]


class SoldLine(Protocol):
    """What an entry asks of a line: an `OrderLine`, what is held of it, or a row of these columns."""

    @property
    def pk(self) -> Any: ...
    @property
    def store_id(self) -> Any: ...
    @property
    def quantity(self) -> int: ...
    @property
    def unit_price(self) -> int: ...
    @property
    def commission_rate(self) -> int: ...


class ReturnedLine(SoldLine, Protocol):
    """The same, with the units that are back."""

    @property
    def returned(self) -> int: ...


def commission(amount: int, rate: int) -> int:
    """The shop's share of `amount` won at `rate` basis points, rounded half to even; of a loss, negative.

    Half to even favours neither side over many sales, and rounds a loss as it rounds a gain.
    """
    whole, rest = divmod(amount * rate, BASIS_POINTS)
    return whole + (2 * rest > BASIS_POINTS or (2 * rest == BASIS_POINTS and whole % 2 == 1))


def sale(line: SoldLine, *, at: datetime) -> Row:
    """The entry of a line that was delivered."""
    won = line.quantity * line.unit_price
    return (line.pk, line.store_id, line.quantity, won, commission(won, line.commission_rate), 0, at)


def taken_back(line: ReturnedLine, units: int, *, at: datetime) -> Row:
    """The entry of `units` that just came back; `line.returned` counts them already.

    Of the commission goes back what the shop does not keep any more for the units that are out: the last
    return takes the remainder, whatever was rounded before.
    """
    out = line.quantity - line.returned
    kept = commission(out * line.unit_price, line.commission_rate)
    kept_before = commission((out + units) * line.unit_price, line.commission_rate)
    return (
        line.pk, line.store_id, -units, -units * line.unit_price, kept - kept_before, line.returned, at,
    )  # fmt: skip


def write(rows: Iterable[Row]) -> None:
    """Write entries, inside the caller's transaction."""
    insert_rows(SettlementEntry, _FIELDS, rows)
