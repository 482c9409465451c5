"""What operators corrected of orders: where they go, and under which number they are carried."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orders.models.orders import Order


class Corrected(models.TextChoices):
    RECIPIENT = "recipient", _("recipient")
    PHONE = "phone", _("phone")
    POSTAL_CODE = "postal_code", _("postal code")
    ADDRESS1 = "address1", _("address")
    ADDRESS2 = "address2", _("address, second line")
    CARRIER = "carrier", _("carrier")
    TRACKING_NUMBER = "tracking_number", _("tracking number")


class OrderCorrection(models.Model):
    """A field of an order that an operator corrected: who, when, and from what to what.

    The values are forgotten in time (`orders.lifecycle.correcting.KEPT_FOR`): both are empty then, as they
    never are before. That something was changed, and by whom, is kept for good.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="corrections", verbose_name=_("order"))
    field = models.CharField(_("what"), max_length=20, choices=Corrected.choices)
    before = models.CharField(_("before"), max_length=200, blank=True)
    after = models.CharField(_("after"), max_length=200, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("actor")
    )
    created_at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")
        default_permissions = ()  # those of orders
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(field__in=Corrected.values), name="correction_field_known")
        ]

    def __str__(self) -> str:
        return f"{self.get_field_display()}: {self.before} → {self.after}"
