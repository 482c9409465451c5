"""A drop, the units set aside for it, and what must not be forgotten between the database and Redis."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from inventory.models import MAX_UNITS
from shop.models import MAX_PRICE, Option
from yousinsa.db.fields import ExactCharField


class Lane(models.TextChoices):
    """How orders of a drop are admitted (docs/drops.md)."""

    REDIS_LUA = "redis_lua", _("Redis, one script")
    REDIS_TRANSACTION = "redis_transaction", _("Redis, WATCH and MULTI")
    GROUP_COMMIT = "group_commit", _("database alone")

    @property
    def needs_redis(self) -> bool:
        return self != Lane.GROUP_COMMIT


class DropStatus(models.TextChoices):
    SCHEDULED = "scheduled", _("scheduled")
    OPEN = "open", _("open")
    CLOSED = "closed", _("closed")
    SETTLED = "settled", _("settled")


# Of a drop with units in escrow, and orders that may not be written yet.
LIVE = (DropStatus.OPEN, DropStatus.CLOSED)


class Drop(models.Model):
    """A limited sale. Its row changes only while all of its items are locked (orders/drops/locks.py)."""

    name = models.CharField(_("name"), max_length=100)
    lane = models.CharField(_("lane"), max_length=20, choices=Lane.choices, default=Lane.REDIS_LUA)
    status = models.CharField(
        _("status"), max_length=10, choices=DropStatus.choices, default=DropStatus.SCHEDULED
    )
    paused = models.BooleanField(_("paused"), default=False, db_default=False)
    opens_at = models.DateTimeField(_("opens at"))
    closes_at = models.DateTimeField(
        _("closes at"), null=True, blank=True, help_text=_("Empty: until somebody closes it.")
    )
    limit_per_customer = models.IntegerField(
        _("limit a customer"), validators=[MinValueValidator(1)], help_text=_("Units, over all options.")
    )
    admission_rate = models.IntegerField(
        _("admission rate"), null=True, blank=True, validators=[MinValueValidator(1)],
        help_text=_("Shoppers let in a second; who comes beyond that waits in a queue. Empty: no queue."),
    )  # fmt: skip
    # Redis knows of an epoch how many are left in it; what Redis says of another epoch counts for nothing.
    primed_at = models.DateTimeField(_("counters written at"), null=True, blank=True, editable=False)
    unaccounted = models.IntegerField(
        _("units unaccounted for"), default=0, db_default=0, editable=False,
        help_text=_("Acknowledged with 202 and then lost with Redis; sellable again."),
    )  # fmt: skip
    problem = models.CharField(
        _("problem"), max_length=300, blank=True, default="", db_default="", editable=False,
        help_text=_("Why the last attempt to open, close or settle it failed."),
    )  # fmt: skip
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("drop")
        verbose_name_plural = _("drops")
        ordering = ["-id"]
        indexes = [models.Index(fields=["status", "opens_at"], name="drop_status_opens")]
        constraints = [
            models.CheckConstraint(condition=Q(limit_per_customer__gte=1), name="drop_limit_positive"),
            models.CheckConstraint(condition=Q(status__in=DropStatus.values), name="drop_status_known"),
            models.CheckConstraint(condition=Q(lane__in=Lane.values), name="drop_lane_known"),
            models.CheckConstraint(condition=Q(unaccounted__gte=0), name="drop_unaccounted_not_negative"),
            models.CheckConstraint(
                condition=Q(closes_at__isnull=True) | Q(closes_at__gt=F("opens_at")),
                name="drop_closes_after_it_opens",
            ),
            models.CheckConstraint(
                condition=Q(admission_rate__isnull=True) | Q(admission_rate__gte=1),
                name="drop_admission_rate_positive",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def on_redis(self) -> bool:
        return Lane(self.lane).needs_redis

    @property
    def epoch(self) -> int:
        """Which count of its units Redis must name to be believed; 0 before the first. A query at most."""
        return epoch_of(self.items.all())


class DropItem(models.Model):
    """The escrow of one option of a drop, in units: the truth that Redis sells from.

    `allotted` is what the drop may sell, reserved in stock from opening to closing; `applied` what its
    orders in the database hold or have had, `returned` what went back to stock. What is left of `allotted`
    is Redis's to sell.
    """

    drop = models.ForeignKey(Drop, models.CASCADE, related_name="items", verbose_name=_("drop"))
    option = models.ForeignKey(Option, models.PROTECT, related_name="drop_items", verbose_name=_("option"))
    price = models.BigIntegerField(
        _("drop price (won)"), validators=[MinValueValidator(0), MaxValueValidator(MAX_PRICE)]
    )
    allotted = models.IntegerField(
        _("allotment"), validators=[MinValueValidator(1), MaxValueValidator(MAX_UNITS)]
    )
    applied = models.IntegerField(_("sold"), default=0, db_default=0, editable=False)
    returned = models.IntegerField(_("returned to stock"), default=0, db_default=0, editable=False)
    # The drop's, on each of its items, since they are what is locked: `Drop.epoch`, `epoch_of`.
    epoch = models.IntegerField(_("epoch"), default=0, db_default=0, editable=False)

    class Meta:
        verbose_name = _("drop item")
        verbose_name_plural = _("drop items")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["drop", "option"], name="drop_item_option_unique"),
            models.CheckConstraint(condition=Q(price__gte=0), name="drop_item_price_not_negative"),
            models.CheckConstraint(condition=Q(price__lte=MAX_PRICE), name="drop_item_price_in_range"),
            models.CheckConstraint(condition=Q(allotted__gte=1), name="drop_item_allotted_positive"),
            models.CheckConstraint(
                condition=Q(applied__gte=0, returned__gte=0), name="drop_item_units_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(allotted__gte=F("applied") + F("returned")), name="drop_item_within_allotment"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.option}: {self.applied} of {self.allotted}"

    @property
    def left(self) -> int:
        """Units in escrow: neither sold in the database nor returned."""
        return self.allotted - self.applied - self.returned


def epoch_of(items: Iterable[DropItem]) -> int:
    """The epoch of the drop that these are the items of."""
    return next((item.epoch for item in items), 0)


def begin_epoch(items: Iterable[DropItem]) -> None:
    """Give a drop's locked items its next epoch, to be saved."""
    for item in items:
        item.epoch += 1


