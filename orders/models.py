"""Who bought what: orders, their lines, their history, and the money."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from orders.settlements.models import Settlement
from shop.models import Option
from yousinsa.db import ExactCharField

MAX_LINES = 100
MAX_QUANTITY = 1_000_000
MAX_NOTE = 2_000


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
        ]
        indexes = [
            models.Index(fields=["buyer", "-id"], name="order_buyer_id"),
            models.Index(fields=["status", "expires_at"], name="order_status_expires"),
            models.Index(fields=["drop", "buyer"], name="order_drop_buyer"),
        ]
        constraints = [
            # Also the index that idempotency keys are looked up with. NULL keys never collide.
            models.UniqueConstraint(fields=["buyer", "idempotency_key"], name="order_buyer_key_unique"),
            models.CheckConstraint(condition=Q(total__gte=0), name="order_total_not_negative"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="order_status_known"),
        ]

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """So many units of one option, at the price and under the name that they were sold at."""

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="lines", verbose_name=_("order"), db_index=False
    )
    option = models.ForeignKey(Option, models.PROTECT, related_name="order_lines", verbose_name=_("option"))
    product_name = models.CharField(_("product"), max_length=200)
    quantity = models.IntegerField(_("quantity"), validators=[MinValueValidator(1)])
    unit_price = models.BigIntegerField(_("unit price (won)"))
    returned = models.IntegerField(_("returned"), default=0, db_default=0)

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
            models.CheckConstraint(
                condition=Q(returned__gte=0, returned__lte=F("quantity")),
                name="line_returned_within_quantity",
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


from orders.drops.models import (  # noqa: E402
    DeadLetter,
    Drop,
    DropItem,
    DropRelease,
    DropStatus,
    DropTally,
    Lane,
)

__all__ = [
    "MAX_LINES",
    "MAX_NOTE",
    "MAX_QUANTITY",
    "DeadLetter",
    "Drop",
    "DropItem",
    "DropRelease",
    "DropStatus",
    "DropTally",
    "Hold",
    "Lane",
    "Order",
    "OrderEvent",
    "OrderLine",
    "OrderNote",
    "Payment",
    "Refund",
    "Settlement",
    "Status",
]
