"""By what the list of stock is narrowed down."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from inventory.models import Movement, Stock
from inventory.selectors import LOW_STOCK


class AvailabilityFilter(admin.SimpleListFilter):
    title = _("availability")
    parameter_name = "availability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            ("available", _("available")),
            ("low", _("fewer than %d left") % LOW_STOCK),
            ("sold-out", _("sold out")),
            ("differs", _("differs from the ledger")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stock]) -> QuerySet[Stock]:
        match self.value():
            case "available":
                return queryset.filter(on_hand__gt=F("reserved"))
            case "low":
                return queryset.filter(sold_out=False, on_hand__lt=F("reserved") + LOW_STOCK)
            case "sold-out":
                return queryset.filter(sold_out=True)
            case "differs":
                return differing(queryset)
        return queryset


def differing(queryset: QuerySet[Stock]) -> QuerySet[Stock]:
    """Stock rows whose counters are not what their last movement left behind.

    Looks at the last movement only (one look-up a row); `reconcile_stock` checks the whole ledger.
    """
    own = Movement.objects.filter(stock=OuterRef("pk")).order_by()
    last = own.filter(
        sequence=OuterRef("sequence"), on_hand_after=OuterRef("on_hand"), reserved_after=OuterRef("reserved")
    )
    untouched = Q(sequence=0, on_hand=0, reserved=0)
    return queryset.filter(
        Exists(own.filter(sequence__gt=OuterRef("sequence"))) | (~untouched & ~Exists(last))
    )
