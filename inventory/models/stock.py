"""How many there are: one stock row an option, and the ledger of everything that ever moved it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, When
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shop.models import Option
from yousinsa.db.fields import ExactCharField

MAX_UNITS = 1_000_000_000


class Stock(models.Model):
    """The counters of one option. Only `inventory/ledger.py` writes them, each time with a movement.

    `sequence` is the number of the row's last movement: the ledger of an option has no gap and no fork.
    """

    option = models.OneToOneField(Option, models.PROTECT, related_name="stock", verbose_name=_("option"))
    on_hand = models.IntegerField(_("on hand"), default=0, db_default=0)
    reserved = models.IntegerField(_("reserved"), default=0, db_default=0)
    sequence = models.BigIntegerField(_("movements"), default=0, db_default=0, editable=False)
    # Made by the database; its index changes only when an option sells out or comes back.
    sold_out = models.GeneratedField(
        expression=Case(When(on_hand__lte=F("reserved"), then=True), default=False),
        output_field=models.BooleanField(),
        db_persist=True,
        verbose_name=_("sold out"),
    )

    class Meta:
        verbose_name = _("stock")
        verbose_name_plural = _("stock")
        ordering = ["id"]
        permissions = [
            ("receive_stock", _("Can receive stock")),
            ("adjust_stock", _("Can adjust stock")),
            ("transfer_stock", _("Can transfer stock")),
            ("count_stock", _("Can count stock")),
        ]
        indexes = [models.Index(fields=["sold_out", "option"], name="stock_sold_out")]
        constraints = [
            models.CheckConstraint(condition=Q(on_hand__gte=0), name="stock_on_hand_not_negative"),
            models.CheckConstraint(
                condition=Q(reserved__gte=0, reserved__lte=F("on_hand")), name="stock_reserved_within_on_hand"
            ),
            models.CheckConstraint(condition=Q(on_hand__lte=MAX_UNITS), name="stock_on_hand_bounded"),
        ]

    def __str__(self) -> str:
        return gettext("%(option)s: %(on_hand)d on hand, %(reserved)d reserved") % {
            "option": self.option,
            "on_hand": self.on_hand,
            "reserved": self.reserved,
        }

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class Kind(models.TextChoices):
    RECEIVE = "receive", _("receive")
    ADJUST = "adjust", _("adjust")
    RESERVE = "reserve", _("reserve")
    RELEASE = "release", _("release")
    SHIP = "ship", _("ship")
    RESTOCK = "restock", _("restock")
    ALLOT = "allot", _("allot")
    UNALLOT = "unallot", _("unallot")
    CORRECT = "correct", _("correct")


# What each kind may do to the two counters. `correct` repairs either one, or (0, 0) says that a counter
# which had moved without a movement was put back.
_SHAPES: dict[str, Q] = {
    Kind.RECEIVE: Q(delta_on_hand__gt=0, delta_reserved=0),
    Kind.ADJUST: ~Q(delta_on_hand=0) & Q(delta_reserved=0),
    Kind.RESERVE: Q(delta_on_hand=0, delta_reserved__gt=0),
    Kind.RELEASE: Q(delta_on_hand=0, delta_reserved__lt=0),
    Kind.SHIP: Q(delta_on_hand__lt=0, delta_reserved=F("delta_on_hand")),
    Kind.RESTOCK: Q(delta_on_hand__gt=0, delta_reserved=0),
    Kind.ALLOT: Q(delta_on_hand=0, delta_reserved__gt=0),
    Kind.UNALLOT: Q(delta_on_hand=0, delta_reserved__lt=0),
    Kind.CORRECT: Q(),
}
_KIND_SHAPE = Q()
for _kind, _shape in _SHAPES.items():
    _KIND_SHAPE |= Q(kind=_kind) & _shape


class Movement(models.Model):
    """One row of the ledger: never changed, never deleted.

    `reference` holds an order's number (or an import's name) as text, so that inventory needs no orders.
    """

    stock = models.ForeignKey(
        Stock, models.PROTECT, related_name="movements", verbose_name=_("stock"), db_index=False
    )
    sequence = models.BigIntegerField(_("no."))
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    delta_on_hand = models.IntegerField(_("on hand +/-"))
    delta_reserved = models.IntegerField(_("reserved +/-"))
    on_hand_after = models.IntegerField(_("on hand after"))
    reserved_after = models.IntegerField(_("reserved after"))
    reference = ExactCharField(_("reference"), max_length=40, blank=True, default="")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("actor"),
        help_text=_("Who did it; empty for the system."),
        # Accounts are never deleted, and nobody looks movements up by actor: the check and the index
        # would cost every order something and give nobody anything.
        db_constraint=False,
        db_index=False,
    )
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("movement")
        verbose_name_plural = _("movements")
        ordering = ["-id"]
        indexes = [models.Index(fields=["reference"], name="movement_reference")]
        constraints = [
            models.UniqueConstraint(fields=["stock", "sequence"], name="movement_stock_sequence_unique"),
            models.CheckConstraint(
                condition=Q(reserved_after__gte=0, on_hand_after__gte=F("reserved_after")),
                name="movement_balance_valid",
            ),
            models.CheckConstraint(condition=_KIND_SHAPE, name="movement_kind_shape"),
            models.CheckConstraint(
                condition=~Q(kind__in=[Kind.ADJUST, Kind.CORRECT]) | ~Q(reason=""),
                name="movement_reason_given",
            ),
        ]

    def __str__(self) -> str:
        delta = f"{self.delta_on_hand:+d}/{self.delta_reserved:+d}"
        return f"{self.get_kind_display()} {delta} ({self.stock_id}:{self.sequence})"
