"""What follows a change once it is committed, and must not keep anybody's lock: money back, units to Redis.

What fails here is written down already, and done by a worker.
"""

import logging
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from django.conf import settings
from django.db import connection

from orders.changes.commands import Changed
from orders.drops.writing import outbox
from orders.payments import refunds
from yousinsa.process.once import PerProcess
from yousinsa.process.together import take_together

logger = logging.getLogger(__name__)

MAX_TOGETHER = 100
KEEP_CONNECTION_SECONDS = 1.0


def follow(changed: Changed) -> Changed:
    """Do it now; returns what it was given."""
    follow_all([changed])
    return changed


def follow_soon(changed: Changed) -> Changed:
    """Have it done in a moment, with what follows other changes of this process; returns what it was given.

    Where requests are not gathered into groups, neither is this: it is done now.
    """
    if not changed.owed and not changed.came_back:
        return changed
    if settings.PLACEMENT != "group_commit":
        return follow(changed)
    _inbox().put(changed)
    return changed


def follow_all(changes: Sequence[Changed]) -> None:
    """Do it now, for many together."""
    for changed in changes:
        if changed.came_back:
            outbox.deliver_now(changed.order.number)
    refunds.pay_out_now([reference for changed in changes for reference in changed.owed])


@PerProcess
def _inbox() -> SimpleQueue[Changed]:
    inbox: SimpleQueue[Changed] = SimpleQueue()
    threading.Thread(target=_run, args=(inbox,), name="aftermath", daemon=True).start()
    return inbox


def _run(inbox: SimpleQueue[Changed]) -> None:
    while True:
        changes = take_together(inbox, MAX_TOGETHER, patience=KEEP_CONNECTION_SECONDS)
        if not changes:
            connection.close()
            changes = take_together(inbox, MAX_TOGETHER)
        try:
            follow_all(changes)
        except Exception:
            logger.exception("what follows %d changes is left to a worker", len(changes))
            connection.close()
