"""What a periodic job could not do: set aside, so that it harms no other, and tried again later."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orders.models.orders import Order
from yousinsa.db.fields import ExactCharField


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
