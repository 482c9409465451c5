"""What is behind the drops: items, set-aside orders, units that come back, tallies. Only looked at."""

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from orders.models.drops import DeadLetter, DropItem, DropRelease, DropTally
from shop.desk.base import DeskAdmin, ReadOnlyAdmin
from shop.desk.columns import linked, moment, money
from shop.selectors import find_options


@admin.register(DropItem)
class DropItemAdmin(ReadOnlyAdmin):
    list_display = ("option", "of_drop", "price_won", "allotted", "applied", "returned", "epoch")
    list_select_related = ("drop", "option")
    search_fields = ("option",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("drop", "option", "price_won", "allotted", "applied", "returned", "epoch")
    readonly_fields = ("price_won", "applied", "returned", "epoch")

    of_drop = linked("drop", _("drop"))
    price_won = money("price", _("drop price (won)"))

    def find(self, queryset: QuerySet[DropItem], term: str) -> QuerySet[DropItem]:
        return queryset.filter(option__in=find_options(term))


class OfDrop(DeskAdmin):
    """Rows of a drop, the newest first."""

    list_select_related = ("drop",)
    ordering = ("-id",)
    of_drop = linked("drop", _("drop"))


@admin.register(DeadLetter)
class DeadLetterAdmin(OfDrop, ReadOnlyAdmin):
    list_display = ("number", "of_drop", "buyer_id", "units", "code", "reason", "at")
    at = moment("created_at", _("set aside at"))
    search_fields = ("number",)
    search_help_text = _("Beginning of the order's number, or a drop's id.")

    def find(self, queryset: QuerySet[DeadLetter], term: str) -> QuerySet[DeadLetter]:
        if term.isascii() and term.isdigit() and len(term) < 10:
            return queryset.filter(drop_id=int(term))
        start = term.upper()
        return queryset.filter(number__gte=start, number__lt=start + "\U0010ffff")


@admin.register(DropRelease)
class DropReleaseAdmin(OfDrop, ReadOnlyAdmin):
    list_display = ("number", "of_drop", "buyer_id", "units", "at", "reported")
    at = moment("created_at", _("decided at"))
    reported = moment("told_at", _("told to Redis at"))
    search_fields = ("number",)
    search_help_text = _("An order's number in full.")

    def find(self, queryset: QuerySet[DropRelease], term: str) -> QuerySet[DropRelease]:
        return queryset.filter(release_id__in=[f"order-{term}", f"letter-{term}"])


@admin.register(DropTally)
class DropTallyAdmin(OfDrop, ReadOnlyAdmin):
    list_display = ("process", "of_drop", "acknowledged", "refused", "queued")
    search_fields = ("process",)
    search_help_text = _("A drop's id.")

    def find(self, queryset: QuerySet[DropTally], term: str) -> QuerySet[DropTally]:
        if not (term.isascii() and term.isdigit() and len(term) < 10):
            return queryset.none()
        return queryset.filter(drop_id=int(term))
