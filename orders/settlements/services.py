"""What stores are owed: computed for all of them in one pass, and frozen by approval.

A sale counts in the period in which the order was delivered (its event `delivered`), at the price it was sold
for. Units that come back count as refunds in the period in which they were restocked, whenever they were
sold. Orders that were never delivered, and the refunds of paid orders that were cancelled, are no part of it.
Nobody can return what was not delivered, so over all periods a store is paid for what buyers keep.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import connection, models
from django.utils import timezone
from django.utils.translation import gettext

from inventory.models import Movement, Stock
from orders.models import Order, OrderEvent, OrderLine, Settlement
from orders.models.settlements import Frozen
from shop.models import Option, Product, Store
from yousinsa.db.id_ranges import id_range
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Invalid, NotFound
from yousinsa.months import day_end, day_start

# Rows of a table that one statement reads.
ROWS_AT_A_TIME = 100_000
BASIS_POINTS = 10_000


@dataclass(slots=True)
class Sums:
    """One store's units and won, before the shop's share."""

    units: int = 0
    gross: int = 0
    returned_units: int = 0
    refunds: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run came to: settlements written, and those that were approved before and stay as they are."""

    written: list[Settlement] = field(default_factory=list)
    frozen: list[Settlement] = field(default_factory=list)


def commission(amount: int, rate: int) -> int:
    """The shop's share of `amount` won at `rate` basis points, rounded half to even; of a loss, negative.

    Half to even favours neither side over many settlements, and rounds a loss as it rounds a gain.
    """
    whole, rest = divmod(amount * rate, BASIS_POINTS)
    return whole + (2 * rest > BASIS_POINTS or (2 * rest == BASIS_POINTS and whole % 2 == 1))


_TABLES = {
    "events": OrderEvent._meta.db_table,
    "orders": Order._meta.db_table,
    "lines": OrderLine._meta.db_table,
    "movements": Movement._meta.db_table,
    "stock": Stock._meta.db_table,
    "options": Option._meta.db_table,
    "products": Product._meta.db_table,
}
# An order that is delivered never leaves that state but to be returned, so it has one such event.
_SOLD = """
SELECT p.store_id, SUM(l.quantity), SUM(l.quantity * l.unit_price)
FROM {events} e
JOIN {lines} l ON l.order_id = e.order_id
JOIN {options} o ON o.id = l.option_id
JOIN {products} p ON p.id = o.product_id
WHERE e.id BETWEEN %s AND %s AND e.to_status = 'delivered' AND e.created_at >= %s AND e.created_at < %s
GROUP BY p.store_id
""".format(**_TABLES)
_RETURNED = """
SELECT p.store_id, SUM(m.delta_on_hand), SUM(m.delta_on_hand * l.unit_price)
FROM {movements} m
JOIN {stock} s ON s.id = m.stock_id
JOIN {orders} ord ON ord.number = m.reference
JOIN {lines} l ON l.order_id = ord.id AND l.option_id = s.option_id
JOIN {options} o ON o.id = l.option_id
JOIN {products} p ON p.id = o.product_id
WHERE m.id BETWEEN %s AND %s AND m.kind = 'restock' AND m.created_at >= %s AND m.created_at < %s
GROUP BY p.store_id
""".format(**_TABLES)


def sums(
    start: datetime, end: datetime, *, advance: Callable[[int], None] = lambda n: None
) -> dict[int, Sums]:
    """What every store sold and took back from `start` up to `end` (not included), by store id.

    One pass over the period's events and movements, each read by ranges of its primary key and added up by
    the database; `advance` is called with the number of rows after each range.
    """
    stores: dict[int, Sums] = {}
    for store_id, units, won in _ranges(OrderEvent, _SOLD, start, end, advance):
        store = stores.setdefault(store_id, Sums())
        store.units, store.gross = store.units + int(units), store.gross + int(won)
    for store_id, units, won in _ranges(Movement, _RETURNED, start, end, advance):
        store = stores.setdefault(store_id, Sums())
        store.returned_units, store.refunds = store.returned_units + int(units), store.refunds + int(won)
    return stores


def _ranges(
    model: type[models.Model], sql: str, start: datetime, end: datetime, advance: Callable[[int], None]
) -> Iterator[tuple[Any, ...]]:
    low, high = id_range(model, start, end)
    times = [connection.ops.adapt_datetimefield_value(moment) for moment in (start, end)]
    for first in range(low, high + 1, ROWS_AT_A_TIME):
        last = min(first + ROWS_AT_A_TIME - 1, high)
        with connection.cursor() as cursor:
            cursor.execute(sql, [first, last, *times])
            rows = cursor.fetchall()
        yield from rows
        advance(last - first + 1)


