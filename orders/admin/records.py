"""Lines, history and notes across all orders, to search and export; those of one order are on its page."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orders.models import OrderEvent, OrderLine, OrderNote, Trouble
from orders.selectors import find_order_ids
from shop.desk.access.owners import own_stores
from shop.desk.base import ReadOnlyAdmin
from shop.desk.bounds import newest_keys
from shop.desk.columns import link, linked, moment, money, recorded_text
from shop.selectors import find_sku


@admin.register(OrderLine)
class OrderLineAdmin(ReadOnlyAdmin):
    owned_by = "store"
    exported = {
        "order": "order__number", "sku": "sku", "product": "product_name", "size": "size",
        "colour": "color", "quantity": "quantity",
        "unit price": "unit_price", "returned": "returned",
    }  # fmt: skip
    list_display = ("__str__", "of_order", "sold", "price", "returned")
    list_select_related = ("order", "option")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number, or an SKU in full.")
    ordering = ("-id",)
    fields = ("order", "option", "product_name", "sku", "size", "color", "quantity", "price", "returned")
    readonly_fields = ("price",)
    price = money("unit_price", _("unit price (won)"))
    of_order = linked("order", _("order"))

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[OrderLine]:
        own = OrderLine.objects.filter(store__in=own_stores(request))
        return OrderLine.objects.filter(pk__in=newest_keys(own))

    @admin.display(description=_("SKU"))
    def sold(self, line: OrderLine) -> SafeString:
        return link(line.option, line.sku)

    def find(self, queryset: QuerySet[OrderLine], term: str) -> QuerySet[OrderLine]:
        options = find_sku(term)
        if options:
            return queryset.filter(option__in=options)
        return queryset.filter(order__in=find_order_ids(term))


@admin.register(OrderEvent)
class OrderEventAdmin(ReadOnlyAdmin):
    exported = {
        "order": "order__number", "from": "from_status", "to": "to_status", "actor": "actor__email",
        "note": "note", "at": "created_at",
    }  # fmt: skip
    list_display = ("at", "of_order", "from_status", "to_status", "actor", "why")
    at = moment("created_at", _("at"))
    why = recorded_text("note", _("note"))
    of_order = linked("order", _("order"))
    list_select_related = ("order", "actor")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number.")
    ordering = ("-id",)

    def find(self, queryset: QuerySet[OrderEvent], term: str) -> QuerySet[OrderEvent]:
        return queryset.filter(order__in=find_order_ids(term))


@admin.register(OrderNote)
class OrderNoteAdmin(ReadOnlyAdmin):
    """Notes across all orders; they are written on the order's page."""

    exported = {"order": "order__number", "author": "author__email", "text": "text", "at": "created_at"}
    list_display = ("at", "of_order", "author", "text")
    at = moment("created_at", _("at"))
    of_order = linked("order", _("order"))
    list_select_related = ("order", "author")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number.")
    ordering = ("-id",)

    def find(self, queryset: QuerySet[OrderNote], term: str) -> QuerySet[OrderNote]:
        return queryset.filter(order__in=find_order_ids(term))


@admin.register(Trouble)
class TroubleAdmin(ReadOnlyAdmin):
    """What periodic jobs set aside. A row goes by itself, when its cause is mended and it was tried again."""

    exported = {
        "what fails": "job", "what it concerns": "subject", "order": "order__number", "reason": "reason",
        "tries": "tries", "since": "since", "tried again at": "retry_at",
    }  # fmt: skip
    list_display = ("began", "job", "subject", "of_order", "reason", "tries", "again")
    began = moment("since", _("since"))
    again = moment("retry_at", _("tried again at"))
    of_order = linked("order", _("order"))
    list_filter = ("job",)
    list_select_related = ("order",)
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number.")
    ordering = ("-id",)

    def find(self, queryset: QuerySet[Trouble], term: str) -> QuerySet[Trouble]:
        return queryset.filter(order__in=find_order_ids(term))
