"""Changes of stock that people prepare, look at and then apply: deliveries and stocktakes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from inventory.models.stock import MAX_UNITS, Stock
from yousinsa.db.fields import ExactCharField


class StockDocument(models.Model):
    """Many changes of stock that are looked at before they are made: a draft until it is applied, once.

    `version` moves with every change of the draft, so that nobody applies what they have not seen.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", _("draft")
        APPLIED = "applied", _("applied")
        DISCARDED = "discarded", _("discarded")

    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT)
    version = models.IntegerField(_("version"), default=0, editable=False)
    source = models.CharField(_("file"), max_length=100, blank=True, default="")
    created_at = models.DateTimeField(_("begun at"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("begun by")
    )
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("ended by"),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(status="draft", ended_at__isnull=True)
                | Q(status__in=["applied", "discarded"], ended_at__isnull=False),
                name="%(class)s_ended_with_status",
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def is_draft(self) -> bool:
        return self.status == self.Status.DRAFT

    @property
    def reference(self) -> str:
        """What its movements refer to it by."""
        raise NotImplementedError


class Delivery(StockDocument):
    """Receipts that were read from a file."""

    class Meta(StockDocument.Meta):
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-id"]

    @property
    def reference(self) -> str:
        return f"DELIVERY-{self.pk}"


class DeliveryLine(models.Model):
    """Units of one option that arrived."""

    delivery = models.ForeignKey(
        Delivery, models.PROTECT, related_name="lines", verbose_name=_("delivery"), db_index=False
    )
    # No check by the database: it would share-lock stock rows that buyers wait for, for a mere draft.
    stock = models.ForeignKey(
        Stock, models.PROTECT, related_name="+", verbose_name=_("stock"), db_constraint=False
    )
    units = models.IntegerField(_("units"))
    reference = ExactCharField(_("reference"), max_length=40, blank=True, default="")
    note = models.CharField(_("note"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("delivery line")
        verbose_name_plural = _("delivery lines")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["delivery", "stock"], name="delivery_line_stock_unique"),
            models.CheckConstraint(
                condition=Q(units__gte=1, units__lte=MAX_UNITS), name="delivery_line_units_in_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.units} of stock {self.stock_id}"


class Stocktake(StockDocument):
    """A count of what is there, compared with the counters at the moment that counting began."""

    class Meta(StockDocument.Meta):
        verbose_name = _("stocktake")
        verbose_name_plural = _("stocktakes")
        ordering = ["-id"]

    @property
    def reference(self) -> str:
        return f"STOCKTAKE-{self.pk}"


class StocktakeLine(models.Model):
    """One option's count. `on_hand` and `sequence` are the stock row's when counting began.

    `live` is true while the stocktake is a draft, and NULL afterwards: an option is counted by one stocktake
    at a time, as two would each post the same difference.
    """

    stocktake = models.ForeignKey(
        Stocktake, models.PROTECT, related_name="lines", verbose_name=_("stocktake"), db_index=False
    )
    stock = models.ForeignKey(  # as in DeliveryLine
        Stock,
        models.PROTECT,
        related_name="+",
        verbose_name=_("stock"),
        db_constraint=False,
        db_index=False,
    )
    on_hand = models.IntegerField(_("on hand when counting began"))
    sequence = models.BigIntegerField(_("movements when counting began"))
    counted = models.IntegerField(_("counted"), null=True, blank=True)
    live = models.BooleanField(_("live"), null=True, default=True, db_default=True, editable=False)

    class Meta:
        verbose_name = _("stocktake line")
        verbose_name_plural = _("stocktake lines")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["stocktake", "stock"], name="stocktake_line_stock_unique"),
            models.UniqueConstraint(fields=["stock", "live"], name="stocktake_line_one_live"),
            models.CheckConstraint(
                condition=Q(counted__isnull=True) | Q(counted__gte=0, counted__lte=MAX_UNITS),
                name="stocktake_line_counted_in_range",
            ),
            models.CheckConstraint(
                condition=Q(live__isnull=True) | Q(live=True), name="stocktake_line_live_or_null"
            ),
        ]

    def __str__(self) -> str:
        return f"stock {self.stock_id} in {self.stocktake_id}"
