"""End holds that are over, and look after money that is in between."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.lifecycle import expire_due
from orders.payments.refunds import pay_out_due
from orders.payments.services import resolve_unanswered
from yousinsa.commands.arguments import seconds_argument
from yousinsa.process.loop import Job, run_job, stop_on_signals


class Command(BaseCommand):
    help = (
        "Ends the holds of pending orders whose time is over: their units are sellable at once. Also asks "
        "payment providers about attempts that were never answered, and pays out refunds that are due. "
        "Safe when several run at once. run_worker does the same, and the rest."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=seconds_argument,
            metavar="SECONDS",
            help="Go on, looking again after SECONDS, until stopped.",
        )

    def handle(self, *args: Any, every: float | None, **options: Any) -> None:
        if not every:
            self._once(quiet=False)
            return
        with stop_on_signals() as stop:
            run_job(Job("expire_orders", every, self._once), stop)

    def _once(self, *, quiet: bool = True) -> int:
        """What is due now, reported; `quiet`: only if there was anything. Returns how much there was."""
        resolved = resolve_unanswered()
        expired = 0
        while (ended := expire_due()) is not None:
            expired += ended
        paid_out = pay_out_due()
        if (done := expired + resolved + paid_out) or not quiet:
            self.stdout.write(
                f"{expired} holds ended, {resolved} unanswered payments decided, {paid_out} refunds paid out"
            )
        return done
