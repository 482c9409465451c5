"""The money of orders: attempts to pay, and what goes back."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orders.models.orders import MAX_TOTAL, Order
from yousinsa.db.fields import ExactCharField


class Payment(models.Model):
    """One attempt to pay for an order.

    `live` is true while the attempt may have taken, or has taken, the buyer's money, and NULL otherwise:
    the unique constraint lets an order have at most one such attempt, so nobody pays twice.
    """

    class Status(models.TextChoices):
        STARTED = "started", _("started")
        WAITING = "waiting", _("waiting for the transfer")
        APPROVED = "approved", _("approved")
        DECLINED = "declined", _("declined")
        UNKNOWN = "unknown", _("no answer yet")
        REPLACED = "replaced", _("replaced by another attempt")

    order = models.ForeignKey(Order, models.PROTECT, related_name="payments", verbose_name=_("order"))
    provider = models.CharField(_("provider"), max_length=20)
    reference = ExactCharField(_("reference"), max_length=40, unique=True)
    amount = models.BigIntegerField(_("amount (won)"))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.STARTED)
    live = models.BooleanField(_("live"), null=True, default=True, editable=False)
    token = models.CharField(_("card token"), max_length=100, blank=True, default="")
    detail = models.CharField(_("detail"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("started at"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["status", "created_at"], name="payment_status_created"),
            # What was taken in today, from the index alone.
            models.Index(fields=["status", "decided_at", "amount"], name="payment_status_decided"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["order", "live"], name="payment_one_live_per_order"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="payment_amount_not_negative"),
            models.CheckConstraint(condition=Q(amount__lte=MAX_TOTAL), name="payment_amount_in_range"),
            models.CheckConstraint(
                # A CHECK passes what is unknown, as `live = true` is of NULL: hence the first term.
                condition=(
                    Q(live__isnull=False)
                    & Q(live=True)
                    & Q(status__in=["started", "waiting", "approved", "unknown"])
                )
                | (Q(live__isnull=True) & Q(status__in=["declined", "replaced", "approved"])),
                name="payment_live_matches_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.reference}"


class Refund(models.Model):
    """Money that goes back to a buyer. Written with the decision, paid out after it, retried until done."""

    class Status(models.TextChoices):
        DUE = "due", _("due")
        DONE = "done", _("done")

    payment = models.ForeignKey(Payment, models.PROTECT, related_name="refunds", verbose_name=_("payment"))
    reference = ExactCharField(_("reference"), max_length=40, unique=True)
    amount = models.BigIntegerField(_("amount (won)"))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DUE)
    reason = models.CharField(_("reason"), max_length=200)
    created_at = models.DateTimeField(_("decided at"), default=timezone.now)
    done_at = models.DateTimeField(_("paid out at"), null=True, blank=True)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        ordering = ["-id"]
        permissions = [("pay_out_refund", _("Can mark refund as paid out"))]
        indexes = [models.Index(fields=["status", "id"], name="refund_status_id")]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="refund_amount_not_negative"),
        ]

    def __str__(self) -> str:
        return self.reference
