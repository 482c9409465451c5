"""Stock on the desk: counters that nobody types over, receipts and adjustments, and the ledger.

Counters change by movements only. A form that saved an absolute figure would undo every sale that happened
while an operator was looking at it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from inventory import ledger
from inventory.errors import InsufficientStock, InvalidMovement
from inventory.locks import LockedStock
from inventory.models import MAX_UNITS, Kind, Movement, Stock
from orders.models import Order
from shop.admin.base import COUNTED, DateFilter, ReadOnlyAdmin, ReadOnlyInline, admin_url, link, moment
from shop.admin.catalog import option_ids
from shop.admin.operations import OperatedAdmin, Operation, OperationForm, line_of_text
from shop.desk.owners import newest_keys, own_options

# Fewer units than this are few.
LOW = 5

# --- Operations -----------------------------------------------------------------------------------


def _units(label: Any, **options: Any) -> forms.IntegerField:
    return forms.IntegerField(label=label, widget=AdminIntegerFieldWidget(), **options)


def _now_there(row: LockedStock) -> str:
    return _now("%(on_hand)d on hand, %(available)d available now.") % {
        "on_hand": row.on_hand,
        "available": row.available,
    }


class ReceiveForm(OperationForm):
    quantity = _units(_("units received"), min_value=1, max_value=MAX_UNITS)
    reason = line_of_text(_("reason"), max_length=200, help_text=_("Where they come from."))
    reference = line_of_text(
        _("reference"), max_length=40, required=False, help_text=_("The delivery note's number, if any.")
    )

    def run(self, *, actor_id: int) -> None:
        row = ledger.receive(option_id=self.record.option_id, actor_id=actor_id, **self.cleaned_data)
        self.result = f"+{self.cleaned_data['quantity']}. {_now_there(row)}"


class AdjustForm(OperationForm):
    delta = _units(
        _("difference"), min_value=-MAX_UNITS, max_value=MAX_UNITS,
        help_text=_("By how much: 3 for three more than on record, -3 for three fewer."),
    )  # fmt: skip
    reason = line_of_text(_("reason"), max_length=200, help_text=_("Stocktaking, damage, theft …"))

    def run(self, *, actor_id: int) -> None:
        try:
            row = ledger.adjust(option_id=self.record.option_id, actor_id=actor_id, **self.cleaned_data)
        except InsufficientStock as exc:
            text = _now("At most %d can be taken away: the other units are promised to orders.")
            raise InvalidMovement(errors={"delta": text % exc.lines[0]["available"]}) from exc
        self.result = f"{self.cleaned_data['delta']:+d}. {_now_there(row)}"


RECEIVE = Operation(
    name="receive",
    permission="inventory.receive_stock",
    label=_("receive"),
    explanation=_("Units arrived: they are added to what is on hand and can be sold at once."),
    done=_("received."),
    form=ReceiveForm,
    possible=lambda stock: True,
)
ADJUST = Operation(
    name="adjust",
    permission="inventory.adjust_stock",
    label=_("adjust"),
    explanation=_("What is on hand differs from the record. Say by how much, not what it should be."),
    done=_("adjusted."),
    form=AdjustForm,
    possible=lambda stock: True,
)

# --- Lists ----------------------------------------------------------------------------------------


class AvailabilityFilter(admin.SimpleListFilter):
    title = _("availability")
    parameter_name = "availability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            ("available", _("available")),
            ("low", _("fewer than %d left") % LOW),
            ("sold-out", _("sold out")),
            ("differs", _("differs from the ledger")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stock]) -> QuerySet[Stock]:
        match self.value():
            case "available":
                return queryset.filter(on_hand__gt=F("reserved"))
            case "low":
                return queryset.filter(sold_out=False, on_hand__lt=F("reserved") + LOW)
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


class MovementColumns:
    """A movement in a table: what each counter was moved by, and what it is since."""

    at = moment("created_at", _("at"))

    @admin.display(description=_("on hand"))
    def on_hand(self, movement: Movement) -> str:
        return _moved(movement.on_hand_after, movement.delta_on_hand)

    @admin.display(description=_("reserved"))
    def reserved(self, movement: Movement) -> str:
        return _moved(movement.reserved_after, movement.delta_reserved)

    @admin.display(description=_("reference"))
    def cause(self, movement: Movement) -> SafeString | str:
        """The order that moved it, where it was one."""
        if movement.kind not in (Kind.RESERVE, Kind.RELEASE, Kind.SHIP, Kind.RESTOCK):
            return movement.reference
        address = f"{admin_url(Order, 'changelist')}?{urlencode({'q': movement.reference})}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, movement.reference)


def _moved(after: int, delta: int) -> str:
    return f"{after} ({delta:+d})" if delta else str(after)


class MovementInline(MovementColumns, ReadOnlyInline):
    model = Movement
    verbose_name_plural = _("timeline: newest movements")
    fields = ("at", "kind", "on_hand", "reserved", "cause", "actor", "reason")
    readonly_fields = ("at", "on_hand", "reserved", "cause")
    ordering = ("-sequence",)
    select_related = ("actor",)
    owned_by = "stock__option__product__store"
    hidden_from_owners = frozenset({"actor"})


@admin.register(Stock)
class StockAdmin(OperatedAdmin, ReadOnlyAdmin):
    """A row an option, made with the option. What changes it is a movement."""

    operations = (RECEIVE, ADJUST)
    owned_by = "option__product__store"
    inlines = (MovementInline,)
    list_display = ("option", "product", "size", "color", "on_hand", "reserved", "available")
    list_select_related = ("option__product",)
    list_filter = (AvailabilityFilter,)
    search_fields = ("option",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("option", "product", "on_hand", "reserved", "available", "sequence", "all_movements")
    readonly_fields = ("product", "available", "sequence", "all_movements")

    def name(self, record: Stock) -> str:
        return record.option.sku

    @admin.display(description=_("product"))
    def product(self, stock: Stock) -> SafeString:
        return link(stock.option.product)

    @admin.display(description=_("size"))
    def size(self, stock: Stock) -> str:
        return stock.option.size

    @admin.display(description=_("colour"))
    def color(self, stock: Stock) -> str:
        return stock.option.color

    @admin.display(description=_("available"))
    def available(self, stock: Stock) -> int:
        return stock.available

    @admin.display(description=_("ledger"))
    def all_movements(self, stock: Stock) -> SafeString:
        address = f"{admin_url(Movement, 'changelist')}?stock__id__exact={stock.pk}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, _("all movements"))

    def facts(self, record: Stock, operation: Operation) -> Sequence[tuple[Any, Any]]:
        option = record.option
        return [
            (_("option"), " · ".join(filter(None, [option.sku, option.size, option.color]))),
            (_("product"), option.product.name),
            (_("on hand"), record.on_hand),
            (_("reserved"), record.reserved),
            (_("available"), record.available),
        ]

    def find(self, queryset: QuerySet[Stock], term: str) -> QuerySet[Stock]:
        return queryset.filter(option__in=option_ids(term))


@admin.register(Movement)
class MovementAdmin(MovementColumns, ReadOnlyAdmin):
    """The ledger. Nothing here can be changed; a mistake is corrected by another movement."""

    owned_by = "stock__option__product__store"
    hidden_from_owners = frozenset({"actor"})
    list_display = ("at", "sku", "kind", "on_hand", "reserved", "cause", "actor", "reason")
    list_select_related = ("stock__option", "actor")
    list_filter = ("kind", ("created_at", DateFilter))
    search_fields = ("reference",)
    search_help_text = _("An SKU, or a reference such as an order's number, in full.")
    ordering = ("-id",)
    fields = (
        "created_at", "stock_link", "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after",
        "reserved_after", "reference", "actor", "reason",
    )  # fmt: skip
    readonly_fields = ("stock_link",)

    @admin.display(description=_("SKU"))
    def sku(self, movement: Movement) -> str:
        return movement.stock.option.sku

    @admin.display(description=_("stock"))
    def stock_link(self, movement: Movement) -> SafeString:
        return link(movement.stock, movement.stock.option.sku)

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[Movement]:
        stocks = list(Stock.objects.filter(option__in=own_options(request)).values_list("pk", flat=True))
        return Movement.objects.filter(pk__in=newest_keys(Movement.objects.filter(stock__in=stocks), COUNTED))

    def find(self, queryset: QuerySet[Movement], term: str) -> QuerySet[Movement]:
        stock_ids = list(Stock.objects.filter(option__sku=term).values_list("id", flat=True))
        if stock_ids:
            return queryset.filter(stock__in=stock_ids)
        return queryset.filter(reference__in={term, term.upper()})


from inventory import book_admin as book_admin  # noqa: E402 (a page of its own, found with this one)
