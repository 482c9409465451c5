"""What the shop owes a store for a period, and whether somebody has said so."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from shop.models import Store
from yousinsa.errors import Conflict


class Frozen(Conflict):
    """409: an approved settlement is not changed and not deleted any more."""

    code = "settlement_frozen"
    title = _("An approved settlement cannot be changed.")


class Settlement(models.Model):
    """One store's sales from `period_start` to `period_end` (both days included), in won.

    A draft is computed anew as often as somebody asks; an approved one is frozen, by `save` and `delete`
    here and by a trigger in the database.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", _("draft")
        APPROVED = "approved", _("approved")

    store = models.ForeignKey(Store, models.PROTECT, related_name="settlements", verbose_name=_("store"))
    period_start = models.DateField(_("from"))
    period_end = models.DateField(_("to"))
    units = models.BigIntegerField(_("units sold"))
    gross = models.BigIntegerField(_("gross (won)"))
    returned_units = models.BigIntegerField(_("units returned"))
    refunds = models.BigIntegerField(_("refunds (won)"))
    commission_rate = models.PositiveSmallIntegerField(
        _("commission (basis points)"), help_text=_("A hundredth of a percent: 1000 is 10%.")
    )
    commission = models.BigIntegerField(_("commission (won)"))
    payable = models.BigIntegerField(_("payable (won)"))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT)
    computed_at = models.DateTimeField(_("computed at"), default=timezone.now)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("approved by"),
    )
    approved_at = models.DateTimeField(_("approved at"), null=True, blank=True)

    class Meta:
        verbose_name = _("settlement")
        verbose_name_plural = _("settlements")
        ordering = ["-id"]
        permissions = [("approve_settlement", _("Can approve a settlement"))]
        constraints = [
            models.UniqueConstraint(
                fields=["store", "period_start", "period_end"], name="settlement_store_period_unique"
            ),
            models.CheckConstraint(
                condition=Q(period_end__gte=F("period_start")), name="settlement_period_order"
            ),
            models.CheckConstraint(
                condition=Q(units__gte=0, gross__gte=0, returned_units__gte=0, refunds__gte=0),
                name="settlement_sums_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(commission_rate__lte=10_000), name="settlement_commission_rate_in_range"
            ),
            models.CheckConstraint(
                condition=Q(payable=F("gross") - F("refunds") - F("commission")),
                name="settlement_payable_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(status="draft", approved_by__isnull=True, approved_at__isnull=True)
                | Q(status="approved", approved_by__isnull=False, approved_at__isnull=False),
                name="settlement_approved_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.store}, {self.period_start} – {self.period_end}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._refuse_if_frozen()
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        self._refuse_if_frozen()
        return super().delete(*args, **kwargs)

    def _refuse_if_frozen(self) -> None:
        if getattr(self, "_frozen", False):
            raise Frozen

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Settlement:
        settlement = super().from_db(*args, **kwargs)
        settlement._frozen = settlement.status == cls.Status.APPROVED  # type: ignore[attr-defined]
        return settlement