def rows_to_read(first_day: date, last_day: date) -> int:
    """How many rows `settle` will look at."""
    return sum(
        high - low + 1
        for low, high in (
            id_range(model, day_start(first_day), day_end(last_day)) for model in (OrderEvent, Movement)
        )
    )


def settle(
    first_day: date,
    last_day: date,
    *,
    store_id: int | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Settled:
    """Compute the settlements of a period (both days included) for every store, or for one.

    Stores that sold and took back nothing get none, unless they have a draft already. Drafts are computed
    anew, approved settlements are left as they are: a second run changes nothing. Raises `Invalid` (the days
    are in the wrong order), `NotFound` (no such store), `Conflict` where a settlement of another period that
    overlaps this one stands in the way, `Busy`.
    """
    if last_day < first_day:
        raise Invalid(errors={"to": gettext("Must not lie before the first day.")})
    if store_id is not None and not Store.objects.filter(pk=store_id).exists():
        raise NotFound(gettext("There is no store %s.") % store_id)
    _refuse_overlap(first_day, last_day, store_id)
    found = sums(day_start(first_day), day_end(last_day), advance=advance)
    period = {"period_start": first_day, "period_end": last_day}
    there = Settlement.objects.filter(**period).order_by("store_id")
    if store_id is not None:
        found = {id: sums for id, sums in found.items() if id == store_id}
        there = there.filter(store=store_id)
    stores = sorted(found.keys() | set(there.values_list("store_id", flat=True)))
    rates = dict(Store.objects.filter(pk__in=stores).values_list("pk", "commission_rate"))

    def write() -> Settled:
        settled = Settled()
        before = {row.store_id: row for row in there.select_for_update()}
        for id in stores:
            row = before.get(id) or Settlement(store_id=id, **period)
            if row.status == Settlement.Status.APPROVED:
                settled.frozen.append(row)
                continue
            _fill(row, found.get(id, Sums()), rates[id])
            row.save()
            settled.written.append(row)
        return settled

    return transact(write)


def _refuse_overlap(first_day: date, last_day: date, store_id: int | None) -> None:
    """A sale must not be paid twice, so periods of one store do not overlap."""
    overlapping = Settlement.objects.filter(period_start__lte=last_day, period_end__gte=first_day).exclude(
        period_start=first_day, period_end=last_day
    )
    if store_id is not None:
        overlapping = overlapping.filter(store=store_id)
    other = overlapping.select_related("store").first()
    if other:
        raise Conflict(
            gettext(
                "Settlement %(number)s (%(other)s) overlaps this period. Use its days, or delete it while it "
                "is a draft."
            )
            % {"number": other.pk, "other": other}
        )


def _fill(row: Settlement, sums: Sums, rate: int | None) -> None:
    row.units, row.gross = sums.units, sums.gross
    row.returned_units, row.refunds = sums.returned_units, sums.refunds
    row.commission_rate = settings.COMMISSION_RATE if rate is None else rate
    row.commission = commission(row.gross - row.refunds, row.commission_rate)
    row.payable = row.gross - row.refunds - row.commission
    row.computed_at = timezone.now()


def approve(settlement_id: int, *, actor_id: int) -> Settlement:
    """Freeze a draft as it is. The period must be over, and the draft computed after its end.

    Raises `NotFound`, `Frozen` (it is approved already), `Conflict`, `Busy`.
    """

    def work() -> Settlement:
        row = Settlement.objects.select_for_update().filter(pk=settlement_id).first()
        if row is None:
            raise NotFound(gettext("There is no settlement %s.") % settlement_id)
        if row.status == Settlement.Status.APPROVED:
            raise Frozen
        end = day_end(row.period_end)
        if timezone.now() < end:
            raise Conflict(gettext("The period is not over yet."))
        if row.computed_at < end:
            raise Conflict(
                gettext("It was computed before the period was over: run settle for it once more.")
            )
        row.status = Settlement.Status.APPROVED
        row.approved_by_id, row.approved_at = actor_id, timezone.now()
        row.save(update_fields=["status", "approved_by", "approved_at"])
        return row

    return transact(work)
