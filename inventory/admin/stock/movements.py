"""The ledger on the desk: looked at, never changed; a mistake is corrected by another movement."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from inventory.models import Delivery, Kind, Movement, Stock, Stocktake
from inventory.selectors import stocks_of_sku
from shop.desk.access.owners import own_options
from shop.desk.base import DateFilter, ReadOnlyAdmin, ReadOnlyInline
from shop.desk.bounds import newest_keys
from shop.desk.columns import admin_url, link, moment, recorded_text, text_link
from shop.desk.links import ORDER, search_link

OF_ORDERS = (Kind.RESERVE, Kind.RELEASE, Kind.SHIP, Kind.RESTOCK)


class MovementColumns:
    """A movement in a table: what each counter was moved by, and what it is since."""

    at = moment("created_at", _("at"))
    why = recorded_text("reason", _("reason"))

    @admin.display(description=_("on hand"))
    def on_hand(self, movement: Movement) -> str:
        return balance(movement.on_hand_after, movement.delta_on_hand)

    @admin.display(description=_("reserved"))
    def reserved(self, movement: Movement) -> str:
        return balance(movement.reserved_after, movement.delta_reserved)

    @admin.display(description=_("reference"))
    def cause(self, movement: Movement) -> SafeString | str:
        """What leads to the order, document or other half that moved it; no query."""
        if movement.kind not in OF_ORDERS:
            return cause_link(movement.reference)
        return search_link(ORDER, movement.reference)


def balance(after: int, delta: int) -> str:
    return f"{after} ({delta:+d})" if delta else str(after)


def cause_link(reference: str) -> SafeString | str:
    """What leads to the document behind a reference, or to both halves of a move between options."""
    word, _dash, number = reference.partition("-")
    for model in (Delivery, Stocktake):
        if word == model.__name__.upper() and number.isdecimal():
            return text_link(admin_url(model, "change", number), reference)
    if word == "MOVE":
        address = f"{admin_url(Movement, 'changelist')}?{urlencode({'q': reference})}"
        return text_link(address, reference)
    return reference


class MovementInline(MovementColumns, ReadOnlyInline):
    model = Movement
    verbose_name_plural = _("timeline: newest movements")
    fields = ("at", "kind", "on_hand", "reserved", "cause", "actor", "why")
    readonly_fields = ("at", "on_hand", "reserved", "cause", "why")
    ordering = ("-sequence",)
    select_related = ("actor",)
    owned_by = "stock__option__product__store"
    hidden_from_owners = frozenset({"actor"})


@admin.register(Movement)
class MovementAdmin(MovementColumns, ReadOnlyAdmin):
    owned_by = "stock__option__product__store"
    hidden_from_owners = frozenset({"actor"})
    exported = {
        "id": "id", "sku": "stock__option__sku", "no.": "sequence", "kind": "kind",
        "on hand +/-": "delta_on_hand", "reserved +/-": "delta_reserved", "on hand after": "on_hand_after",
        "reserved after": "reserved_after", "reference": "reference", "actor": "actor__email",
        "reason": "reason", "at": "created_at",
    }  # fmt: skip
    list_display = ("at", "sku", "kind", "on_hand", "reserved", "cause", "actor", "why")
    list_select_related = ("stock__option", "actor")
    list_filter = ("kind", ("created_at", DateFilter))
    search_fields = ("reference",)
    search_help_text = _("An SKU, or a reference such as an order's number, in full.")
    ordering = ("-id",)
    fields = (
        "created_at", "stock_link", "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after",
        "reserved_after", "reference", "actor", "why",
    )  # fmt: skip
    readonly_fields = ("stock_link", "why")

    @admin.display(description=_("SKU"))
    def sku(self, movement: Movement) -> str:
        return movement.stock.option.sku

    @admin.display(description=_("stock"))
    def stock_link(self, movement: Movement) -> SafeString:
        return link(movement.stock, movement.stock.option.sku)

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[Movement]:
        stocks = list(Stock.objects.filter(option__in=own_options(request)).values_list("pk", flat=True))
        return Movement.objects.filter(pk__in=newest_keys(Movement.objects.filter(stock__in=stocks)))

    def find(self, queryset: QuerySet[Movement], term: str) -> QuerySet[Movement]:
        if stocks := stocks_of_sku(term):
            return queryset.filter(stock__in=stocks)
        return queryset.filter(reference__in={term, term.upper()})
