"""Reconciliation at the desk: its runs, what they found and why, and how that is set right."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminDateWidget
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, ngettext_lazy, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminForm

from inventory.models import Difference, ReconciliationRun
from inventory.reconciliation import ESCROW, Reconciliation, Scope, causes, records
from inventory.reconciliation.requests import request_run
from inventory.selectors import stocks_of_sku
from orders.order_book import ORDERS
from shop.desk.base import ReadOnlyAdmin, ReadOnlyInline
from shop.desk.columns import admin_url, link, moment, recorded_text, text_link
from shop.desk.links import ORDER, search_link
from shop.desk.operations import OperatedAdmin, Operation, OperationForm, complaints
from shop.desk.widgets import style_field
from shop.models import Option, Store
from yousinsa.errors import Conflict, Problem
from yousinsa.language import recorded
from yousinsa.months import day_start

# What a run from the desk compares while the operator waits, in a second or two; more goes on by itself.
AT_ONCE = 5_000

# What a cause means, and what to do about it.
IN_WORDS = {
    causes.COUNTER_ALONE: _("The counter was overwritten without a movement: the ledger is right."),
    causes.COUNTER_BEHIND: _("A movement was written, but the counter did not move with it."),
    causes.MOVEMENT_MISSING: _("A movement was deleted from the ledger. Count the units."),
    causes.MOVEMENT_ALTERED: _("A movement was changed after it was written. Count the units."),
    causes.MOVEMENT_WITHOUT_ORDER: _("Units are reserved for an order that does not exist (any more)."),
    causes.ORDER_WITHOUT_MOVEMENT: _("An open order was promised units that were never reserved for it."),
    causes.SHIPPED_WITHOUT_MOVEMENT: _("An order was shipped, but its units never left the stock."),
    causes.RETURNED_WITHOUT_MOVEMENT: _("Units were returned, but never put back into the stock."),
    causes.CLOSED_STILL_HOLDING: _("An order has ended (cancelled, expired), but still holds its units."),
    causes.EXPIRED_HOLD: _("An order's hold has expired, but its units are still reserved."),
    causes.CORRECTION_UNFOUNDED: _("An earlier correction made up for something that is not wrong any more."),
    causes.NO_STOCK_ROW: _("Orders were promised an option that has no stock row: cancel them."),
}


class RunForm(forms.Form):
    """What to look at. Nothing given: the whole shop, which a worker looks at in the background."""

    required_css_class = "required"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for field in self.fields.values():
            style_field(field)

    option = forms.ModelChoiceField(
        Option.objects.all(), required=False, to_field_name="sku", label=_("SKU"),
        widget=forms.TextInput, help_text=_("One option only."),
        error_messages={"invalid_choice": _("There is no option with this SKU.")},
    )  # fmt: skip
    store = forms.ModelChoiceField(Store.objects.order_by("name"), required=False, label=_("Store"))
    since = forms.DateField(
        required=False, label=_("Moved since"), widget=AdminDateWidget,
        help_text=_("Only what moved since that day; blind to what was overwritten where nothing moved."),
    )  # fmt: skip
    full = forms.BooleanField(
        required=False, label=_("In full"), help_text=_("Read closed months again instead of their seals.")
    )

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("option") and self.cleaned_data.get("store"):
            raise forms.ValidationError(gettext("Choose an option or a store, not both."))
        return self.cleaned_data

    def scope(self) -> Scope:
        option, store, since = (self.cleaned_data[name] for name in ("option", "store", "since"))
        return Scope(
            option.pk if option else None,
            store.pk if store else None,
            day_start(since) if since else None,
            self.cleaned_data["full"],
        )


class DifferenceColumns:
    """A difference in a table."""

    @admin.display(description=_("stock"))
    def stock_link(self, difference: Difference) -> SafeString:
        if difference.stock is None:
            return link(difference.option, difference.sku)
        return link(difference.stock, difference.sku)

    @admin.display(description=_("likely cause"))
    def cause_in_words(self, difference: Difference) -> str:
        return str(IN_WORDS.get(difference.cause) or recorded(difference.cause))

    @admin.display(description=_("order"))
    def order(self, difference: Difference) -> SafeString | str:
        if not difference.order_number:
            return ""
        return search_link(ORDER, difference.order_number)

    @admin.display(description=_("fixed by"))
    def fixed(self, difference: Difference) -> SafeString | str:
        if difference.fixed_by is None:
            return ""
        text = gettext("movement %s") % difference.fixed_by.sequence
        return link(difference.fixed_by, text)


class DifferenceInline(DifferenceColumns, ReadOnlyInline):
    model = Difference
    verbose_name_plural = _("differences: the first ones")
    fields = ("page", "stock_link", "kind", "expected", "found", "cause_in_words", "order", "fixed")
    readonly_fields = ("page", "stock_link", "cause_in_words", "order", "fixed")
    ordering = ("id",)
    select_related = ("stock__option__product", "option__product", "fixed_by")

    @admin.display(description=_("no."))
    def page(self, difference: Difference) -> SafeString:
        return link(difference, difference.pk)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    """Every run, by command or from here, with what it found."""

    inlines = (DifferenceInline,)
    list_display = ("started", "scope", "state", "checked", "found", "fixed", "by")
    list_select_related = ("by",)
    list_filter = ("status",)
    search_fields = ("scope",)
    search_help_text = _("What was looked at: whole shop, option 12, store 3.")
    ordering = ("-id",)
    fields = (
        "scope", "state", "by", "started_at", "finished_at", "checked", "found", "fixed", "problem",
        "all_differences",
    )  # fmt: skip
    readonly_fields = ("state", "problem", "all_differences")
    started = moment("started_at", _("started"))
    problem = recorded_text("error", _("error"))

    @admin.display(description=_("status"))
    def state(self, run: ReconciliationRun) -> str:
        if run.silent:
            return gettext("interrupted")
        if run.unclaimed:
            return gettext("requested; no worker is running: start run_worker")
        return run.get_status_display()

    @admin.display(description=_("differences"))
    def all_differences(self, run: ReconciliationRun) -> SafeString | str:
        if not run.found:
            return gettext("None.")
        address = f"{admin_url(Difference, 'changelist')}?run__id__exact={run.pk}"
        return text_link(address, _("all differences of this run, to fix them"))

    def find(self, queryset: QuerySet[ReconciliationRun], term: str) -> QuerySet[ReconciliationRun]:
        return queryset.filter(scope__istartswith=term)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("inventory.run_reconciliation")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.run_view)
        return [path("run/", view, name="inventory_reconciliationrun_run"), *super().get_urls()]

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.has_run_permission(request):
            return []
        return [{"label": gettext("Run now"), "url": admin_url(ReconciliationRun, "run")}]

    def run_view(self, request: HttpRequest) -> HttpResponse:
        """Asks what to look at, and looks: at once where it is little, else a worker does."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        form = RunForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                return self._run(request, form.scope())
            except Problem as problem:
                for _field, text in complaints(problem):
                    form.add_error(None, text)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Run reconciliation now"),
            "form": form,
            "adminform": AdminForm(form, [(None, {"fields": list(form.fields)})], {}, model_admin=self),
            "media": self.media + form.media,
            "back": admin_url(ReconciliationRun, "changelist"),
        }
        return TemplateResponse(request, "admin/inventory/run_now.html", context)

    def _run(self, request: HttpRequest, scope: Scope) -> HttpResponse:
        actor_id = int(request.user.pk or 0)
        if scope == Scope(full=scope.full):
            run = request_run(actor_id=actor_id, full=scope.full)
            text = gettext(
                "A worker makes the run in the background. Load this page again to see how far it is."
            )
            self.message_user(request, text, messages.SUCCESS)
            return HttpResponseRedirect(admin_url(run, "change", run.pk))
        if Reconciliation(ORDERS, scope).total() > AT_ONCE:
            raise Conflict(
                gettext("That is more than %d stock rows: run the whole shop, or reconcile_stock.") % AT_ONCE
            )
        run = records.begin(scope, actor_id=actor_id)
        records.compare(run, ORDERS, scope)
        checked = ngettext("%d stock row checked.", "%d stock rows checked.", run.checked) % run.checked
        found = ngettext("%d difference found.", "%d differences found.", run.found) % run.found
        level = messages.WARNING if run.found else messages.SUCCESS
        self.message_user(request, f"{checked} {found}", level)
        return HttpResponseRedirect(admin_url(run, "change", run.pk))


class FixForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        self.record.refresh_from_db()
        if self.record.fixed_by_id is not None:
            return  # with another difference of the same stock row
        done = records.fix(self.record, ORDERS, actor_id=actor_id)
        if done is None:
            self.warning = gettext("nothing to correct any more: the stock row is right by now.")
        else:
            self.result = gettext("Movement %(no)d: %(why)s") % {"no": done.sequence, "why": done.reason}


FIX = Operation(
    name="fix",
    permission="inventory.fix_differences",
    label=_("fix"),
    explanation=_(
        "The stock row is compared once more, under its lock, and set right by one movement of the kind "
        "`correct`, which says what was off. On hand then is what the ledger says: where movements were "
        "missing or altered, count the units."
    ),
    done=_("fixed."),
    form=FixForm,
    possible=lambda difference: (
        difference.stock_id is not None and difference.fixed_by_id is None and difference.kind != ESCROW
    ),
    action=_("Fix selected differences"),
    done_many=ngettext_lazy("%d difference fixed.", "%d differences fixed."),
    asks=True,
)


@admin.register(Difference)
class DifferenceAdmin(DifferenceColumns, OperatedAdmin, ReadOnlyAdmin):
    """What differed, why, as likely as can be said, and what set it right."""

    operations = (FIX,)
    list_display = ("sku", "kind", "expected", "found", "cause_in_words", "order", "fixed", "run")
    list_select_related = ("run", "fixed_by")
    list_filter = (("fixed_by", admin.EmptyFieldListFilter), "kind")
    search_fields = ("sku",)
    search_help_text = _("An SKU, or an order's number, in full.")
    ordering = ("-id",)
    fields = ("run", "stock_link", "kind", "expected", "found", "cause_in_words", "order", "fixed")
    readonly_fields = ("stock_link", "cause_in_words", "order", "fixed")
    facts_related = ("stock",)

    def name(self, record: Difference) -> str:
        return f"{record.sku}, {record.kind}"

    def facts(self, record: Difference, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [
            (_("expected"), record.expected),
            (pgettext_lazy("value", "found"), record.found),
            (_("likely cause"), self.cause_in_words(record)),
        ]

    def find(self, queryset: QuerySet[Difference], term: str) -> QuerySet[Difference]:
        if stocks := stocks_of_sku(term):
            return queryset.filter(stock__in=stocks)
        return queryset.filter(order_number=term.upper())
