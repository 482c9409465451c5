"""End holds that are over, and look after money that is in between."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from orders.lifecycle import expire_due
from orders.payments.refunds import pay_out_due
from orders.payments.services import resolve_unanswered
from yousinsa.errors import Busy


class Command(BaseCommand):
    help = (
        "Ends the holds of pending orders whose time is over: their units are sellable at once. Also asks "
        "payment providers about attempts that were never answered, and pays out refunds that are due. "
        "Safe when several run at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=float,
            metavar="SECONDS",
            help="Go on, looking again after SECONDS, until stopped.",
        )

    def handle(self, *args: Any, every: float | None, **options: Any) -> None:
        if not every:
            self._report(self._once())
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                if any(counts := self._once()):
                    self._report(counts)
            except (DatabaseError, Busy) as exc:
                self.stderr.write(f"The database did not answer, trying again in {every:g} s: {exc}")
                connection.close()
            stop.wait(every)

    def _once(self) -> tuple[int, int, int]:
        resolved = resolve_unanswered()
        expired = 0
        while (ended := expire_due()) is not None:
            expired += ended
        return expired, resolved, pay_out_due()

    def _report(self, counts: tuple[int, int, int]) -> None:
        self.stdout.write(
            "{} holds ended, {} unanswered payments settled, {} refunds paid out".format(*counts)
        )
