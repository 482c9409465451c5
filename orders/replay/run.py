"""Reads the file twice: invoices become orders first, then cancellations become returns of them.

Returns come last, so that what a cancellation finds does not depend on how far an earlier run came.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from django.db import reset_queries

from orders.replay.catalogue import Catalogue
from orders.replay.reader import Invoice, Skipped, read_invoices
from orders.replay.report import Report
from orders.replay.returns import Returns
from orders.replay.sales import Sales
from yousinsa.commands.progress import Advance

# Invoices are gathered until they have so many lines, to look up their buyers, articles and orders together.
CHUNK_LINES = 700


def count_invoices(path: Path, limit: int | None) -> int:
    """How many invoices and cancellations there are to replay. Raises CommandError (see `read_invoices`)."""
    return sum(isinstance(item, Invoice) for item in read_invoices(path, limit=limit))


class Replay:
    """One run over a file; `report` counts what is committed, also when the run ends early."""

    def __init__(self, path: Path, *, limit: int | None, rate: Decimal) -> None:
        """`limit`: how many invoices from the file's start; `rate`: won a pound."""
        self.report = Report()
        self._path = path
        self._limit = limit
        self._rate = rate

    def run(self, advance: Advance) -> None:
        """Raises CommandError; `Problem` (busy, outcome unknown) and a database's error mean: run again."""
        sales = Sales(Catalogue(self.report), self.report, self._rate)
        for chunk in self._chunks():
            sales.replay(chunk)
            self.report.invoices += len(chunk)
            advance(len(chunk))
            # With DEBUG on, Django keeps the text of the last 9,000 statements, and these are long ones.
            reset_queries()
        returns = Returns(self.report, self._rate)
        for cancellation in self._cancellations():
            returns.replay(cancellation)
            self.report.cancellations += 1
            advance(1)
            reset_queries()

    def _chunks(self) -> Iterator[list[Invoice]]:
        chunk: list[Invoice] = []
        lines = 0
        for invoice in self._invoices():
            chunk.append(invoice)
            lines += len(invoice.lines)
            if lines >= CHUNK_LINES:
                yield chunk
                chunk, lines = [], 0
        if chunk:
            yield chunk

    def _invoices(self) -> Iterator[Invoice]:
        for item in read_invoices(self._path, limit=self._limit):
            if isinstance(item, Skipped):
                self.report.skip(item)
            elif not item.is_cancellation:
                yield item

    def _cancellations(self) -> Iterator[Invoice]:
        for item in read_invoices(self._path, limit=self._limit):
            if isinstance(item, Invoice) and item.is_cancellation:
                yield item
