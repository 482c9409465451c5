"""Orders, their lines and their history: looked at here, changed by operations only."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from inventory.models import Movement
from orders.admin.operations import ADD_NOTE, CANCEL, CONFIRM_PAYMENT, DELIVER, RETURN, SHIP
from orders.admin.packing import PackingLists
from orders.models import MAX_LINES, Order, OrderEvent, OrderLine, OrderNote, Payment, Status
from orders.placement.numbers import first_id_since
from shop.desk.base import (
    COUNTED,
    FOUND,
    FirstRows,
    ReadOnlyAdmin,
    ReadOnlyInline,
    admin_url,
    link,
    moment,
    told,
    won,
)
from shop.desk.operations import OperatedAdmin, Operation
from shop.desk.owners import is_store_owner, newest_keys, own_options, own_stores
from shop.models import Option, User


def order_ids(term: str) -> list[int]:
    """Orders whose number begins with `term`, up to `FOUND` of them."""
    return list(numbered(Order.objects.order_by(), term).values_list("id", flat=True)[:FOUND])


def numbered(orders: QuerySet[Order], term: str) -> QuerySet[Order]:
    """Orders whose number begins with `term`, as a range, since LIKE would not use the index everywhere."""
    start = term.upper()
    return orders.filter(number__gte=start, number__lt=start + "\U0010ffff")


def order_link(path: str) -> Callable[[Any, Any], SafeString]:
    """A column that leads to the order; `path` is the way there: `payment.order`."""
    order_of = attrgetter(path)

    @admin.display(description=_("order"))
    def shown(self: Any, record: Any) -> SafeString:
        return link(order_of(record))

    return shown


def newest_own_lines(request: HttpRequest) -> list[int]:
    """The ids of the newest lines with options of the user's own stores."""
    return newest_keys(OrderLine.objects.filter(option__in=own_options(request)), COUNTED)


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


class AllLines(FirstRows):
    shown = MAX_LINES


class LineInline(ReadOnlyInline):
    model = OrderLine
    formset = AllLines
    owned_by = "option__product__store"
    fields = ("option", "product_name", "size", "color", "quantity", "price", "returned")
    readonly_fields = ("size", "color", "price")
    ordering = ("id",)
    select_related = ("option",)

    @admin.display(description=_("size"))
    def size(self, line: OrderLine) -> str:
        return line.option.size

    @admin.display(description=_("colour"))
    def color(self, line: OrderLine) -> str:
        return line.option.color

    @admin.display(description=_("unit price (won)"))
    def price(self, line: OrderLine) -> str:
        return won(line.unit_price)


class EventInline(ReadOnlyInline):
    model = OrderEvent
    verbose_name_plural = _("status changes")
    fields = ("at", "from_status", "to_status", "actor", "why")
    readonly_fields = ("at", "why")
    why = told("note", _("note"))
    at = moment("created_at", _("at"))
    ordering = ("id",)
    select_related = ("actor",)


class NoteInline(ReadOnlyInline):
    model = OrderNote
    verbose_name_plural = _("notes of operators (the buyer does not see them)")
    fields = ("at", "author", "text")
    readonly_fields = ("at",)
    at = moment("created_at", _("at"))
    ordering = ("-id",)
    select_related = ("author",)


class PaymentInline(ReadOnlyInline):
    """Money is seen by those who may see payments."""

    model = Payment
    fields = ("page", "provider", "amount_won", "status", "said", "started", "decided", "refunded")
    readonly_fields = ("page", "amount_won", "said", "started", "decided", "refunded")
    said = told("detail", _("detail"))
    started = moment("created_at", _("started at"))
    decided = moment("decided_at", _("decided at"))
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        return super().get_queryset(request).prefetch_related("refunds")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and request.user.has_perm("orders.view_payment")

    @admin.display(description=_("reference"))
    def page(self, payment: Payment) -> SafeString:
        return link(payment, payment.reference)

    @admin.display(description=_("amount (won)"))
    def amount_won(self, payment: Payment) -> str:
        return won(payment.amount)

    @admin.display(description=_("refunds (won)"))
    def refunded(self, payment: Payment) -> SafeString:
        refunds = payment.refunds.all()
        return format_html_join(
            "", "<div>{}, {}</div>",
            ((link(refund, won(refund.amount)), refund.get_status_display()) for refund in refunds),
        )  # fmt: skip


