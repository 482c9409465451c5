"""What periodic jobs fail with: set aside, told of, and tried again later and later.

One bad row must not keep the others waiting. A job leaves out what is set aside (`left_alone`), says what it
failed with (`set_aside`) and what it has done after all (`settled`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone
from prometheus_client import Counter

from orders.models import Trouble
from yousinsa.db.errors import is_outage
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)
T = TypeVar("T")

SET_ASIDE = Counter("yousinsa_set_aside", "Rows that a job failed with and set aside, by job.", ["job"])

FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(hours=1)


def left_alone(job: str, now: datetime | None = None) -> QuerySet[Trouble, int]:
    """The rows that this job leaves alone for the time being, by primary key."""
    waiting = Trouble.objects.filter(job=job, retry_at__gt=now or timezone.now())
    return waiting.order_by().values_list("item", flat=True)


def set_aside(
    job: str,
    item: int,
    subject: str,
    exc: Exception,
    *,
    order_id: int | None = None,
    now: datetime | None = None,
) -> None:
    """Remember that a job failed with a row, and when it is tried again."""
    SET_ASIDE.labels(job).inc()
    reason = (str(exc) or type(exc).__name__)[:300]
    trouble, is_new = Trouble.objects.get_or_create(
        job=job, item=item,
        defaults={
            "subject": subject[:60], "order_id": order_id, "reason": reason,
            "retry_at": (now or timezone.now()) + FIRST_RETRY,
        },
    )  # fmt: skip
    if not is_new:
        trouble.tries += 1
        trouble.reason = reason
        wait = min(LAST_RETRY, FIRST_RETRY * 2 ** min(trouble.tries - 1, 16))
        trouble.retry_at = (now or timezone.now()) + wait
        trouble.save(update_fields=["tries", "reason", "retry_at"])
    logger.error(
        "%s: %s is set aside until %s (try %d): %s",
        job, subject, trouble.retry_at.isoformat(timespec="seconds"), trouble.tries, reason,
        exc_info=exc if is_new else None,
    )  # fmt: skip


def settled(job: str, items: Iterable[int]) -> None:
    """These rows are no trouble any more."""
    Trouble.objects.filter(job=job, item__in=list(items)).delete()


def halving(
    items: Sequence[T], work: Callable[[Sequence[T]], int], alone: Callable[[T, Exception], None]
) -> int:
    """`work` on all at once; if that fails, in halves, until what it fails with is told to `alone`.

    Returns the sum of what `work` returns. Raises what is nobody's fault: the database is away, or busy.
    """
    try:
        return work(items)
    except Exception as exc:
        if is_outage(exc) or isinstance(exc, Busy):
            raise
        if len(items) == 1:
            alone(items[0], exc)
            return 0
    half = len(items) // 2
    return halving(items[:half], work, alone) + halving(items[half:], work, alone)
