"""A drop: edited until it opens, run by operations from then on, watched by numbers that refresh."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from inventory.models import Stock
from orders.admin.drops.operations import CLOSE, OPEN, PAUSE, REBUILD, RESUME
from orders.drops.audit.observe import Numbers, numbers
from orders.drops.locks import lock_items
from orders.drops.planning import MAX_ITEMS
from orders.models.drops import DeadLetter, Drop, DropItem, DropStatus, Lane
from shop.desk.columns import admin_url, moment
from shop.desk.operations import OperatedAdmin, Operation
from yousinsa.errors import Conflict


class DropForm(forms.ModelForm):
    class Meta:
        model = Drop
        fields = ("name", "lane", "opens_at", "closes_at", "limit_per_customer", "admission_rate")

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        opens, closes = values.get("opens_at"), values.get("closes_at")
        if opens and closes and closes <= opens:
            self.add_error("closes_at", gettext("Must be later than the opening."))
        if values.get("admission_rate") and values.get("lane") == Lane.GROUP_COMMIT:
            text = gettext("The queue is kept in Redis: choose a lane on Redis, or leave this out.")
            self.add_error("admission_rate", text)
        return values


class ItemFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        """A drop sells something, each option once, and only what is kept in stock."""
        super().clean()
        for form in self.forms:
            option = (getattr(form, "cleaned_data", None) or {}).get("option")
            if option and not Stock.objects.filter(option=option).exists():
                form.add_error("option", gettext("This option is not kept in stock."))


class ItemInline(TabularInline):
    model = DropItem
    formset = ItemFormSet
    fields = ("option", "price", "allotted", "applied", "returned", "left")
    readonly_fields = ("applied", "returned", "left")
    autocomplete_fields = ("option",)
    extra = 0
    min_num = 1
    validate_min = True
    max_num = MAX_ITEMS

    def get_queryset(self, request: HttpRequest) -> QuerySet[DropItem]:
        return super().get_queryset(request).select_related("option__product")

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, **{"validate_min": True, **kwargs})

    @admin.display(description=_("in escrow"))
    def left(self, item: DropItem) -> int | None:
        return item.left if item.pk else None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_add_permission(request, obj) and _is_planned(obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _is_planned(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _is_planned(obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


def _is_planned(drop: Drop | None) -> bool:
    return drop is None or drop.status == DropStatus.SCHEDULED


LABELS = {
    "sold": _("sold"),
    "pending": _("accepted, not written yet"),
    "remaining": _("remaining"),
    "refused": _("attempts refused"),
    "queued": _("attempts sent to the queue"),
    "waiting": _("shoppers in the queue"),
    "lag": _("stream lag (orders)"),
    "dead_letters": _("dead letters"),
    "unaccounted": _("units unaccounted for"),
    "redis": _("gate in Redis"),
}


def shown(seen: Numbers) -> dict[str, str]:
    """The numbers as the page shows them; a dash for what is not known."""
    return {name: "–" if value in (None, "") else str(value) for name, value in seen._asdict().items()}


@admin.register(Drop)
class DropAdmin(OperatedAdmin):
    """A drop is edited until it opens; from then on it is run by operations."""

    form = DropForm
    inlines = (ItemInline,)
    operations = (OPEN, PAUSE, RESUME, CLOSE, REBUILD)
    change_form_template = "admin/orders/drop_change_form.html"
    list_display = ("name", "status", "paused", "lane", "opens", "closes", "sold", "problem")
    list_select_related = ("items",)
    list_filter = ("status",)
    search_fields = ("name",)
    search_help_text = _("Beginning of the name.")
    ordering = ("-id",)
    fields = (
        "name", "lane", "opens_at", "closes_at", "limit_per_customer", "admission_rate", "status", "paused",
        "problem",
    )  # fmt: skip
    planned = ("name", "lane", "opens_at", "closes_at", "limit_per_customer", "admission_rate")
    readonly_fields = ("status", "paused", "problem")
    opens = moment("opens_at", _("opens at"))
    closes = moment("closes_at", _("closes at"))

    class Media:
        js = ("orders/drop_numbers.js",)

    @admin.display(description=_("sold"))
    def sold(self, drop: Drop) -> str:
        items = drop.items.all()
        return f"{sum(item.applied for item in items)} / {sum(item.allotted for item in items)}"

    def find(self, queryset: QuerySet[Drop], term: str) -> QuerySet[Drop]:
        return queryset.filter(name__istartswith=term)

    def facts(self, record: Drop, operation: Operation) -> Sequence[tuple[Any, Any]]:
        seen = shown(numbers(record))
        return [(_("status"), record.get_status_display())] + [
            (LABELS[name], seen[name]) for name in ("sold", "pending", "remaining")
        ]

    # --- The form ----------------------------------------------------------------------------------------

    def get_readonly_fields(self, request: HttpRequest, obj: Drop | None = None) -> tuple[str, ...]:
        return self.readonly_fields if _is_planned(obj) else (*self.planned, *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Drop, form: Any, change: bool) -> None:
        """Under the drop's lock: its time may come while an operator types."""
        if change:
            lock_items([obj.pk])
            if Drop.objects.get(pk=obj.pk).status != DropStatus.SCHEDULED:
                raise Conflict(gettext("The drop has opened meanwhile. Nothing was saved."))
        super().save_model(request, obj, form, change)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Conflict as refusal:
            self.message_user(request, str(refusal.detail), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def has_delete_permission(self, request: HttpRequest, obj: Drop | None = None) -> bool:
        """Only a plan is deleted; what has sold something stays."""
        return super().has_delete_permission(request, obj) and obj is not None and _is_planned(obj)

    # --- Numbers that refresh ----------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.numbers_view)
        return [path("<path:object_id>/numbers/", view, name="orders_drop_numbers"), *super().get_urls()]

    def numbers_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        drop = self.get_object(request, unquote(object_id))
        if drop is None:
            raise Http404
        state = drop.get_status_display() if not drop.paused else gettext("paused")
        return JsonResponse({"status": str(state), "problem": drop.problem, **shown(numbers(drop))})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        drop = context.get("original")
        if drop is not None and drop.status != DropStatus.SCHEDULED:
            seen = shown(numbers(drop))
            context["numbers"] = [(name, label, seen[name]) for name, label in LABELS.items()]
            context["numbers_url"] = admin_url(Drop, "numbers", drop.pk)
            context["dead_letters_url"] = f"{admin_url(DeadLetter, 'changelist')}?q={drop.pk}"
        return super().render_change_form(request, context, *args, **kwargs)
