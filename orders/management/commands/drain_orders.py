"""The worker of the Redis lanes: writes what was admitted into the database."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection
from redis.exceptions import RedisError

from orders.drops.errors import RedisNeeded
from orders.drops.writing import outbox
from orders.drops.writing.drain import WAIT_SECONDS, Drain
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)

# After an outage of Redis or the database.
RETRY_SECONDS = 0.5
OUTBOX_EVERY_ROUNDS = 10


class Command(BaseCommand):
    help = (
        "Writes the orders that drops on Redis have admitted into the database, each once, until stopped "
        "(SIGTERM ends it after the batch that it is at). Any number may run at once, on any machine; one "
        "that dies is taken over by the others. Orders that cannot be written are set aside: see the dead "
        "letters in the admin."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--until-empty", action="store_true",
            help="End when nothing is unread or pending, a dead worker's entries included.",
        )  # fmt: skip

    def handle(self, *args: Any, until_empty: bool, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        drain = Drain()
        written = rounds = 0
        while not stop.is_set():
            try:
                done = drain.once()
                written += done
                if rounds % OUTBOX_EVERY_ROUNDS == 0:
                    outbox.deliver_due()
                rounds += 1
                if until_empty and not done and drain.is_done:
                    break
            except RedisNeeded as exc:
                raise CommandError(str(exc.title)) from exc
            except (RedisError, Error, Busy) as exc:
                logger.warning("trying again in %g s: %s", RETRY_SECONDS, exc)
                connection.close()
                stop.wait(RETRY_SECONDS)
                continue
            if not done:
                stop.wait(WAIT_SECONDS)
        try:
            drain.leave()
        except RedisError:
            logger.warning("this worker's name stays in its group", exc_info=True)
        self.stdout.write(f"{written} orders done")