class DeadLetter(models.Model):
    """An admitted order that could not be placed: set aside, its units given back, its buyer shown why."""

    drop = models.ForeignKey(Drop, models.PROTECT, related_name="dead_letters", verbose_name=_("drop"))
    number = ExactCharField(_("number"), max_length=40, unique=True)
    # Not a foreign key: an account that is not there may be the very reason.
    buyer_id = models.BigIntegerField(_("buyer"), default=0)
    units = models.IntegerField(_("units"), default=0)
    code = models.CharField(_("code"), max_length=50)
    reason = models.CharField(_("reason"), max_length=300)
    entry = models.TextField(_("entry"), help_text=_("As it was in the stream."))
    created_at = models.DateTimeField(_("set aside at"), default=timezone.now)

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(units__gte=0), name="dead_letter_units_not_negative"),
        ]

    def __str__(self) -> str:
        return self.number


class DropRelease(models.Model):
    """Units and limit that come back to an open drop: written with the decision, delivered to Redis after it.

    `release_id` makes delivering it twice harmless. `told_at` is set once Redis knows, or once its counters
    were computed anew from the database.
    """

    drop = models.ForeignKey(
        Drop, models.PROTECT, related_name="releases", verbose_name=_("drop"), db_index=False
    )
    release_id = ExactCharField(_("release id"), max_length=60, unique=True)
    number = ExactCharField(_("number"), max_length=40)
    buyer_id = models.BigIntegerField(_("buyer"))
    units = models.TextField(_("units"), help_text=_("Pairs of option and units, as JSON."))
    key = ExactCharField(
        _("idempotency key"), max_length=255, blank=True, default="", help_text=_("Free again with it.")
    )
    epoch = models.IntegerField(_("epoch"))
    created_at = models.DateTimeField(_("decided at"), default=timezone.now)
    told_at = models.DateTimeField(_("told to Redis at"), null=True, blank=True)

    class Meta:
        verbose_name = _("units coming back")
        verbose_name_plural = _("units coming back")
        ordering = ["-id"]
        indexes = [models.Index(fields=["drop", "told_at"], name="drop_release_untold")]

    def __str__(self) -> str:
        return self.release_id


class DropTally(models.Model):
    """What one process saw of a drop: units that it acknowledged, attempts that were refused.

    Written behind the requests, at most once a second. Redis may forget what it acknowledged: this does not.
    """

    drop = models.ForeignKey(Drop, models.CASCADE, related_name="tallies", verbose_name=_("drop"))
    process = ExactCharField(_("process"), max_length=80)
    acknowledged = models.IntegerField(_("units acknowledged"), default=0)
    refused = models.BigIntegerField(_("attempts refused"), default=0)
    queued = models.BigIntegerField(_("attempts queued"), default=0)

    class Meta:
        verbose_name = _("tally")
        verbose_name_plural = _("tallies")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["drop", "process"], name="drop_tally_process_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.drop_id} {self.process}"
