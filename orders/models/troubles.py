"""What periodic jobs fail with: set aside, told of, and tried again later and later.

One bad row must not keep the others waiting. A job leaves out what is set aside (`left_alone`), says what it
failed with (`set_aside`) and what it has done after all (`settled`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from prometheus_client import Counter

from orders.models.orders import Order
from yousinsa.db.fields import ExactCharField

logger = logging.getLogger(__name__)

SET_ASIDE = Counter("yousinsa_set_aside", "Rows that a job failed with and set aside, by job.", ["job"])

FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(hours=1)


class Trouble(models.Model):
    """One thing that one job fails with: which, why, how often so far, and when it is tried again.

    The row goes when the job has done it, or finds that it need not be done any more.
    """

    class Job(models.TextChoices):
        EXPIRY = "expire_holds", _("ending a hold")
        PAYMENT = "unanswered_payments", _("asking about a payment")
        REFUND = "refunds", _("paying out a refund")
        OUTBOX = "outbox", _("giving units back to a drop")

    job = models.CharField(_("what fails"), max_length=20, choices=Job.choices)
    item = models.BigIntegerField(_("row"))
    subject = ExactCharField(_("what it concerns"), max_length=60)
    # Not checked by the database: that the order's row is locked may be the very trouble.
    order = models.ForeignKey(
        Order,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="troubles",
        verbose_name=_("order"),
        db_constraint=False,
    )
    reason = models.CharField(_("reason"), max_length=300)
    tries = models.IntegerField(_("tries"), default=1)
    since = models.DateTimeField(_("since"), default=timezone.now)
    retry_at = models.DateTimeField(_("tried again at"))

    class Meta:
        verbose_name = _("trouble")
        verbose_name_plural = _("troubles")
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["job", "item"], name="trouble_job_item_unique"),
            models.CheckConstraint(condition=Q(tries__gte=1), name="trouble_tries_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.get_job_display()}: {self.subject}"


def left_alone(job: str, now: datetime | None = None) -> models.QuerySet[Trouble, int]:
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
