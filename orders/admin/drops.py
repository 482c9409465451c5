"""Drops on the desk: planned in a form, run by operations, watched by numbers that refresh."""

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
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from inventory.models import Stock
from orders.drops import services
from orders.drops.audit.observe import Numbers, numbers
from orders.drops.audit.rebuild import rebuild
from orders.drops.locks import lock_items
from orders.drops.planning import MAX_ITEMS
from orders.models.drops import DeadLetter, Drop, DropItem, DropRelease, DropStatus, DropTally, Lane
from shop.admin.catalog import option_ids
from shop.desk.base import DeskAdmin, ReadOnlyAdmin, admin_url, link, moment, won
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from yousinsa.errors import Conflict

# --- What operators do to a drop -------------------------------------------------------------------------


class OpenForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.open_drop(self.record.pk, actor_id=actor_id)


class PauseForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.pause_drop(self.record.pk)


class ResumeForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.resume_drop(self.record.pk)


class CloseForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        if not services.close_drop(self.record.pk, actor_id=actor_id):
            self.warning = gettext("closed; it is settled as soon as the rest of its orders is written.")


class RebuildForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        rebuilt = rebuild(self.record.pk)
        self.result = gettext("open again, %(left)d units left, %(lost)d units unaccounted for.") % {
            "left": sum(rebuilt.left.values()),
            "lost": rebuilt.unaccounted,
        }


def _is(*statuses: DropStatus, paused: bool | None = None) -> Any:
    return lambda drop: drop.status in statuses and paused in (None, drop.paused)


OPEN = Operation(
    name="open",
    label=_("open now"),
    explanation=_("The allotment is set aside from what is available, and the sale begins at once."),
    done=_("open."),
    form=OpenForm,
    possible=_is(DropStatus.SCHEDULED),
    action=_("Open selected drops now"),
    done_many=ngettext_lazy("%d drop opened.", "%d drops opened."),
    asks=True,
)
PAUSE = Operation(
    name="pause",
    label=_("pause"),
    explanation=_("Nothing is sold until it is resumed. Orders that were accepted go on."),
    done=_("paused."),
    form=PauseForm,
    possible=_is(DropStatus.OPEN, paused=False),
    action=_("Pause selected drops"),
    done_many=ngettext_lazy("%d drop paused.", "%d drops paused."),
)
RESUME = Operation(
    name="resume",
    label=_("resume"),
    explanation=_("The sale goes on with what is left."),
    done=_("selling again."),
    form=ResumeForm,
    possible=_is(DropStatus.OPEN, paused=True),
    action=_("Resume selected drops"),
    done_many=ngettext_lazy("%d drop resumed.", "%d drops resumed."),
)
CLOSE = Operation(
    name="close",
    label=_("close"),
    explanation=_(
        "This cannot be undone. Orders that were accepted are written; what is left of the allotment is "
        "available again."
    ),
    done=_("closed and settled."),
    form=CloseForm,
    possible=_is(DropStatus.SCHEDULED, DropStatus.OPEN, DropStatus.CLOSED),
    action=_("Close selected drops"),
    done_many=ngettext_lazy("%d drop closed.", "%d drops closed."),
    asks=True,
)
REBUILD = Operation(
    name="rebuild",
    label=_("rebuild counters"),
    explanation=_(
        "For a drop that Redis lost or that is not to be believed. It is shut, its accepted orders are "
        "written, its counters and limits are computed from the database, and it is opened again."
    ),
    done=_("open again."),
    form=RebuildForm,
    possible=lambda drop: drop.on_redis and drop.status == DropStatus.OPEN,
)


# --- A drop ---------------------------------------------------------------------------------------------


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
    change_form_template = "admin/drop_change_form.html"
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


# --- What is only looked at -----------------------------------------------------------------------------


@admin.register(DropItem)
class DropItemAdmin(ReadOnlyAdmin):
    list_display = ("option", "of_drop", "price_won", "allotted", "applied", "returned", "epoch")
    list_select_related = ("drop", "option")
    search_fields = ("option",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("drop", "option", "price_won", "allotted", "applied", "returned", "epoch")
    readonly_fields = ("price_won", "applied", "returned", "epoch")

    @admin.display(description=_("drop"))
    def of_drop(self, item: DropItem) -> Any:
        return link(item.drop)

    @admin.display(description=_("drop price (won)"))
    def price_won(self, item: DropItem) -> str:
        return won(item.price)

    def find(self, queryset: QuerySet[DropItem], term: str) -> QuerySet[DropItem]:
        return queryset.filter(option__in=option_ids(term))


class OfDrop(DeskAdmin):
    """Rows of a drop, the newest first."""

    list_select_related = ("drop",)
    ordering = ("-id",)

    @admin.display(description=_("drop"))
    def of_drop(self, row: Any) -> Any:
        return link(row.drop)


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
    list_display = ("number", "of_drop", "buyer_id", "units", "at", "told")
    at = moment("created_at", _("decided at"))
    told = moment("told_at", _("told to Redis at"))
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
