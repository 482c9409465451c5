"""What the books keep of themselves: runs of reconciliation with their differences, and sealed months."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from yousinsa.db.fields import ExactCharField

# A run says after each chunk that it lives; one that has been silent for so long was killed.
SILENT = timedelta(minutes=10)
# Workers look for requested runs every few seconds; one that waits for so long finds no worker.
UNCLAIMED = timedelta(minutes=1)


class ReconciliationRun(models.Model):
    """One comparison of stock, ledger and orders: who asked for it, what it looked at, what came of it."""

    class Status(models.TextChoices):
        REQUESTED = "requested", pgettext_lazy("run", "requested")
        RUNNING = "running", _("running")
        CLEAN = "clean", _("clean")
        DIFFERENCES = "differences", _("differences")
        FAILED = "failed", _("failed")

    started_at = models.DateTimeField(_("started"), default=timezone.now)
    seen_at = models.DateTimeField(_("last sign of life"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
        help_text=_("Who asked for it; empty for the system."),
    )
    scope = models.CharField(_("scope"), max_length=100)
    checked = models.IntegerField(_("stock rows checked"), default=0)
    found = models.IntegerField(_("differences"), default=0)
    fixed = models.IntegerField(_("stock rows corrected"), default=0)
    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.RUNNING)
    error = models.CharField(_("error"), max_length=500, blank=True, default="")

    class Meta:
        verbose_name = _("reconciliation run")
        verbose_name_plural = _("reconciliation runs")
        ordering = ["-id"]
        permissions = [
            ("run_reconciliation", _("Can run a reconciliation")),
            ("fix_differences", _("Can fix differences")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(checked__gte=0, found__gte=0, fixed__gte=0), name="run_counts_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["requested", "running"], finished_at__isnull=True)
                | (~Q(status__in=["requested", "running"]) & Q(finished_at__isnull=False)),
                name="run_finished_when_over",
            ),
            models.CheckConstraint(condition=~Q(status="clean") | Q(found=0), name="run_clean_found_nothing"),
        ]

    def __str__(self) -> str:
        at = timezone.localtime(self.started_at)
        return f"{at:%Y-%m-%d %H:%M:%S}, {self.scope}"

    @property
    def silent(self) -> bool:
        """It never finished, and does not say any more that it goes on."""
        return self.status == self.Status.RUNNING and self.seen_at < timezone.now() - SILENT

    @property
    def unclaimed(self) -> bool:
        """It was asked for, and no worker has begun it though there was time to."""
        return self.status == self.Status.REQUESTED and self.started_at < timezone.now() - UNCLAIMED


class Difference(models.Model):
    """A figure that a run found to be `found` instead of `expected`, and what set it right, if anything did.

    `stock` is empty where orders were promised an option that has no stock row.
    """

    run = models.ForeignKey(
        ReconciliationRun, models.CASCADE, related_name="differences", verbose_name=_("run")
    )
    # Without a foreign key in the database, whose check would lock the stock row while an order wants it.
    stock = models.ForeignKey(
        "inventory.Stock",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("stock"),
        db_constraint=False,
    )
    option = models.ForeignKey(
        "shop.Option",
        models.PROTECT,
        related_name="+",
        verbose_name=_("option"),
        db_constraint=False,
        db_index=False,
    )
    sku = ExactCharField(_("SKU"), max_length=64)
    kind = models.CharField(_("kind"), max_length=20)
    expected = models.BigIntegerField(_("expected"))
    found = models.BigIntegerField(pgettext_lazy("value", "found"))
    cause = models.CharField(_("likely cause"), max_length=100)
    order_number = ExactCharField(
        _("order"), max_length=40, blank=True, default="", help_text=_("Where it is one order alone.")
    )
    fixed_by = models.ForeignKey(
        "inventory.Movement",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("fixed by"),
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=~Q(expected=F("found")), name="difference_differs"),
            models.CheckConstraint(
                condition=Q(stock__isnull=False) | Q(fixed_by__isnull=True), name="difference_fixed_has_stock"
            ),
        ]

    def __str__(self) -> str:
        said = {"sku": self.sku, "kind": self.kind, "found": self.found, "expected": self.expected}
        return gettext("%(sku)s: %(kind)s is %(found)s, should be %(expected)s") % said


class MonthSeal(models.Model):
    """A closed month of the ledger.

    `month` is its first day. `hash` covers the hash before it and every balance of the month, and through
    them every movement (inventory/seals/chain.py). `claim` names the process that is at it; `sealed_at` is
    empty until it is done.
    """

    month = models.DateField(_("month"), unique=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    sealed_at = models.DateTimeField(_("sealed"), null=True, blank=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
        help_text=_("Who closed it; empty for the system."),
    )
    previous = models.OneToOneField(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="next",
        verbose_name=_("seal before"),
    )
    movements = models.BigIntegerField(_("movements"), default=0)
    previous_hash = ExactCharField(_("hash before"), max_length=64)
    hash = ExactCharField(_("hash"), max_length=64, blank=True, default="")
    forced = models.BooleanField(
        _("forced"), default=False, help_text=_("Closed although differences were open.")
    )
    claim = ExactCharField(max_length=32, blank=True, default="", editable=False)

    class Meta:
        verbose_name = _("month seal")
        verbose_name_plural = _("month seals")
        ordering = ["-id"]
        permissions = [("close_month", _("Can close a month"))]
        constraints = [
            models.CheckConstraint(
                condition=Q(sealed_at__isnull=True, hash="")
                | (Q(sealed_at__isnull=False) & ~Q(hash="") & Q(claim="")),
                name="seal_has_hash",
            ),
            models.CheckConstraint(condition=Q(movements__gte=0), name="seal_movements_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class SealedBalance(models.Model):
    """What one stock row came to in a sealed month: every row that ever moved has one in every month.

    The month holds the movements numbered from `first_sequence` to `last_sequence` (the latter being lower:
    none). `shipped` and `restocked` are all units since the beginning. `head` is the hash chain's, `marks`
    are four bytes a movement to tell which one was touched.
    """

    seal = models.ForeignKey(
        MonthSeal, models.CASCADE, related_name="balances", verbose_name=_("seal"), db_index=False
    )
    # As in `Difference`: no check in the database, which would lock stock rows while a month is closed.
    stock = models.ForeignKey(
        "inventory.Stock",
        models.PROTECT,
        related_name="+",
        verbose_name=_("stock"),
        db_constraint=False,
        db_index=False,
    )
    opening_on_hand = models.IntegerField(_("opening, on hand"))
    opening_reserved = models.IntegerField(_("opening, reserved"))
    closing_on_hand = models.IntegerField(_("closing, on hand"))
    closing_reserved = models.IntegerField(_("closing, reserved"))
    first_sequence = models.BigIntegerField(_("first movement"))
    last_sequence = models.BigIntegerField(_("last movement"))
    shipped = models.BigIntegerField(_("shipped so far"))
    restocked = models.BigIntegerField(_("restocked so far"))
    head = models.BinaryField(_("hash"), max_length=32)
    marks = models.BinaryField(_("marks"))

    class Meta:
        verbose_name = _("sealed balance")
        verbose_name_plural = _("sealed balances")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["seal", "stock"], name="balance_seal_stock_unique"),
            models.CheckConstraint(
                condition=Q(last_sequence__gte=F("first_sequence") - 1), name="balance_sequence_order"
            ),
        ]

    def __str__(self) -> str:
        said = {"option": self.seal, "on_hand": self.closing_on_hand, "reserved": self.closing_reserved}
        return gettext("%(option)s: %(on_hand)d on hand, %(reserved)d reserved") % said
