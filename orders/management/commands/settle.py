"""Compute what the shop owes its stores for a period."""

import time
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from orders.settlements.services import settle, stores_to_settle
from yousinsa.commands.arguments import counted, day_argument, whole_number
from yousinsa.commands.progress import progress
from yousinsa.errors import Problem


class Command(BaseCommand):
    help = (
        "Computes the settlement of every store that sold or took back anything in a period: units, gross, "
        "refunds, commission and what is payable. Drafts are computed anew, approved settlements stay as "
        "they are. A store that cannot be settled is named and stops no other. They are approved, printed "
        "and exported in the admin. Orders wait for nothing."
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
            count = 1 if store is not None else len(stores_to_settle(first, last))
            with progress("Settling", count, self.stderr) as advance:
                settled = settle(first, last, store_id=store, advance=advance)
        except Problem as problem:
            raise CommandError(said(problem)) from problem
        except KeyboardInterrupt as exc:
            text = "Interrupted. Stores that were settled are; repeat it for the rest."
            raise CommandError(text, returncode=130) from exc
        for row in settled.frozen:
            self.stdout.write(f"{row}: approved already, left as it is")
        payable = sum(row.payable for row in settled.written)
        self.stdout.write(
            f"{counted(len(settled.written), 'settlement')} computed, {payable:,} won payable, "
            f"{len(settled.frozen):,} approved before, in {time.monotonic() - started:.1f} s"
        )
        for left in settled.left:
            self.stdout.write(
                f"Store {left.store_id}: {left.entries:,} sales and returns since "
                f"{timezone.localtime(left.since):%Y-%m-%d} are in no settlement: settle their days too."
            )
        for store_id, reason in settled.refused:
            self.stderr.write(f"Store {store_id} was not settled: {said(reason)}")
        if settled.refused:
            raise CommandError(f"Not settled: {counted(len(settled.refused), 'store')}. All others are.")


def said(reason: Exception) -> str:
    errors = reason.errors if isinstance(reason, Problem) else None
    return "; ".join(map(str, (errors or {}).values())) or str(reason)
