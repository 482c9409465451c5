"""Runs over the whole shop that were asked for at the desk, where nobody waits for them: a worker makes them.

A request is a row. Whichever worker changes its status from `requested` to `running` has it, so that any
number of workers may look; a request that nobody takes stays to be seen.
"""

import logging

from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from inventory.models import ReconciliationRun
from inventory.reconciliation.records import compare, fail
from inventory.reconciliation.scope import WHOLE_SHOP, OrderBook, Scope
from yousinsa.db.errors import is_outage
from yousinsa.errors import Conflict
from yousinsa.language import recordable

# Recorded, for whoever reads it.
ENDED = recordable(gettext_noop("It was ended before it was done."))

logger = logging.getLogger(__name__)
Status = ReconciliationRun.Status


def request_run(*, actor_id: int, full: bool = False) -> ReconciliationRun:
    """Ask for a run over the whole shop. Raises `Conflict` where one is asked for, or goes on, already."""
    not_over = ReconciliationRun.objects.filter(
        status__in=[Status.REQUESTED, Status.RUNNING], scope__startswith=str(WHOLE_SHOP)
    )
    for other in not_over:
        if other.status == Status.REQUESTED:
            raise Conflict(gettext("A run over the whole shop is requested already: see %s.") % other)
        if not other.silent:
            raise Conflict(gettext("A run over the whole shop is going on already: see %s.") % other)
        fail(other, ENDED)
    return ReconciliationRun.objects.create(
        scope=str(Scope(full=full)), by_id=actor_id, status=Status.REQUESTED
    )


def run_requested(orders: OrderBook) -> int:
    """Make the runs that were asked for and that no other worker has taken; returns how many were made.

    One that breaks is on record as failed and keeps no other from its turn. Raises what says that the
    database is away.
    """
    made = 0
    requested = ReconciliationRun.objects.filter(status=Status.REQUESTED).order_by("pk")
    for run_id in list(requested.values_list("pk", flat=True)):
        if not _claim(run_id):
            continue
        run = ReconciliationRun.objects.get(pk=run_id)
        try:
            compare(run, orders, Scope(full=run.scope == str(Scope(full=True))))
        except Exception as exc:
            if is_outage(exc):
                raise
            logger.exception("reconciliation run %d failed", run_id)
        else:
            made += 1
    return made


def _claim(run_id: int) -> bool:
    """Whether this worker is the one that makes the run: it begins now."""
    now = timezone.now()
    requested = ReconciliationRun.objects.filter(pk=run_id, status=Status.REQUESTED)
    return requested.update(status=Status.RUNNING, started_at=now, seen_at=now) == 1
