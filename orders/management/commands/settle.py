"""Compute what the shop owes its stores for a period."""

import time
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orders.settlements.services import rows_to_read, settle
from yousinsa.commands.arguments import counted, day_argument, whole_number
from yousinsa.commands.progress import progress
from yousinsa.errors import Problem


class Command(BaseCommand):
    help = (
        "Computes the settlement of every store that sold or took back anything in a period: units, gross, "
        "refunds, commission and what is payable. Drafts are computed anew, approved settlements stay as "
        "they are. They are approved, printed and exported in the admin. Orders wait for nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="first", type=day_argument, required=True, metavar="DATE", help="First day."
        )
        parser.add_argument(
            "--to", dest="last", type=day_argument, required=True, metavar="DATE", help="Last day, included."
        )
        parser.add_argument("--store", type=whole_number(), metavar="ID", help="Settle with one store only.")

    def handle(self, *args: Any, first: date, last: date, store: int | None, **options: Any) -> None:
        started = time.monotonic()
        try:
            with progress("Reading", rows_to_read(first, last), self.stderr) as advance:
                settled = settle(first, last, store_id=store, advance=advance)
        except Problem as problem:
            said = "; ".join(map(str, (problem.errors or {}).values())) or str(problem)
            raise CommandError(said) from problem
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted. Nothing was written.", returncode=130) from exc
        for row in settled.frozen:
            self.stdout.write(f"{row}: approved already, left as it is")
        payable = sum(row.payable for row in settled.written)
        self.stdout.write(
            f"{counted(len(settled.written), 'settlement')} computed, {payable:,} won payable, "
            f"{len(settled.frozen):,} approved before, in {time.monotonic() - started:.1f} s"
        )
