"""Open, close and settle drops at their time."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, connection
from redis.exceptions import RedisError

from orders.drops.schedule import run_due
from yousinsa.errors import Problem

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Opens drops at their time (their allotment is set aside), closes them at theirs, gives back what "
        "was not sold once everything that was admitted is written, and passes on what orders gave back. "
        "Runs until stopped; safe when several run. What cannot be done is shown with the drop."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="How often to look.")
        parser.add_argument("--once", action="store_true", help="Do what is due now, and end.")

    def handle(self, *args: Any, every: float, once: bool, **options: Any) -> None:
        if once:
            self.stdout.write(f"{run_due()} drops moved")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                if moved := run_due():
                    self.stdout.write(f"{moved} drops moved")
            except (Error, RedisError, Problem) as exc:
                logger.warning("trying again in %g s: %s", every, exc)
                connection.close()
            stop.wait(every)
