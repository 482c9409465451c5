"""Orders: looked at here, changed by operations only."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from inventory.models import Movement
from orders.admin.orders.columns import ListColumns
from orders.admin.orders.corrections import CORRECT_ADDRESS, CORRECT_TRACKING
from orders.admin.orders.filters import PlacedFilter
from orders.admin.orders.inlines import CorrectionInline, EventInline, LineInline, NoteInline, PaymentInline
from orders.admin.orders.many import ManyOrders
from orders.admin.orders.operations import ADD_NOTE, CANCEL, CONFIRM_PAYMENT, DELIVER, LOSE, RETURN, SHIP
from orders.admin.orders.packing import PackingLists
from orders.models import Order, OrderLine, Status
from orders.selectors import find_order_ids, orders_of_sku, search_orders
from shop.desk.access.owners import own_stores, sees_own_only
from shop.desk.base import ReadOnlyAdmin
from shop.desk.bounds import newest_keys
from shop.desk.columns import admin_url, money, recorded_text, text_link, won
from shop.desk.operations import OperatedAdmin, Operation
from yousinsa.text.cleaning import tidied


@admin.register(Order)
class OrderAdmin(ListColumns, PackingLists, ManyOrders, OperatedAdmin, ReadOnlyAdmin):
    operations = (
        CONFIRM_PAYMENT, SHIP, CORRECT_ADDRESS, DELIVER, CORRECT_TRACKING, LOSE, CANCEL, RETURN, ADD_NOTE,
    )  # fmt: skip
    actions = ("confirm_selected", "print_packing_lists", "deliver_selected")
    inlines = (LineInline, NoteInline, EventInline, CorrectionInline, PaymentInline)
    owned_by = "lines__store"
    # Who bought it, and what else, is none of a store owner's business: operators ship.
    hidden_from_owners = frozenset(
        {"buyer", "customer", "total_won", "total", "payment", "note", "said", "recipient", "phone",
         "postal_code", "address1", "address2", "carrier", "tracking_number", "movements",
         "idempotency_key", "fingerprint"}
    )  # fmt: skip
    exported = {
        "number": "number", "status": "status", "buyer": "buyer__email", "total": "total",
        "ordered at": "created_at", "held until": "expires_at", "recipient": "recipient", "phone": "phone",
        "postal code": "postal_code", "address": "address1", "address 2": "address2", "carrier": "carrier",
        "tracking number": "tracking_number", "note": "note",
    }  # fmt: skip
    facts_related = ("buyer", "lines")
    list_filter = ("status", PlacedFilter)
    links_by = ("buyer__id__exact",)
    search_fields = ("number",)
    search_help_text = _(
        "Order number, e-mail address, recipient or tracking number (their beginning), phone (or its last "
        "digits), SKU."
    )
    ordering = ("-id",)
    readonly_fields = ("total_won", "movements", "said")
    fieldsets = (
        (None, {"fields": ("number", "status", "buyer", "drop", "total_won", "created_at", "expires_at",
                           "said")}),
        (_("Shipping"), {"fields": ("recipient", "phone", "postal_code", "address1", "address2", "carrier",
                                    "tracking_number")}),
        (_("Behind the scenes"), {"fields": ("movements", "idempotency_key", "fingerprint"),
                                  "classes": ("collapse",)}),
    )  # fmt: skip

    said = recorded_text("note", _("note"))
    total_won = money("total", _("total (won)"))

    @admin.display(description=_("stock movements"))
    def movements(self, order: Order) -> SafeString:
        address = f"{admin_url(Movement, 'changelist')}?q={order.number}"
        return text_link(address, _("movements of this order"))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        order = context.get("original")
        if order is not None and order.status == Status.PAID and self.has_pack_permission(request):
            page = {"label": _("packing list"), "url": admin_url(order, "packing-list", order.pk)}
            context["pages"] = [page]
        return super().render_change_form(request, context, *args, **kwargs)

    def facts(self, record: Order, operation: Operation) -> Sequence[tuple[Any, Any]]:
        lines = ((line.quantity, line.product_name, line.sku) for line in record.lines.all())
        units = (_("units"), format_html_join("", "<div>{} × {} ({})</div>", lines))
        if operation is SHIP:
            address = [record.recipient, record.phone, record.postal_code, record.address1, record.address2]
            return [units, (_("ship to"), ", ".join(filter(None, address)))]
        return [
            (_("status"), record.get_status_display()),
            (_("buyer"), record.buyer),
            (_("total (won)"), won(record.total)),
            units,
        ]

    def of_owner(self, request: HttpRequest, records: QuerySet[Order]) -> QuerySet[Order]:
        own = OrderLine.objects.filter(order=OuterRef("pk"), store__in=own_stores(request))
        return records.filter(Exists(own))

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[Order]:
        newest = newest_keys(OrderLine.objects.filter(store__in=own_stores(request)))
        lines = OrderLine.objects.filter(pk__in=newest)
        return Order.objects.filter(pk__in=list(lines.values_list("order_id", flat=True)))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Store owners search by number and by their own SKUs: who bought it is not theirs to ask."""
        term = tidied(search_term)
        if term and sees_own_only(request.user):
            of_sku = orders_of_sku(term, stores=own_stores(request))
            return queryset.filter(pk__in=of_sku.union(find_order_ids(term))), False
        return super().get_search_results(request, queryset, search_term)

    def find(self, queryset: QuerySet[Order], term: str) -> QuerySet[Order]:
        return search_orders(queryset, term)
