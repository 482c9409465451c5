"""What the shop owes its stores: sale by sale, and what came to whom for a period."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orders.models.orders import OrderLine
from shop.models import Store
from yousinsa.errors import Conflict


class Frozen(Conflict):
    """409: an approved settlement is not changed and not deleted any more."""

    code = "settlement_frozen"
    title = _("An approved settlement cannot be changed.")


class Settlement(models.Model):
    """One store's sales from `period_start` to `period_end` (both days included), in won.

    It is the sum of its `entries`. A draft is computed anew as often as somebody asks; an approved one is
    frozen, by `save` and `delete` here and by triggers in the database. (One that was approved before there
    were entries keeps the figures that it was approved with.)
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
        _("commission (basis points)"),
        null=True,
        blank=True,
        help_text=_("A hundredth of a percent: 1000 is 10%. Empty: its sales were made at several rates."),
    )
    commission = models.BigIntegerField(_("commission (won)"))
    payable = models.BigIntegerField(_("payable (won)"))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT)
    late_entries = models.IntegerField(
        _("sales and returns from periods settled before"),
        default=0,
        db_default=0,
        help_text=_("Written when the settlement that they belong to had been approved."),
    )
    late_payable = models.BigIntegerField(
        _("payable of these (won)"), default=0, db_default=0, help_text=_("Part of what is payable.")
    )
    computed_at = models.DateTimeField(_("computed at"), default=timezone.now)
    computed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("computed by"),
        help_text=_("Empty: the command `settle`."),
    )
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
                condition=Q(commission_rate__isnull=True) | Q(commission_rate__lte=10_000),
                name="settlement_commission_rate_in_range",
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
        """Delete a draft; its entries are free for another one. Raises `Frozen`."""
        self._refuse_if_frozen()
        with transaction.atomic():
            # Somebody may have approved it since it was read.
            approved = Settlement.objects.select_for_update().filter(pk=self.pk, status=self.Status.APPROVED)
            if approved.exists():
                raise Frozen
            return super().delete(*args, **kwargs)

    def _refuse_if_frozen(self) -> None:
        if getattr(self, "_frozen", False):
            raise Frozen

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Settlement:
        settlement = super().from_db(*args, **kwargs)
        settlement._frozen = settlement.status == cls.Status.APPROVED  # type: ignore[attr-defined]
        return settlement


class SettlementEntry(models.Model):
    """Units of an order line that were delivered, or that came back: what they are worth to the store.

    Written in the transaction of the delivery or the return, never changed, and claimed by one settlement at
    most. Of a return, units, won and commission are negative. The commissions of a line's entries add up to
    that of the units that are out, rounded once: of a line that came back whole nothing is left.
    """

    line = models.ForeignKey(
        OrderLine, models.PROTECT, related_name="entries", verbose_name=_("order line"), db_index=False
    )
    store = models.ForeignKey(
        Store,
        models.PROTECT,
        related_name="+",
        verbose_name=_("store"),
        db_constraint=False,
        db_index=False,
    )
    units = models.IntegerField(_("units"))
    won = models.BigIntegerField(_("won"))
    commission = models.BigIntegerField(_("commission (won)"))
    returned = models.IntegerField(
        _("returned"), help_text=_("Units of the line that were back by then. 0: this is the sale.")
    )
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    settlement = models.ForeignKey(
        Settlement,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="entries",
        verbose_name=_("settlement"),
        db_index=False,
    )

    class Meta:
        verbose_name = _("settlement entry")
        verbose_name_plural = _("settlement entries")
        ordering = ["id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["settlement", "store", "created_at"], name="entry_unsettled")]
        constraints = [
            # One sale a line, and units come back once.
            models.UniqueConstraint(fields=["line", "returned"], name="entry_line_returned_unique"),
            models.CheckConstraint(
                condition=Q(returned=0, units__gt=0, won__gte=0, commission__gte=0)
                | Q(returned__gt=0, units__lt=0, won__lte=0, commission__lte=0),
                name="entry_is_a_sale_or_a_return",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.units:+d} ({self.won:+,})"
