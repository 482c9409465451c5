"""Stock on the desk: counters that nobody types over, what changes them, and each option's timeline.

Counters change by movements only. A form that saved an absolute figure would undo every sale that happened
while an operator was looking at it.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminForm

from inventory import documents
from inventory.admin.stock.changes import CHANGES, Change, ChangeForm
from inventory.admin.stock.filters import AvailabilityFilter
from inventory.admin.stock.movements import MovementInline
from inventory.admin.stock.timeline import timeline
from inventory.errors import StockMoved
from inventory.models import Delivery, Movement, Stock, Stocktake
from shop.desk.access.owners import may_do, sees_own_only
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, link, stacked, text_link
from shop.desk.operations import complaints
from shop.selectors import find_options
from yousinsa.errors import Problem
from yousinsa.language import recorded

# Movements on a page of a timeline.
TIMELINE_PAGE = 100
COUNT = "inventory.count_stock"


@admin.register(Stock)
class StockAdmin(ReadOnlyAdmin):
    """A row an option, made with the option. What changes it is a movement."""

    change_form_template = "admin/operated_change_form.html"
    owned_by = "option__product__store"
    inlines = (MovementInline,)
    actions = ("count_selected",)
    exported = {
        "sku": "option__sku", "product": "option__product__name", "size": "option__size",
        "colour": "option__color", "on hand": "on_hand", "reserved": "reserved",
        "available": F("on_hand") - F("reserved"), "movements": "sequence",
    }  # fmt: skip
    list_display = ("sku", "article", "on_hand", "reserved", "available")
    list_select_related = ("option__product",)
    list_filter = (AvailabilityFilter,)
    search_fields = ("option",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("option", "product", "on_hand", "reserved", "available", "sequence", "all_movements")
    readonly_fields = ("product", "available", "sequence", "all_movements")

    @admin.display(description=_("product"))
    def product(self, stock: Stock) -> SafeString:
        return link(stock.option.product)

    @admin.display(description=_("SKU"))
    def sku(self, stock: Stock) -> str:
        return stock.option.sku

    @admin.display(description=_("product"))
    def article(self, stock: Stock) -> SafeString:
        option = stock.option
        return stacked(link(option.product), " · ".join(filter(None, [option.size, option.color])))

    @admin.display(description=_("available"))
    def available(self, stock: Stock) -> int:
        return stock.available

    @admin.display(description=_("ledger"))
    def all_movements(self, stock: Stock) -> SafeString:
        address = f"{admin_url(Movement, 'changelist')}?stock__id__exact={stock.pk}"
        return format_html(
            "{} · {}",
            text_link(admin_url(stock, "timeline", stock.pk), _("timeline of all movements")),
            text_link(address, _("as a list, to filter and export")),
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        """With links to each row's timeline and to what the operator may do to it."""
        pages = [("timeline", _("timeline"))]
        pages += [(change.name, change.label) for change in CHANGES if change.is_open_to(request.user)]

        @admin.display(description=_("movements"))
        def movements(stock: Stock) -> SafeString:
            links = ((text_link(admin_url(stock, name, stock.pk), label),) for name, label in pages)
            return format_html('<span class="nowrap">{}</span>', format_html_join(" · ", "{}", links))

        return [*super().get_list_display(request), movements]

    def find(self, queryset: QuerySet[Stock], term: str) -> QuerySet[Stock]:
        return queryset.filter(option__in=find_options(term))

    # --- Where things are ---------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        pages: list[tuple[str, Any]] = [
            (change.name, partial(self.change_stock_view, change=change)) for change in CHANGES
        ]
        pages += [("count", self.count_view), ("timeline", self.timeline_view)]
        return [
            path(
                f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"inventory_stock_{name}"
            )
            for name, view in pages
        ] + super().get_urls()

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        imports = (
            ("inventory.receive_stock", Delivery, gettext("Import receipts")),
            (COUNT, Stocktake, gettext("Import a stocktake")),
        )
        return [
            {"label": label, "url": admin_url(model, "import")}
            for permission, model, label in imports
            if may_do(request.user, permission)
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        stock = context["original"]
        pages = [(change.name, change.label) for change in CHANGES if change.is_open_to(request.user)]
        if may_do(request.user, COUNT):
            pages.append(("count", _("count")))
        pages.append(("timeline", _("timeline")))
        context["operations"] = [
            {"label": label, "url": admin_url(stock, name, quote(stock.pk))} for name, label in pages
        ]
        return super().render_change_form(request, context, *args, **kwargs)

    def _stock(self, request: HttpRequest, object_id: str, *, may: bool = True) -> Stock | None:
        """The stock row, for whoever `may` do what they came for. Raises `PermissionDenied`."""
        if not (may and self.has_view_permission(request)):
            raise PermissionDenied
        return self.get_object(request, unquote(object_id))

    def _missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)

    def _page(
        self, request: HttpRequest, template: str, stock: Stock, label: Any, context: dict[str, Any]
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        back, sku = admin_url(stock, "change", quote(stock.pk)), stock.option.sku
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "stock": stock,
            "title": f"{capfirst(label)}: {sku}",
            "original": stock,
            "back": back,
        }
        return TemplateResponse(request, f"admin/inventory/{template}.html", {**shared, **context})

    # --- Receive, adjust, move: form, preview, change ---------------------------------------------------

    def change_stock_view(self, request: HttpRequest, object_id: str, change: Change) -> HttpResponse:
        stock = self._stock(request, object_id, may=change.is_open_to(request.user))
        if stock is None:
            return self._missing(request, object_id)
        if request.method != "POST":
            return self._form(request, change, change.form(record=stock))
        form = change.form(request.POST, record=stock)
        if not form.is_valid() or "again" in request.POST:
            return self._form(request, change, form)
        if "confirm" not in request.POST:
            return self._preview(request, change, form)
        return self._apply(request, change, form)

    def _form(self, request: HttpRequest, change: Change, form: Any) -> HttpResponse:
        styled = AdminForm(form, [(None, {"fields": list(form.fields)})], {}, model_admin=self)
        context = {"change": change, "form": form, "adminform": styled, "media": self.media + form.media}
        return self._page(request, "change", form.record, change.label, context)

    def _preview(
        self, request: HttpRequest, change: Change, form: ChangeForm, refused: Any = ""
    ) -> HttpResponse:
        """What the change would do to what is there now. A change that does not fit goes back to its form."""
        if not form.check_amount():
            return self._form(request, change, form)
        moves = form.moves()
        context = {
            "change": change,
            "form": form,
            "rows": [
                {"stock": stock, "delta": f"{delta:+d}", "on_hand": stock.on_hand + delta,
                 "available": stock.available + delta}
                for stock, delta in moves
            ],
            "seen": ",".join(str(stock.sequence) for stock, _delta in moves),
            "reason": recorded(form.words()),
            "refused": refused,
        }  # fmt: skip
        return self._page(request, "preview", form.record, change.label, context)

    def _apply(self, request: HttpRequest, change: Change, form: ChangeForm) -> HttpResponse:
        stock, actor_id = form.record, int(request.user.pk or 0)
        seen = [int(n) for n in request.POST.get("seen", "").split(",") if n.isdecimal() and len(n) < 19]
        if len(seen) != len(form.moves()):
            return self._preview(request, change, form)
        try:
            form.apply(seen=seen, actor_id=actor_id)
        except StockMoved:
            if not form.was_done(seen=seen, actor_id=actor_id):
                text = gettext(
                    "Nothing was changed: the stock has moved since you looked. "
                    "These are the present numbers."
                )
                # Read anew: `record` and what the form found are from before the refusal.
                form = change.form(request.POST, record=self._fresh(stock))
                form.is_valid()
                return self._preview(request, change, form, refused=text)
            text = gettext("This form was sent twice; the second time did nothing.")
            self.message_user(request, text, messages.WARNING)
        except Problem as problem:
            for field, said in complaints(problem):
                form.add_error(field if field in form.fields else None, said)
            return self._form(request, change, form)
        else:
            self._report(request, change, form)
        return HttpResponseRedirect(admin_url(stock, "change", quote(stock.pk)))

    def _fresh(self, stock: Stock) -> Stock:
        return Stock.objects.select_related("option__product").get(pk=stock.pk)

    def _report(self, request: HttpRequest, change: Change, form: ChangeForm) -> None:
        for before, delta in form.moves():
            stock = self._fresh(before)
            self.log_change(request, stock, change.logged % {"delta": f"{delta:+d}"})
            text = gettext("%(sku)s: %(delta)s. %(on_hand)d on hand, %(available)d available now.") % {
                "sku": stock.option.sku, "delta": f"{delta:+d}", "on_hand": stock.on_hand,
                "available": stock.available,
            }  # fmt: skip
            self.message_user(request, text, messages.SUCCESS)

    # --- Counting ---------------------------------------------------------------------------------------

    def count_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Counting begins with the button: what is on hand then is what the count is compared with."""
        stock = self._stock(request, object_id, may=may_do(request.user, COUNT))
        if stock is None:
            return self._missing(request, object_id)
        if request.method == "POST":
            return self._begin(request, [stock.pk], admin_url(stock, "change", quote(stock.pk)))
        return self._page(request, "count", stock, _("count"), {})

    @admin.action(description=_("Count selected options"), permissions=["count"])
    def count_selected(self, request: HttpRequest, queryset: QuerySet[Stock]) -> HttpResponse:
        return self._begin(request, queryset.order_by().values_list("pk", flat=True), request.get_full_path())

    def has_count_permission(self, request: HttpRequest) -> bool:
        return may_do(request.user, COUNT)

    def _begin(self, request: HttpRequest, stock_ids: Iterable[int], back: str) -> HttpResponse:
        try:
            stocktake = documents.begin_stocktake(stock_ids=stock_ids, actor_id=int(request.user.pk or 0))
        except Problem as problem:
            for _field, text in complaints(problem):
                self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(back)
        return HttpResponseRedirect(admin_url(stocktake, "change", stocktake.pk))

    # --- Timeline ---------------------------------------------------------------------------------------

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        stock = self._stock(request, object_id)
        if stock is None:
            return self._missing(request, object_id)
        before = request.GET.get("before", "")
        start = int(before) if before.isdecimal() and len(before) < 19 else None
        full = not sees_own_only(request.user)
        rows, more = timeline(stock, before=start, size=TIMELINE_PAGE, full=full)
        context = {
            "rows": rows,
            "full": full,
            "older": f"?before={more}" if more is not None else "",
            "newest": request.path if start is not None else "",
        }
        if self.admin_site.get_model_admin(Movement).has_view_permission(request):
            context["export"] = f"{admin_url(Movement, 'export', 'csv')}?stock__id__exact={stock.pk}"
        return self._page(request, "timeline", stock, _("timeline"), context)
