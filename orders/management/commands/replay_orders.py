"""Replay a file of real invoices as orders of this shop."""

import time
from argparse import ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, InterfaceError, OperationalError

from orders.models import MAX_LINES
from orders.replay.invoices import WON_A_POUND
from orders.replay.reader import charset, survey
from orders.replay.run import Replay
from yousinsa.commands.arguments import file_argument, whole_number
from yousinsa.commands.progress import progress
from yousinsa.errors import Problem
from yousinsa.process.collection import rarely_collected

RATES = (Decimal(1), Decimal(1_000_000))


def _rate(text: str) -> Decimal:
    low, high = RATES
    try:
        rate = Decimal(text)
        if low <= rate <= high:
            return rate
    except InvalidOperation:
        pass
    raise ArgumentTypeError(f"must be an amount in won from {low:,} to {high:,}")


class Command(BaseCommand):
    help = (
        "Replays a CSV file of invoices (.csv or .csv.gz; columns InvoiceNo, StockCode, Description, "
        "Quantity, InvoiceDate, UnitPrice, CustomerID, Country) through the shop's engine: articles become "
        "products, goods are received as they are needed, invoices become orders that are paid, shipped "
        "and delivered, and cancellations become returns. Each order has its invoice's prices; the product "
        f"keeps the last one. An invoice of more than {MAX_LINES} articles, or of one article at two prices, "
        "becomes several orders. All of it is dated as the file says, in the ledger too; in a shop that has "
        "moved since, or closed that month, it is dated now. Lines that are no sales are skipped, counted "
        "and named. What was replayed before is left as it is, so a second run changes nothing and an "
        "interrupted one goes on. Run one replay at a time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=file_argument, help="The file of invoice lines.")
        parser.add_argument(
            "--limit", type=whole_number(), metavar="N", help="Replay only the first N invoices."
        )
        parser.add_argument(
            "--rate", type=_rate, default=WON_A_POUND, metavar="WON",
            help="Won a pound (default: %(default)s, so that a penny is 18 won and no price is rounded).",
        )  # fmt: skip

    def handle(self, *args: Any, file: Path, limit: int | None, rate: Decimal, **options: Any) -> None:
        started = time.monotonic()
        rows, dates = survey(file, limit=limit)
        replay = Replay(file, dates, limit=limit, rate=rate)
        try:
            self.stdout.write(f"read as {charset(file)}")
            with progress("Replaying lines", rows, self.stderr) as advance, rarely_collected():
                replay.run(advance)
        except (Problem, IntegrityError, InterfaceError, OperationalError) as exc:
            self._report(replay, rate, started)
            raise CommandError(
                f"The database did not answer, or somebody else writes the same data ({exc}). Run the replay "
                "again: it goes on where it stopped."
            ) from exc
        except KeyboardInterrupt as exc:
            self._report(replay, rate, started)
            raise CommandError("Interrupted. Run the replay again: it goes on here.", returncode=130) from exc
        self._report(replay, rate, started)
        if replay.report.skipped and not (replay.report.invoices or replay.report.cancellations):
            raise CommandError(
                f"No line of {file} could be used (read as {charset(file)}): see the reasons above."
            )

    def _report(self, replay: Replay, rate: Decimal, started: float) -> None:
        for sentence in replay.report.sentences(rate, time.monotonic() - started):
            self.stdout.write(sentence)
