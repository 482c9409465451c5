"""The ledger on the desk: looked at, never changed; a mistake is corrected by another movement."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from inventory.models import Delivery, Kind, Movement, Stock, Stocktake
from orders.models import Order
from shop.desk.base import COUNTED, DateFilter, ReadOnlyAdmin, ReadOnlyInline, admin_url, link, moment, told
from shop.desk.owners import newest_keys, own_options
from yousinsa.language import recorded

OF_ORDERS = (Kind.RESERVE, Kind.RELEASE, Kind.SHIP, Kind.RESTOCK)


class MovementColumns:
    """A movement in a table: what each counter was moved by, and what it is since."""

    at = moment("created_at", _("at"))
    why = told("reason", _("reason"))

    @admin.display(description=_("on hand"))
    def on_hand(self, movement: Movement) -> str:
        return moved(movement.on_hand_after, movement.delta_on_hand)

    @admin.display(description=_("reserved"))
    def reserved(self, movement: Movement) -> str:
        return moved(movement.reserved_after, movement.delta_reserved)

    @admin.display(description=_("reference"))
    def cause(self, movement: Movement) -> SafeString | str:
        """What leads to the order, sheet or other half that moved it; no query."""
        if movement.kind not in OF_ORDERS:
            return _other_cause(movement.reference)
        address = f"{admin_url(Order, 'changelist')}?{urlencode({'q': movement.reference})}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, movement.reference)


def moved(after: int, delta: int) -> str:
    return f"{after} ({delta:+d})" if delta else str(after)


def causes(movements: Iterable[Movement], *, full: bool) -> dict[str, SafeString | str]:
    """What leads to the cause of each movement, by its reference; one query for all orders among them."""
    movements = list(movements)
    numbers = {movement.reference for movement in movements if movement.kind in OF_ORDERS}
    found: dict[str, SafeString | str] = {
        order.number: link(order) for order in Order.objects.filter(number__in=numbers).only("id", "number")
    }
    for reference in {movement.reference for movement in movements} - set(found):
        found[reference] = _other_cause(reference) if full else reference
    return found


def _other_cause(reference: str) -> SafeString | str:
    """A sheet's page, or the other half of a move between options."""
    word, _dash, number = reference.partition("-")
    for model in (Delivery, Stocktake):
        if word == model.__name__.upper() and number.isdecimal():
            return format_html(
                '<a href="{}" class="text-link">{}</a>', admin_url(model, "change", number), reference
            )
    if word == "MOVE":
        address = f"{admin_url(Movement, 'changelist')}?{urlencode({'q': reference})}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, reference)
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
        return Movement.objects.filter(pk__in=newest_keys(Movement.objects.filter(stock__in=stocks), COUNTED))

    def find(self, queryset: QuerySet[Movement], term: str) -> QuerySet[Movement]:
        stock_ids = list(Stock.objects.filter(option__sku=term).values_list("id", flat=True))
        if stock_ids:
            return queryset.filter(stock__in=stock_ids)
        return queryset.filter(reference__in={term, term.upper()})


Rows = list[dict[str, Any]]


def timeline(stock: Stock, *, before: int | None, size: int, full: bool) -> tuple[Rows, int | None]:
    """A page of a stock row's movements, newest first, and where the next page starts (None: at no place).

    Each row says in `broken` where its balance does not follow from the movement before it, or a number is
    missing between the two; the newest one also where the counters are not what it left behind. Only a
    `full` one leads to sheets and moves, which are of other stores' options as well.
    """
    movements = stock.movements.select_related("actor").order_by("-sequence")
    if before is not None:
        movements = movements.filter(sequence__lt=before)
    found = list(movements[: size + 1])
    page, links = found[:size], causes(found[:size], full=full)
    rows: Rows = []
    for i, movement in enumerate(page):
        older = found[i + 1] if i + 1 < len(found) else None
        broken = [_gap(movement, older)]
        if before is None and i == 0:
            broken.append(_drift(stock, movement))
        rows.append(
            {
                "movement": movement,
                "cause": links.get(movement.reference, ""),
                "why": recorded(movement.reason),
                "on_hand": moved(movement.on_hand_after, movement.delta_on_hand),
                "reserved": moved(movement.reserved_after, movement.delta_reserved),
                "available": movement.on_hand_after - movement.reserved_after,
                "broken": [text for text in broken if text],
            }
        )
    return rows, (page[-1].sequence if len(found) > size else None)


def _gap(movement: Movement, older: Movement | None) -> Any:
    sequence, on_hand, reserved = (
        (older.sequence, older.on_hand_after, older.reserved_after) if older else (0, 0, 0)
    )
    if movement.sequence != sequence + 1:
        return _("Movements %(first)d to %(last)d are missing here.") % {
            "first": sequence + 1, "last": movement.sequence - 1,
        }  # fmt: skip
    after = (on_hand + movement.delta_on_hand, reserved + movement.delta_reserved)
    if after == (movement.on_hand_after, movement.reserved_after):
        return ""
    return _(
        "This does not follow from the movement before, which left %(on_hand)d on hand, "
        "%(reserved)d reserved."
    ) % {"on_hand": on_hand, "reserved": reserved}


def _drift(stock: Stock, newest: Movement) -> Any:
    left = (newest.sequence, newest.on_hand_after, newest.reserved_after)
    if (stock.sequence, stock.on_hand, stock.reserved) == left:
        return ""
    return _("The counters differ from this: %(on_hand)d on hand, %(reserved)d reserved.") % {
        "on_hand": stock.on_hand, "reserved": stock.reserved,
    }  # fmt: skip
