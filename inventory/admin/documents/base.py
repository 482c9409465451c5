"""What deliveries and stocktakes share on the desk: read from a file, looked at by line, applied once."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminForm
from unfold.widgets import UnfoldAdminFileFieldWidget

from inventory import documents
from inventory.admin.documents import rows
from inventory.models import StockDocument
from inventory.selectors import stocks_of_sku
from shop.desk import uploads
from shop.desk.access.owners import may_do
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, link, moment
from shop.desk.operations import complaints
from yousinsa.errors import Problem

LINES_PAGE = 50
# Lines that cannot be applied, named above the others.
TROUBLES = 20
LOGGED = {"apply": _("applied"), "discard": _("discarded")}


class UploadForm(forms.Form):
    file = forms.FileField(
        label=_("File"),
        widget=UnfoldAdminFileFieldWidget(),
        help_text=_("CSV (UTF-8) or XLSX; its first row names the columns."),
    )


class DocumentAdmin(ReadOnlyAdmin):
    """A kind of stock document. Its page shows each line before and after; its buttons apply or discard it.

    A document is of many stores' options, and so none of a store owner's business.
    """

    permission = ""
    apply: Callable[..., int]
    row_rules: type[rows.Rows]
    # By how much a line moves what is on hand.
    units: Any
    import_label: Any = ""
    import_help: Any = ""
    exported = {
        "id": "id", "status": "status", "file": "source", "begun at": "created_at",
        "begun by": "created_by__email", "ended at": "ended_at", "ended by": "ended_by__email",
    }  # fmt: skip
    list_display = ("reference", "status", "created_by", "begun", "ended", "ended_by", "source")
    list_select_related = ("created_by", "ended_by")
    list_filter = ("status",)
    search_fields = ("id",)
    search_help_text = _("A reference or its number.")
    ordering = ("-id",)
    begun = moment("created_at", _("begun at"))
    ended = moment("ended_at", _("ended at"))

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        number = term.rpartition("-")[2]
        return queryset.filter(pk=int(number)) if number.isdecimal() and len(number) < 19 else queryset.none()

    def may_change(self, request: HttpRequest) -> bool:
        return may_do(request.user, self.permission)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may fill one in may look at all of them."""
        return super().has_view_permission(request, obj) or self.may_change(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        name, wrap = f"inventory_{self.opts.model_name}", self.admin_site.admin_view
        pages = [
            path("import/", wrap(self.import_view), name=f"{name}_import"),
            path("<path:object_id>/change/", wrap(self.document_view), name=f"{name}_change"),
        ]
        for step in ("apply", "discard"):
            view = partial(self.end_view, step=step)
            pages.append(path(f"<path:object_id>/{step}/", wrap(view), name=f"{name}_{step}"))
        return pages + super().get_urls()

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.may_change(request):
            return []
        return [{"label": self.import_label, "url": admin_url(self.model, "import")}]

    def page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/inventory/{template}.html", {**shared, **context})

    def report(self, request: HttpRequest, problem: Problem) -> None:
        for _field, text in complaints(problem):
            self.message_user(request, text, messages.ERROR)

    def document(self, request: HttpRequest, object_id: str, *, to_change: bool = False) -> Any:
        """The document that an address names, or None. Raises PermissionDenied."""
        if not (self.may_change(request) if to_change else self.has_view_permission(request)):
            raise PermissionDenied
        return self.get_object(request, unquote(object_id))

    def missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)

    # --- From a file ------------------------------------------------------------------------------------

    def import_view(self, request: HttpRequest, object_id: str = "") -> HttpResponse:
        """Read a file into a draft. A file with one wrong row makes none: all wrong rows are named."""
        document = self.document(request, object_id, to_change=True) if object_id else None
        if not self.may_change(request):
            raise PermissionDenied
        if object_id and document is None:
            return self.missing(request, object_id)
        form = UploadForm(request.POST or None, request.FILES or None)
        errors: list[rows.RowError] = []
        count = 0
        if request.method == "POST" and form.is_valid():
            upload = form.cleaned_data["file"]
            try:
                good, errors, count = rows.read(self.resource(document), uploads.rows(upload))
                if not count:
                    done = self.draft(
                        document, good, actor_id=int(request.user.pk or 0), source=upload.name[:100]
                    )
                    return HttpResponseRedirect(self.preview_url(done))
            except Problem as problem:
                for field, text in complaints(problem):
                    form.add_error(field if field in form.fields else None, text)
        label = capfirst(self.import_label)
        styled = AdminForm(form, [(None, {"fields": ["file"]})], {}, model_admin=self)
        back = admin_url(document, "change", document.pk) if document else admin_url(self.model, "changelist")
        context = {
            "title": label, "original": document, "form": form, "adminform": styled,
            "errors": errors, "count": count, "more": count - len(errors), "help": self.import_help,
            "columns": self.row_rules.columns,
            "optional": self.row_rules.optional, "most": f"{uploads.MAX_ROWS:,}",
            "size": uploads.MAX_BYTES // 1024 // 1024,
            "back": back,
        }  # fmt: skip
        return self.page(request, "import", context)

    def resource(self, document: Any) -> rows.Rows:
        return self.row_rules()

    def draft(self, document: Any, good: list[Any], *, actor_id: int, source: str) -> StockDocument:
        """What the rows become, or go into. Raises `Problem`."""
        raise NotImplementedError

    def preview_url(self, document: StockDocument) -> str:
        return admin_url(document, "change", document.pk)

    # --- Line by line -----------------------------------------------------------------------------------

    def document_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        document = self.document(request, object_id)
        if document is None:
            return self.missing(request, object_id)
        return self.page(request, "document", self.lines_page(request, document))

    def lines_page(
        self, request: HttpRequest, document: Any, lines: QuerySet[Any] | None = None
    ) -> dict[str, Any]:
        """A page of a document's lines in the order of their stock rows: what each would do, or did."""
        lines = document.lines.all() if lines is None else lines
        after = request.GET.get("after", "")
        start = int(after) if after.isdecimal() and len(after) < 19 else 0
        found = list(
            lines.filter(stock_id__gt=start)
            .order_by("stock_id")
            .prefetch_related("stock__option__product")[: LINES_PAGE + 1]
        )
        shown = found[:LINES_PAGE]
        troubles = list(documents.troubles(document).prefetch_related("stock__option")[: TROUBLES + 1])
        return {
            "document": document,
            "title": str(document),
            "original": document,
            "rows": [_effect(line) for line in shown],
            "total": lines.count(),
            "units": lines.aggregate(units=Sum(self.units))["units"] or 0,
            "next": f"?after={shown[-1].stock_id}" if len(found) > LINES_PAGE else "",
            "first": request.path if start else "",
            "may_change": self.may_change(request) and document.is_draft,
            "troubles": [documents.trouble(line) for line in troubles[:TROUBLES]]
            if document.is_draft
            else [],
            "more_troubles": len(troubles) > TROUBLES,
            "apply_url": admin_url(document, "apply", document.pk),
            "discard_url": admin_url(document, "discard", document.pk),
            "columns": self.row_rules.columns,
        }

    def end_view(self, request: HttpRequest, object_id: str, step: str) -> HttpResponse:
        """Apply or discard a draft, once: whoever comes second learns that it was done."""
        document = self.document(request, object_id, to_change=True)
        if document is None:
            return self.missing(request, object_id)
        if request.method != "POST" and step == "discard" and document.is_draft:
            entry = admin_url(document, "change", document.pk)
            context = {
                "document": document, "title": gettext("Discard: %s") % document.reference, "back": entry,
                "original": document,
            }  # fmt: skip
            return self.page(request, "discard", context)
        if request.method != "POST":
            return HttpResponseRedirect(self.preview_url(document))
        actor_id, version = int(request.user.pk or 0), request.POST.get("version", "")
        try:
            if step == "discard":
                documents.discard(document, actor_id=actor_id)
                said = gettext("%s: discarded. Nothing was changed.") % document.reference
            else:
                known = int(version) if version.isdecimal() and len(version) < 10 else -1
                moved = type(self).apply(document.pk, version=known, actor_id=actor_id)
                said = ngettext(
                    "%(document)s: applied. %(moved)d option changed.",
                    "%(document)s: applied. %(moved)d options changed.",
                    moved,
                ) % {"document": document.reference, "moved": moved}
        except Problem as problem:
            self.report(request, problem)
            return HttpResponseRedirect(self.preview_url(document))
        self.log_change(request, document, LOGGED[step])
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(admin_url(document, "change", document.pk))


def _effect(line: Any) -> dict[str, Any]:
    """A line, and its stock row before and after it."""
    delta, stock = documents.difference(line), line.stock
    return {
        "line": line, "stock": stock, "option": stock.option, "delta": f"{delta:+d}" if delta else "0",
        "on_hand": stock.on_hand + delta, "available": stock.available + delta,
        "fits": documents.fits(stock, delta),
    }  # fmt: skip


class LineAdmin(ReadOnlyAdmin):
    """Lines of documents as a list, to search and export; the document's own page leads here."""

    document_field = ""
    search_fields = ("stock",)
    search_help_text = _("An SKU in full.")
    ordering = ("-id",)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {}  # not in the index

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        document_model: Any = self.opts.get_field(self.document_field).related_model
        return self.admin_site.get_model_admin(document_model).has_view_permission(request)

    @admin.display(description=_("SKU"))
    def sku(self, line: Any) -> SafeString:
        return link(line.stock, line.stock.option.sku)

    @admin.display(description=_("product"))
    def product(self, line: Any) -> str:
        return line.stock.option.product.name

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(stock__in=stocks_of_sku(term))
