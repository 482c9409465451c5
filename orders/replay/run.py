"""Reads the file once, in its own order: invoices become orders, cancellations become returns of them.

A chunk is of one day. Its orders are written first, then its returns, which only find what the same customer
bought on lower invoice numbers: what a cancellation finds does not depend on how far an earlier run came.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from django.db import reset_queries

from orders.replay.calendar import Calendar, Dated, chunks, moment
from orders.replay.catalogue import Catalogue
from orders.replay.reader import Skipped, read_invoices
from orders.replay.report import Report
from orders.replay.returns import Returns
from orders.replay.sales import Sales
from orders.replay.values import Dates
from yousinsa.commands.progress import Advance

IMPOSSIBLE = "an InvoiceDate that cannot have been: in the future, or before 1970"


class Replay:
    """One run over a file; `report` counts what is committed, also when the run ends early."""

    def __init__(self, path: Path, dates: Dates, *, limit: int | None, rate: Decimal) -> None:
        """`dates`: as `survey` found them; `limit`: how many invoices from the start; `rate`: won a pound."""
        self.report = Report()
        self._path = path
        self._dates = dates
        self._limit = limit
        self._rate = rate
        self._rows = 0

    def run(self, advance: Advance) -> None:
        """`advance` is told how many rows are done.

        Raises CommandError; `Problem` (busy, outcome unknown) and a database's error mean: run again.
        """
        calendar = Calendar()
        sales = Sales(Catalogue(), calendar, self.report, self._rate)
        returns = Returns(calendar, self.report, self._rate)
        told = 0
        for chunk in chunks(self._dated()):
            sold = [dated for dated in chunk if not dated.invoice.is_cancellation]
            back = [dated for dated in chunk if dated.invoice.is_cancellation]
            sales.replay(sold)
            self.report.invoices += len(sold)
            returns.replay(back)
            self.report.cancellations += len(back)
            advance(self._rows - told)
            told = self._rows
            # With DEBUG on, Django keeps the text of the last 9,000 statements, and these are long ones.
            reset_queries()

    def _dated(self) -> Iterator[Dated]:
        """The invoices and when they happened; none before the one ahead of it."""
        latest = None
        for item in read_invoices(self._path, self._dates, limit=self._limit):
            self._rows += 1 if isinstance(item, Skipped) else len(item.lines)
            if isinstance(item, Skipped):
                self.report.skip(item)
                continue
            at = moment(item)
            if at is None:
                self.report.skip_lines(item.lines, IMPOSSIBLE)
                continue
            if latest and at < latest:
                self.report.later += 1
                at = latest
            latest = at
            yield Dated(item, at)
