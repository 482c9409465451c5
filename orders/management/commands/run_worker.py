"""Everything that has to happen again and again, in one process."""

import logging
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

from orders.jobs import jobs
from yousinsa.process.loop import run_jobs, stop_on_signals

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Does everything periodic until stopped: ends holds that are over, asks about unanswered payments, "
        "pays out refunds, opens and closes drops at their time, makes the reconciliations that the desk "
        "asks for, and with REDIS_URL writes what drops on Redis have admitted. Any number may run at once, "
        "on any machine. What fails is logged and tried again, and keeps nothing else. SIGTERM ends it after "
        "what it is at, within half a minute."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        todo = jobs()
        connection.close()  # each job has its own
        with stop_on_signals() as stop:
            logger.info("working: %s", ", ".join(job.name for job in todo))
            if cut_off := run_jobs(todo, stop):
                logger.warning("cut off in the middle: %s", ", ".join(cut_off))
