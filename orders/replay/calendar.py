"""When replayed things happened: in the file's own time where the shop's books allow it, else now.

The ledger is read as written in the order of time (yousinsa/db/id_ranges.py, month seals). So time only moves
forward, and a shop that has moved since, or has closed the month, gets its past dated now. A file knows one
moment of an invoice: its order was placed, paid, shipped and delivered then.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from django.db.models import Max
from django.utils import timezone

from inventory.models import MonthSeal, Movement
from orders.models import Order
from orders.placement.numbers import ids_at, new_order_id
from orders.replay.reader import Invoice
from yousinsa.commands.arguments import YEARS

# So many lines are decided and written in one transaction, or fewer: it ends with the day, too.
CHUNK_LINES = 5000


class Dated(NamedTuple):
    """An invoice, and when it counts as having happened."""

    invoice: Invoice
    at: datetime


def moment(invoice: Invoice) -> datetime | None:
    """An invoice's moment, in the shop's time zone unless it names one; None where it cannot have been."""
    date = invoice.date
    if date.year not in YEARS:
        return None
    at = timezone.make_aware(date) if timezone.is_naive(date) else date
    return at if at <= timezone.now() else None


def chunks(dated: Iterable[Dated]) -> Iterator[list[Dated]]:
    """The invoices of one transaction each: of one day in Seoul, `CHUNK_LINES` and the rest of an invoice."""
    for _day, of_day in groupby(dated, key=lambda item: timezone.localdate(item.at)):
        chunk: list[Dated] = []
        lines = 0
        for item in of_day:
            chunk.append(item)
            lines += len(item.invoice.lines)
            if lines >= CHUNK_LINES:
                yield chunk
                chunk, lines = [], 0
        if chunk:
            yield chunk


class Calendar:
    """Says of each chunk whether it may be written in its own time; once it may not, none after it may."""

    def __init__(self) -> None:
        self.dates_now = False

    def own_time(self, chunk: list[Dated]) -> bool:
        """Whether nothing has moved since the day of this chunk, and its month is open."""
        if not self.dates_now:
            day = timezone.localdate(chunk[0].at)
            last = Movement.objects.order_by("-pk").values_list("created_at", flat=True).first()
            moved_since = last is not None and timezone.localdate(last) > day
            closed = MonthSeal.objects.filter(month__gte=day.replace(day=1)).exists()
            self.dates_now = moved_since or closed
        return not self.dates_now


class OrderIds:
    """Ids of orders of the past: of their own time, each once, whatever was replayed of it before."""

    def __init__(self) -> None:
        self._last: dict[datetime, int] = {}
        self._is_empty = False

    def look_at(self, chunk: list[Dated]) -> None:
        """Ask once whether there are orders of this chunk's time: if not, no moment has to be asked."""
        first, last = ids_at(chunk[0].at)[0], ids_at(chunk[-1].at)[-1]
        self._is_empty = not Order.objects.filter(pk__gte=first, pk__lte=last).exists()

    def new(self, at: datetime | None) -> int:
        """The next id of this moment; None: now."""
        if at is None:
            return new_order_id()
        if at not in self._last:
            ids = ids_at(at)
            there = None if self._is_empty else _last_id(ids)
            self._last = {at: ids[0] - 1 if there is None else there}
        self._last[at] += 1
        return self._last[at]


def _last_id(ids: range) -> int | None:
    """The highest of these ids that an order has."""
    there = Order.objects.filter(pk__gte=ids[0], pk__lte=ids[-1]).aggregate(last=Max("pk"))
    last: int | None = there["last"]
    return last
