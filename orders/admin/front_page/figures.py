"""What the front page asks the database: ranges of an index, up to a limit, never a whole table."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from django.db import connection
from django.db.models import Count, F, Max, Min, Model, Sum, prefetch_related_objects
from django.db.models.functions import TruncHour
from django.utils import timezone

from inventory.models import ReconciliationRun, Stock
from inventory.reconciliation import WHOLE_SHOP
from inventory.selectors import LOW_STOCK
from orders.models import Drop, DropStatus, Order, OrderLine, Payment, Refund, Status
from orders.placement.numbers import first_id_since
from shop.desk import bounds
from shop.desk.bounds import AtLeast, bounded_count
from shop.models import Option, Store

# What sells is read from so many of the newest order lines, none of them older than this.
NEWEST_LINES = 5_000
RECENT = timedelta(days=7)
# How many rows a list on the front page has.
SHOWN = 6


class Hour(NamedTuple):
    """The orders of an hour (its beginning, local time) in one status."""

    at: datetime
    status: str
    orders: int


class HeldUnits(NamedTuple):
    """What pending orders hold: units of so many orders, from the next hold's end to the last one's."""

    orders: int
    units: int
    first: datetime | None
    last: datetime | None
    overdue: int


class OptionRow(NamedTuple):
    """An option in a list: its stock row, its names, units available, units ordered lately."""

    stock_id: int
    option: str
    product: str
    available: int
    ordered: int


class Recent(NamedTuple):
    """The newest order lines: units by option, and since when."""

    units: Counter[int]
    since: datetime | None


def about(model: type[Model]) -> int | None:
    """The database's own estimate of a table's rows; None where it keeps none (SQLite)."""
    if connection.vendor != "mysql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_rows FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            [model._meta.db_table],
        )
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else None


class Figures:
    """The figures of one moment, each asked for once however many panels show it."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = timezone.localtime(now)
        self.midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)

    @cached_property
    def hours(self) -> list[Hour]:
        """Today's orders by hour and status: a range of the primary key."""
        rows = (
            Order.objects.filter(pk__gte=first_id_since(self.midnight), created_at__gte=self.midnight)
            .order_by()
            # In UTC, as it is stored: MariaDB knows no other zone unless its tables were loaded.
            .values_list(TruncHour("created_at", tzinfo=UTC), "status")
            .annotate(Count("pk"))
        )
        return [Hour(timezone.localtime(at), status, orders) for at, status, orders in rows]

    def today(self) -> Counter[str]:
        """How many of today's orders are in which status."""
        by_status: Counter[str] = Counter()
        for hour in self.hours:
            by_status[hour.status] += hour.orders
        return by_status

    def by_hour(self) -> list[int]:
        """Today's orders, by the hour of the day, up to the present one."""
        counts = [0] * (self.now.hour + 1)
        for hour in self.hours:
            counts[min(hour.at.hour, self.now.hour)] += hour.orders
        return counts

    def waiting(self, status: Status) -> int:
        """Orders in a status, whenever they were placed."""
        return bounded_count(Order.objects.filter(status=status))

    def money_in(self) -> tuple[int, int]:
        """(won, payments) that were approved today."""
        approved = Payment.objects.filter(status=Payment.Status.APPROVED, decided_at__gte=self.midnight)
        found = approved.aggregate(won=Sum("amount"), payments=Count("pk"))
        return found["won"] or 0, found["payments"]

    def refunds_due(self) -> tuple[int, int]:
        """(won, refunds) that are owed to buyers."""
        due = Refund.objects.filter(status=Refund.Status.DUE).aggregate(
            won=Sum("amount"), refunds=Count("pk")
        )
        return due["won"] or 0, due["refunds"]

    def held(self) -> HeldUnits:
        """What pending orders hold, looking at the `COUNT_LIMIT` that end first."""
        pending = Order.objects.filter(status=Status.PENDING).order_by("expires_at")
        further = list(
            pending.values_list("expires_at", flat=True)[bounds.COUNT_LIMIT : bounds.COUNT_LIMIT + 1]
        )
        if further:
            pending = pending.filter(expires_at__lt=further[0])
        found = pending.order_by().aggregate(
            orders=Count("pk", distinct=True), units=Sum("lines__quantity"),
            first=Min("expires_at"), last=Max("expires_at"),
        )  # fmt: skip
        overdue = bounded_count(pending.filter(expires_at__lt=self.now - timedelta(minutes=2)))
        orders, units = found["orders"], found["units"] or 0
        if further:
            orders, units = AtLeast(orders), AtLeast(units)
        return HeldUnits(orders, units, found["first"], found["last"], overdue)

    @cached_property
    def recent(self) -> Recent:
        """What was ordered lately, from the end of the lines' primary key."""
        oldest = first_id_since(self.now - RECENT)
        rows = OrderLine.objects.order_by("-id").values_list("order_id", "option_id", "quantity")
        units: Counter[int] = Counter()
        first = 0
        for order_id, option_id, quantity in rows[:NEWEST_LINES]:
            if order_id >= oldest:
                units[option_id] += quantity
                first = min(first or order_id, order_id)
        since = Order.objects.filter(pk=first).values_list("created_at", flat=True).first()
        return Recent(units, since)

    @cached_property
    def _short(self) -> list[tuple[int, int, int]]:
        """(stock id, option id, units available) of what was ordered lately and is low or sold out."""
        rows = (
            Stock.objects.filter(option__in=list(self.recent.units), on_hand__lt=F("reserved") + LOW_STOCK)
            .order_by()
            .values_list("id", "option_id", "on_hand", "reserved")
        )
        return [(id, option_id, on_hand - reserved) for id, option_id, on_hand, reserved in rows]

    def low(self) -> tuple[int, list[OptionRow]]:
        """Options that sell and of which few are left: how many, and those that sell best."""
        return self._best(lambda available: available > 0)

    def missed(self) -> tuple[int, list[OptionRow]]:
        """Options that were ordered lately and are sold out now: how many, and those that sold best."""
        return self._best(lambda available: available <= 0)

    def _best(self, wanted: Callable[[int], bool]) -> tuple[int, list[OptionRow]]:
        units = self.recent.units
        chosen = sorted((row for row in self._short if wanted(row[2])), key=lambda row: -units[row[1]])
        return len(chosen), list(self._rows(chosen[:SHOWN]))

    def _rows(self, chosen: list[tuple[int, int, int]]) -> Iterable[OptionRow]:
        stocks = Stock.objects.select_related("option__product").in_bulk([row[0] for row in chosen])
        for stock_id, option_id, available in chosen:
            option = stocks[stock_id].option
            name = " · ".join(filter(None, [option.sku, option.size, option.color]))
            yield OptionRow(stock_id, name, option.product.name, available, self.recent.units[option_id])

    def top_options(self) -> list[tuple[str, int]]:
        """(option, units) that were ordered most today, whatever became of the orders.

        By the time in the order's id, which is when the request came in: the order need not be read.
        """
        rows = (
            OrderLine.objects.filter(order_id__gte=first_id_since(self.midnight, slack=timedelta(0)))
            .order_by()
            .values_list("option_id")
            .annotate(units=Sum("quantity"))
            .order_by("-units")[:SHOWN]
        )
        units = dict(rows)
        skus = dict(Option.objects.filter(pk__in=units).values_list("pk", "sku"))
        return [(skus[option_id], units[option_id]) for option_id in units]

    def stores_waiting(self) -> tuple[int, list[Store]]:
        """Stores that applied and were not decided upon: how many, and the first of them."""
        waiting = Store.objects.filter(status=Store.Status.REQUESTED).order_by("id")
        return bounded_count(waiting), list(waiting.select_related("owner")[:SHOWN])

    def last_run(self) -> tuple[ReconciliationRun | None, int]:
        """The newest finished reconciliation of the whole shop, and what of it is not fixed yet."""
        ended = [ReconciliationRun.Status.CLEAN, ReconciliationRun.Status.DIFFERENCES]
        runs = ReconciliationRun.objects.filter(status__in=ended, scope__startswith=str(WHOLE_SHOP))
        run = runs.order_by("-id").first()
        return run, bounded_count(run.differences.filter(fixed_by=None)) if run else 0

    def drops(self) -> list[Drop]:
        """Drops that sell or are being closed, then those to come, by their time."""
        under_way = Drop.objects.exclude(status__in=[DropStatus.SCHEDULED, DropStatus.SETTLED])
        to_come = Drop.objects.filter(status=DropStatus.SCHEDULED)
        found = [*under_way.order_by("opens_at")[:SHOWN], *to_come.order_by("opens_at")[:SHOWN]][:SHOWN]
        prefetch_related_objects(found, "items")
        return found
