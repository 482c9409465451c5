"""By what the list of orders is narrowed down."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orders.models import Order
from orders.placement.numbers import first_id_since


class PlacedFilter(admin.SimpleListFilter):
    """By the time of ordering, which has no index of its own: the id bounds how far is looked."""

    title = _("date of order")
    parameter_name = "ordered"
    days = {"today": 0, "7": 7, "30": 30, "365": 365}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            ("today", _("today")),
            ("7", _("past 7 days")),
            ("30", _("past 30 days")),
            ("365", _("past 365 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        if self.value() not in self.days:
            return queryset
        midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - timedelta(days=self.days[str(self.value())])
        return queryset.filter(pk__gte=first_id_since(since), created_at__gte=since)
