"""Seal a month of the ledger, so that nobody can change it without being found out."""

import time
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inventory.models import Stock
from inventory.seals.closing import close_month
from orders.order_book import ORDERS
from yousinsa.commands.arguments import counted, month_argument
from yousinsa.commands.progress import progress
from yousinsa.errors import Problem


class Command(BaseCommand):
    help = (
        "Seals a month: writes down, for every stock row, its opening and closing balance and a hash chain "
        "over its movements. Months are closed in order, each once it is over, and only where reconciliation "
        "finds nothing (it runs first, unless a clean run over the whole shop is less than an hour old). "
        "A month that is closed already stays as it is; one that was interrupted goes on. Orders wait for "
        "nothing. Write the hash down elsewhere: it proves all months up to this one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", type=month_argument, metavar="YYYY-MM", help="The month to close.")
        parser.add_argument("--force", action="store_true", help="Close although differences are open.")

    def handle(self, *args: Any, month: date, force: bool, **options: Any) -> None:
        started = time.monotonic()
        try:
            with progress("Sealing", Stock.objects.count(), self.stderr) as advance:
                seal = close_month(month, ORDERS, force=force, advance=advance)
        except Problem as problem:
            raise CommandError(str(problem)) from problem
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted. Run it again: it goes on here.", returncode=130) from exc
        self.stdout.write(
            f"{seal} is closed: {counted(seal.movements, 'movement')}, "
            f"{counted(seal.balances.count(), 'stock row')}, hash {seal.hash} "
            f"({time.monotonic() - started:.1f} s)"
        )
