"""A run over the whole shop, asked for at the desk: it takes up to a minute, so nobody waits for it there.

It is a process of its own, the same command that an operator would type: it shares no interpreter lock with
the orders, needs no memory of the web worker's, and outlives a worker that is restarted.
"""

import subprocess
import sys
import threading

from django.conf import settings
from django.utils.translation import gettext

from inventory.models import ReconciliationRun
from inventory.reconciliation.records import begin, fail
from inventory.reconciliation.runs import WHOLE_SHOP, Scope
from yousinsa.errors import Conflict


def start_in_background(*, actor_id: int, full: bool = False) -> ReconciliationRun:
    """Start a run over the whole shop; returns while it goes on. Raises `Conflict` where one does already."""
    scope = Scope(full=full)
    going_on = ReconciliationRun.objects.filter(
        status=ReconciliationRun.Status.RUNNING, scope__startswith=str(WHOLE_SHOP)
    )
    for other in going_on:
        if not other.silent:
            raise Conflict(gettext("A run over the whole shop is going on already: see %s.") % other)
        fail(other, RuntimeError("It was ended before it was done."))
    run = begin(scope, actor_id=actor_id)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "reconcile_stock", "--run", str(run.pk)]
    try:
        process = subprocess.Popen(  # noqa: S603 (nothing of it comes from outside)
            [*command, *(["--full"] if full else [])],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as exc:
        fail(run, exc)
        raise Conflict(gettext("The run could not be started: %s") % exc) from exc
    # Somebody has to take notice of its end, or it stays in the table of processes.
    threading.Thread(target=process.wait, name="reconcile_stock", daemon=True).start()
    return run
