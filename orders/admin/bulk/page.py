"""Runs: drafts to look at and begin, a bar while a worker is at it, a report of what could not be done.

Whoever may do something to one order may do it to many, and sees the runs of it; store owners see none.
"""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminForm

from orders.admin.bulk.shipping_list import COLUMNS, ShippingListForm
from orders.bulk import drafting
from orders.bulk.actions import ACTIONS
from orders.models import BulkRow, BulkRun
from shop.desk import uploads
from shop.desk.access.owners import may_do
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, link, moment, recorded_text
from shop.desk.operations import complaints
from yousinsa.errors import Problem

# Rows on a run's page; all of them are a list of their own.
SHOWN = 50
SECONDS_BETWEEN_LOOKS = 2


def actions_of(user: Any) -> list[str]:
    """What this user may do to many orders at once."""
    return [name for name, action in ACTIONS.items() if may_do(user, action.permission)]


def _rows_that_are(state: str) -> Subquery:
    rows = BulkRow.objects.filter(run=OuterRef("pk"), state=state).order_by().values("run")
    return Subquery(rows.annotate(count=Count("pk")).values("count"))


@admin.register(BulkRun)
class BulkRunAdmin(ReadOnlyAdmin):
    exported = {
        "id": "id", "what": "action", "status": "status", "by": "by__email", "source": "source",
        "drafted at": "created_at", "begun at": "begun_at", "finished": "finished_at",
    }  # fmt: skip
    list_display = ("__str__", "status", "done", "refused", "waiting", "by", "source", "finished")
    list_select_related = ("by",)
    list_filter = ("action", "status")
    search_fields = ("id",)
    search_help_text = _("A run's number.")
    ordering = ("-id",)
    finished = moment("finished_at", _("finished"))

    def find(self, queryset: QuerySet[BulkRun], term: str) -> QuerySet[BulkRun]:
        return queryset.filter(pk=int(term)) if term.isdecimal() and len(term) < 19 else queryset.none()

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkRun]:
        runs = BulkRun.objects.filter(action__in=actions_of(request.user)).order_by(*self.ordering)
        counts = {f"{state}_rows": _rows_that_are(state) for state in BulkRow.State.values}
        return runs.annotate(**counts)

    @admin.display(description=pgettext_lazy("bulk", "done"))
    def done(self, run: Any) -> int:
        return run.done_rows or 0

    @admin.display(description=pgettext_lazy("bulk", "refused"))
    def refused(self, run: Any) -> int:
        return run.refused_rows or 0

    @admin.display(description=pgettext_lazy("bulk", "waiting"))
    def waiting(self, run: Any) -> int:
        return run.waiting_rows or 0

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = actions_of(request.user)
        return obj.action in allowed if isinstance(obj, BulkRun) else bool(allowed)

    def get_urls(self) -> list[Any]:
        name, wrap = "orders_bulkrun", self.admin_site.admin_view
        pages = [
            path("ship/", wrap(self.ship_view), name=f"{name}_ship"),
            path("<path:object_id>/change/", wrap(self.run_view), name=f"{name}_change"),
        ]
        for step in ("begin", "discard", "again"):
            view = partial(self.step_view, step=step)
            pages.append(path(f"<path:object_id>/{step}/", wrap(view), name=f"{name}_{step}"))
        return pages + super().get_urls()

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        if BulkRun.Action.SHIP not in actions_of(request.user):
            return []
        return [{"label": gettext("Ship from a list"), "url": admin_url(BulkRun, "ship")}]

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/orders/{template}.html", {**shared, **context})

    def _run(self, request: HttpRequest, object_id: str) -> BulkRun | None:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.get_object(request, unquote(object_id))

    # --- A shipping list --------------------------------------------------------------------------------

    def ship_view(self, request: HttpRequest) -> HttpResponse:
        """Read a list into a draft: rows that are wrong are in it, with what is wrong, and are left out."""
        if BulkRun.Action.SHIP not in actions_of(request.user):
            raise PermissionDenied
        sent = (request.POST, request.FILES) if request.method == "POST" else ()
        form = ShippingListForm(*sent)
        if form.is_valid():
            try:
                run = drafting.draft_of_parcels(
                    form.parcels(), actor_id=int(request.user.pk or 0), source=form.source
                )
                self._tell_letters(request, form.cleaned_data["file"])
                return HttpResponseRedirect(admin_url(run, "change", run.pk))
            except Problem as problem:
                for field, text in complaints(problem):
                    given = field if form.cleaned_data["file"] else None
                    form.add_error(given if given in form.fields else None, text)
        context = {
            "title": gettext("Ship from a list"),
            "form": form,
            "adminform": AdminForm(form, [(None, {"fields": list(form.fields)})], {}, model_admin=self),
            "columns": list(COLUMNS),
            "most": f"{drafting.MAX_ORDERS:,}",
            "back": admin_url(BulkRun, "changelist"),
        }
        return self._page(request, "bulk_ship", context)

    def _tell_letters(self, request: HttpRequest, file: Any) -> None:
        if file and (letters := uploads.letters(file)):
            text = gettext("The file is not in UTF-8: it was read as %s. Look whether its words are right.")
            self.message_user(request, text % letters, messages.WARNING)

    # --- A run ------------------------------------------------------------------------------------------

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A draft to look at; then, loaded again every other second, how far it is; in the end the report."""
        run = self._run(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        rows = run.rows.select_related("order").order_by("place")
        special = rows.exclude(said="")
        counts = {name: run.rows.filter(state=name).count() for name in (*BulkRow.State.values,)}
        total, all_rows = sum(counts.values()), admin_url(BulkRow, "changelist")
        context = {
            "title": str(run), "original": run, "run": run, "counts": counts, "total": total,
            "decided": total - counts["waiting"],
            "special": special[:SHOWN], "more_special": max(0, special.count() - SHOWN),
            "waiting": rows.filter(state=BulkRow.State.WAITING)[:SHOWN] if run.status == "draft" else [],
            "more_waiting": max(0, counts["waiting"] - SHOWN),
            "is_own": run.by_id == request.user.pk,
            "reload_after": SECONDS_BETWEEN_LOOKS if run.status == BulkRun.Status.RUNNING else 0,
            "rows_url": f"{all_rows}?run__id__exact={run.pk}",
            "report_url": f"{all_rows}export/csv/?run__id__exact={run.pk}",
            "back": admin_url(BulkRun, "changelist"),
        }  # fmt: skip
        return self._page(request, "bulk_run", context)

    def step_view(self, request: HttpRequest, object_id: str, step: str) -> HttpResponse:
        """Begin, discard or draft again what was refused; whoever comes second learns that it was begun."""
        run = self._run(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        shown = run
        if request.method == "POST":
            try:
                if step == "begin":
                    self._begin(request, run)
                elif step == "again":
                    shown = drafting.again(run, actor_id=int(request.user.pk or 0))
                else:
                    drafting.discard(run)
                    self.message_user(request, gettext("Discarded. Nothing was changed."), messages.SUCCESS)
                    return HttpResponseRedirect(admin_url(BulkRun, "changelist"))
            except Problem as problem:
                for _field, text in complaints(problem):
                    self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(admin_url(shown, "change", shown.pk))

    def _begin(self, request: HttpRequest, run: BulkRun) -> None:
        if drafting.begin(run, actor_id=int(request.user.pk or 0)):
            self.log_change(request, run, gettext("begun"))
        else:
            self.message_user(request, gettext("It was begun already."), messages.WARNING)


@admin.register(BulkRow)
class BulkRowAdmin(ReadOnlyAdmin):
    """All rows of runs, to search and export: the report. A run's page leads here."""

    exported = {
        "run": "run", "row": "place", "order": "number", "carrier": "carrier",
        "tracking number": "tracking_number", "outcome": "state", "reason": "said", "tried at": "tried_at",
    }  # fmt: skip
    list_display = ("place", "of_order", "carrier", "tracking_number", "state", "why", "tried", "run")
    list_select_related = ("run", "order")
    list_filter = ("state",)
    links_by = ("run__id__exact",)
    search_fields = ("number",)
    search_help_text = _("An order's number, in full.")
    ordering = ("-id",)
    why = recorded_text("said", _("reason"))
    tried = moment("tried_at", _("tried at"))

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {}  # not in the index

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkRow]:
        return BulkRow.objects.filter(run__action__in=actions_of(request.user)).order_by(*self.ordering)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.admin_site.get_model_admin(BulkRun).has_view_permission(request)

    @admin.display(description=_("order"))
    def of_order(self, row: BulkRow) -> SafeString | str:
        return link(row.order) if row.order else row.number

    def find(self, queryset: QuerySet[BulkRow], term: str) -> QuerySet[BulkRow]:
        return queryset.filter(number=term.upper())
