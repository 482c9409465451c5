"""What has to happen again and again: the one list from which `run_worker` works.

Every job may run in any number of workers at once, and may be cut off at any moment.
"""

from django.conf import settings

from inventory.reconciliation.requests import run_requested
from orders.bulk.drafting import forget_drafts
from orders.bulk.running import carry_on
from orders.drops.schedule import run_due
from orders.drops.writing import drain, outbox
from orders.lifecycle import expire_due, forget_corrections
from orders.order_book import ORDERS
from orders.payments.refunds import pay_out_due
from orders.payments.services import resolve_unanswered
from yousinsa.process.loop import Job
from yousinsa.process.sessions import clear_sessions


def jobs() -> list[Job]:
    """The jobs of this shop: those of Redis only where there is one."""
    always = [
        Job("expire_holds", 10, lambda: expire_due() or 0, eager=True),
        Job("unanswered_payments", 30, resolve_unanswered),
        Job("refunds", 30, pay_out_due),
        Job("drops", 0.5, run_due),
        Job("reconciliations", 2, lambda: run_requested(ORDERS)),
        Job("bulk", 1, carry_on, eager=True),
        Job("clearsessions", 3600, clear_sessions, eager=True),
        Job("old_corrections", 3600, forget_corrections),
        Job("old_drafts", 3600, forget_drafts),
    ]
    return [*always, Job("outbox", 0.5, outbox.deliver_due), drain_job()] if settings.REDIS_URL else always


def drain_job() -> Job:
    """One worker of the Redis lanes. It stops after the batch that it is at."""
    worker = drain.Drain()
    return Job("drain", drain.WAIT_SECONDS, worker.once, eager=True, end=worker.leave)
