"""Who bought what: orders, their lines, and their history."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from shop.models import MAX_PRICE, Option, Store
from yousinsa.db.fields import ExactCharField

MAX_LINES = 100
MAX_QUANTITY = 1_000_000
# The largest whole number that every client can tell from its neighbours (a double's 53 bits).
MAX_TOTAL = 2**53 - 1
MAX_NOTE = 2_000


SHIPPING_FIELDS = ("recipient", "phone", "postal_code", "address1", "address2")
"""Where an order goes: columns of the order, and of its buyer's saved address."""


class Status(models.TextChoices):
    PENDING = "pending", _("pending")
    PAID = "paid", _("paid")
    SHIPPED = "shipped", _("shipped")
    DELIVERED = "delivered", _("delivered")
    RETURNED = "returned", _("returned")
    CANCELLED = "cancelled", _("cancelled")
    EXPIRED = "expired", _("expired")


class Order(models.Model):
    """One purchase. `number` is what people and other systems call it.

    `id` is made by the application (orders/placement/numbers.py), so that a batch of orders and its lines
    are inserted without asking the database for keys.
    """

    id = models.BigIntegerField(primary_key=True)
    number = ExactCharField(_("number"), max_length=40, unique=True)
    buyer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="orders",
        verbose_name=_("buyer"),
        db_index=False,
    )
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.PENDING)
    total = models.BigIntegerField(_("total (won)"), validators=[MinValueValidator(0)])
    idempotency_key = ExactCharField(_("idempotency key"), max_length=255, null=True, blank=True)
    drop = models.ForeignKey(
        "orders.Drop",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="orders",
        verbose_name=_("drop"),
        db_index=False,
    )
    fingerprint = ExactCharField(
        _("request fingerprint"),
        max_length=32,
        blank=True,
        default="",
        help_text=_("What the idempotency key was used for: the same key with another body is refused."),
    )
    expires_at = models.DateTimeField(_("held until"))
    created_at = models.DateTimeField(_("ordered at"), default=timezone.now)
    note = models.CharField(
        _("note"), max_length=200, blank=True, default="", db_default="", help_text=_("Shown to the buyer.")
    )

    recipient = models.CharField(_("recipient"), max_length=100, blank=True, default="", db_default="")
    phone = models.CharField(_("phone"), max_length=30, blank=True, default="", db_default="")
    postal_code = models.CharField(_("postal code"), max_length=10, blank=True, default="", db_default="")
    address1 = models.CharField(_("address"), max_length=200, blank=True, default="", db_default="")
    address2 = models.CharField(
        _("address, second line"), max_length=200, blank=True, default="", db_default=""
    )
    carrier = models.CharField(_("carrier"), max_length=50, blank=True, default="", db_default="")
    tracking_number = models.CharField(
        _("tracking number"), max_length=50, blank=True, default="", db_default=""
    )

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-id"]
        permissions = [
            ("confirm_payment", _("Can confirm payment of order")),
            ("ship_order", _("Can ship order")),
            ("deliver_order", _("Can mark order as delivered")),
            ("cancel_order", _("Can cancel order")),
            ("return_order", _("Can take units of order back")),
            ("correct_order", _("Can correct address and tracking number of order")),
            ("lose_order", _("Can mark order as lost on its way")),
        ]
        indexes = [
            models.Index(fields=["buyer", "-id"], name="order_buyer_id"),
            models.Index(fields=["status", "expires_at"], name="order_status_expires"),
            models.Index(fields=["drop", "buyer"], name="order_drop_buyer"),
            # What a buyer holds unpaid: each batch of new orders asks.
            models.Index(fields=["buyer", "status"], name="order_buyer_status"),
        ]
        constraints = [
            # Also the index that idempotency keys are looked up with. NULL keys never collide.
            models.UniqueConstraint(fields=["buyer", "idempotency_key"], name="order_buyer_key_unique"),
            models.CheckConstraint(condition=Q(total__gte=0), name="order_total_not_negative"),
            models.CheckConstraint(condition=Q(total__lte=MAX_TOTAL), name="order_total_is_exact_everywhere"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="order_status_known"),
        ]

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """So many units of one option, as they were sold: price, name, look, SKU, store, the shop's share.

    None of it follows the product when that is renamed, moved to another store or sold at other terms.
    """

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="lines", verbose_name=_("order"), db_index=False
    )
    option = models.ForeignKey(Option, models.PROTECT, related_name="order_lines", verbose_name=_("option"))
    product_name = models.CharField(_("product"), max_length=200)
    sku = ExactCharField(_("SKU"), max_length=64, blank=True, default="", db_default="")
    size = models.CharField(_("size"), max_length=30, blank=True, default="", db_default="")
    color = models.CharField(_("colour"), max_length=50, blank=True, default="", db_default="")
    quantity = models.IntegerField(_("quantity"), validators=[MinValueValidator(1)])
    unit_price = models.BigIntegerField(_("unit price (won)"))
    returned = models.IntegerField(_("returned"), default=0, db_default=0)
    # No foreign key in the database: an insert would share-lock the store that everybody buys from.
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="order_lines", verbose_name=_("store"), db_constraint=False
    )
    commission_rate = models.PositiveSmallIntegerField(
        _("commission (basis points)"), help_text=_("A hundredth of a percent: 1000 is 10%.")
    )

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["order", "option"], name="line_order_option_unique"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=MAX_QUANTITY), name="line_quantity_in_range"
            ),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="line_unit_price_not_negative"),
            models.CheckConstraint(condition=Q(unit_price__lte=MAX_PRICE), name="line_unit_price_in_range"),
            models.CheckConstraint(
                condition=Q(returned__gte=0, returned__lte=F("quantity")),
                name="line_returned_within_quantity",
            ),
            models.CheckConstraint(
                condition=Q(commission_rate__lte=10_000), name="line_commission_rate_in_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product_name}"


class OrderEvent(models.Model):
    """A change of an order's status: what, who, when, why. Placing itself is the order's `created_at`."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="events", verbose_name=_("order"))
    from_status = models.CharField(pgettext_lazy("status", "from"), max_length=10, choices=Status.choices)
    to_status = models.CharField(pgettext_lazy("status", "to"), max_length=10, choices=Status.choices)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("actor"),
        help_text=_("Who did it; empty for the system."),
    )
    note = models.CharField(_("note"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("order event")
        verbose_name_plural = _("order events")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.get_from_status_display()} → {self.get_to_status_display()}"


class OrderNote(models.Model):
    """What operators tell each other about an order. The buyer does not see it."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="notes", verbose_name=_("order"))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("author")
    )
    text = models.TextField(_("text"), max_length=MAX_NOTE)
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("order note")
        verbose_name_plural = _("order notes")
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=~Q(text=""), name="order_note_not_empty")]

    def __str__(self) -> str:
        return self.text[:60]


class Holds(models.Manager):
    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().filter(status=Status.PENDING)


class Hold(Order):
    """An order that holds stock without being paid for: pending ones, seen as what they keep from others."""

    objects: ClassVar[Any] = Holds()

    class Meta:
        proxy = True
        default_permissions = ()  # those of orders
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        ordering = ["expires_at", "id"]