@admin.register(Order)
class OrderAdmin(PackingLists, OperatedAdmin, ReadOnlyAdmin):
    operations = (CONFIRM_PAYMENT, SHIP, DELIVER, CANCEL, RETURN, ADD_NOTE)
    actions = ("print_packing_lists",)
    inlines = (LineInline, NoteInline, EventInline, PaymentInline)
    owned_by = "lines__option__product__store"
    # Who bought it, and what else, is none of a store owner's business: operators ship.
    hidden_from_owners = frozenset(
        {"buyer", "total_won", "total", "note", "said", "recipient", "phone", "postal_code", "address1",
         "address2", "carrier", "tracking_number", "movements", "idempotency_key", "fingerprint"}
    )  # fmt: skip
    exported = {
        "number": "number", "status": "status", "buyer": "buyer__email", "total": "total",
        "ordered at": "created_at", "held until": "expires_at", "recipient": "recipient", "phone": "phone",
        "postal code": "postal_code", "address": "address1", "address 2": "address2", "carrier": "carrier",
        "tracking number": "tracking_number", "note": "note",
    }  # fmt: skip
    list_display = ("number", "status", "buyer", "total_won", "placed")
    list_select_related = ("buyer",)
    facts_related = ("buyer", "lines__option")
    list_filter = ("status", PlacedFilter)
    search_fields = ("number",)
    search_help_text = _("Beginning of the order's number, or of the buyer's e-mail address.")
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

    placed = moment("created_at", _("ordered at"))
    said = told("note", _("note"))

    @admin.display(description=_("total (won)"))
    def total_won(self, order: Order) -> str:
        return won(order.total)

    @admin.display(description=_("stock movements"))
    def movements(self, order: Order) -> SafeString:
        address = f"{admin_url(Movement, 'changelist')}?q={order.number}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, _("movements of this order"))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        order = context.get("original")
        if order is not None and order.status == Status.PAID and self.has_pack_permission(request):
            page = {"label": _("packing list"), "url": admin_url(order, "packing-list", order.pk)}
            context["pages"] = [page]
        return super().render_change_form(request, context, *args, **kwargs)

    def facts(self, record: Order, operation: Operation) -> Sequence[tuple[Any, Any]]:
        lines = ((line.quantity, line.product_name, line.option.sku) for line in record.lines.all())
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
        own = OrderLine.objects.filter(order=OuterRef("pk"), option__product__store__in=own_stores(request))
        return records.filter(Exists(own))

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[Order]:
        lines = OrderLine.objects.filter(pk__in=newest_own_lines(request))
        return Order.objects.filter(pk__in=list(lines.values_list("order_id", flat=True)))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Store owners search by number: who bought it is not theirs to ask."""
        if search_term and is_store_owner(request.user):
            found = [] if "@" in search_term else order_ids(search_term.replace("\x00", "").strip())
            return queryset.filter(pk__in=found), False
        return super().get_search_results(request, queryset, search_term)

    def find(self, queryset: QuerySet[Order], term: str) -> QuerySet[Order]:
        if "@" not in term:
            # In the order of the index that finds them; numbers are time-ordered as ids are.
            return numbered(queryset, term).order_by("-number")
        buyers = User.objects.filter(email__istartswith=term).order_by()
        return queryset.filter(buyer__in=list(buyers.values_list("id", flat=True)[:FOUND]))


@admin.register(OrderLine)
class OrderLineAdmin(ReadOnlyAdmin):
    owned_by = "option__product__store"
    exported = {
        "order": "order__number", "sku": "option__sku", "product": "product_name", "quantity": "quantity",
        "unit price": "unit_price", "returned": "returned",
    }  # fmt: skip
    list_display = ("__str__", "of_order", "sku", "price", "returned")
    list_select_related = ("order", "option")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number, or an SKU in full.")
    ordering = ("-id",)
    fields = ("order", "option", "product_name", "quantity", "price", "returned")
    readonly_fields = ("price",)
    price = LineInline.price
    of_order = order_link("order")

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[OrderLine]:
        return OrderLine.objects.filter(pk__in=newest_own_lines(request))

    @admin.display(description=_("SKU"))
    def sku(self, line: OrderLine) -> SafeString:
        return link(line.option)

    def find(self, queryset: QuerySet[OrderLine], term: str) -> QuerySet[OrderLine]:
        options = list(Option.objects.filter(sku=term).values_list("id", flat=True))
        if options:
            return queryset.filter(option__in=options)
        return queryset.filter(order__in=order_ids(term))


@admin.register(OrderEvent)
class OrderEventAdmin(ReadOnlyAdmin):
    exported = {
        "order": "order__number", "from": "from_status", "to": "to_status", "actor": "actor__email",
        "note": "note", "at": "created_at",
    }  # fmt: skip
    list_display = ("at", "of_order", "from_status", "to_status", "actor", "why")
    at = moment("created_at", _("at"))
    why = told("note", _("note"))
    of_order = order_link("order")
    list_select_related = ("order", "actor")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number.")
    ordering = ("-id",)

    def find(self, queryset: QuerySet[OrderEvent], term: str) -> QuerySet[OrderEvent]:
        return queryset.filter(order__in=order_ids(term))


@admin.register(OrderNote)
class OrderNoteAdmin(ReadOnlyAdmin):
    """Notes across all orders; they are written on the order's page."""

    exported = {"order": "order__number", "author": "author__email", "text": "text", "at": "created_at"}
    list_display = ("at", "of_order", "author", "text")
    at = moment("created_at", _("at"))
    of_order = order_link("order")
    list_select_related = ("order", "author")
    search_fields = ("order",)
    search_help_text = _("Beginning of the order's number.")
    ordering = ("-id",)

    def find(self, queryset: QuerySet[OrderNote], term: str) -> QuerySet[OrderNote]:
        return queryset.filter(order__in=order_ids(term))
