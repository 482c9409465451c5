"""Open, close and settle drops at their time."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.drops.schedule import run_due
from yousinsa.commands.arguments import seconds_argument
from yousinsa.process.loop import Job, run_job, stop_on_signals


class Command(BaseCommand):
    help = (
        "Opens drops at their time (their allotment is set aside), closes them at theirs, gives back what "
        "was not sold once everything that was admitted is written, and passes on what orders gave back. "
        "Runs until stopped; safe when several run. What cannot be done is shown with the drop. run_worker "
        "does the same, and the rest."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every", type=seconds_argument, default=0.5, metavar="SECONDS", help="How often to look."
        )
        parser.add_argument("--once", action="store_true", help="Do what is due now, and end.")

    def handle(self, *args: Any, every: float, once: bool, **options: Any) -> None:
        if once:
            self._report(run_due())
            return
        with stop_on_signals() as stop:
            run_job(Job("run_drops", every, run_due), stop, self._report)

    def _report(self, moved: int) -> None:
        self.stdout.write(f"{moved} drops moved")
