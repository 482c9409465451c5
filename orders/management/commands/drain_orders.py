"""The worker of the Redis lanes: writes what was admitted into the database."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orders.drops.errors import RedisNeeded
from orders.drops.redis.connections import redis_url
from orders.drops.writing import outbox
from orders.drops.writing.drain import WAIT_SECONDS, Drain
from yousinsa.process.loop import Job, run_job, stop_on_signals

OUTBOX_EVERY_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Writes the orders that drops on Redis have admitted into the database, each once, until stopped "
        "(SIGTERM ends it after the batch that it is at). Any number may run at once, on any machine; one "
        "that dies is taken over by the others. Orders that cannot be written are set aside: see the dead "
        "letters in the admin. run_worker does the same, and the rest."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--until-empty", action="store_true",
            help="End when nothing is unread or pending, a dead worker's entries included.",
        )  # fmt: skip

    def handle(self, *args: Any, until_empty: bool, **options: Any) -> None:
        try:
            redis_url()
        except RedisNeeded as exc:
            raise CommandError(str(exc.title)) from exc
        drain = Drain()
        written, delivered_at = 0, float("-inf")

        def once() -> int:
            nonlocal written, delivered_at
            done = drain.once()
            written += done
            if time.monotonic() - delivered_at >= OUTBOX_EVERY_SECONDS:
                outbox.deliver_due()
                delivered_at = time.monotonic()
            if until_empty and not done and drain.is_done:
                stop.set()
            return done

        with stop_on_signals() as stop:
            run_job(Job("drain_orders", WAIT_SECONDS, once, eager=True, end=drain.leave), stop)
        self.stdout.write(f"{written} orders done")
