"""Check every closed month of the ledger against its seal."""

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from inventory.models import Stock
from inventory.seals.verification import Tampering, Verification
from yousinsa.commands.arguments import counted
from yousinsa.commands.progress import progress

COULD_NOT_RUN = 2


class Command(BaseCommand):
    help = (
        "Computes the hash chain of every closed month anew and names each movement that was altered, is "
        "missing or was added since, and each seal that was touched. Exit status: 0, all is as it was "
        "sealed; 1, something is not; 2, it could not run."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        verification = Verification()
        try:
            with progress("Verifying", verification.total(), self.stderr) as verification.advance:
                found = list(verification)
            self._report(verification, found, as_json=options["json"], seconds=time.monotonic() - started)
        except Error as exc:
            raise CommandError(f"The database does not answer: {exc}", returncode=COULD_NOT_RUN) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted.", returncode=130) from exc
        if found:
            sys.exit(1)

    def _report(self, done: Verification, found: list[Tampering], *, as_json: bool, seconds: float) -> None:
        last = {"month": str(done.last), "hash": done.last.hash} if done.last else None
        if as_json:
            report = {
                "checked": done.checked,
                "seals": done.seals,
                "last": last,
                "differences": [tampering._asdict() for tampering in found],
            }
            self.stdout.write(json.dumps(report))
            return
        for tampering in found:
            self.stdout.write(_in_words(tampering))
        self.stdout.write(
            f"{counted(done.checked, 'movement')} of {counted(done.seals, 'closed month')} checked, "
            f"{counted(len(found), 'difference')} in {seconds:.1f} s"
            + (f"; the last seal is {last['month']} {last['hash']}" if last else "")
        )


def _in_words(tampering: Tampering) -> str:
    month, stock_id, sequence, what = tampering
    if stock_id is None:
        return f"{month}: the seal or its balances were {what}"
    sku = Stock.objects.filter(pk=stock_id).values_list("option__sku", flat=True).first()
    if sequence is None:
        return f"{month}: stock {stock_id} ({sku}): its movements were {what}"
    said = "is missing" if what == "missing" else f"was {what}"
    return f"{month}: stock {stock_id} ({sku}): movement {sequence} {said}"
