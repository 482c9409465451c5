"""Stocktakes: counts are entered or read from a file, looked at, and applied as differences."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import INPUT_CLASSES

from inventory import documents
from inventory.admin.documents.base import DocumentAdmin, LineAdmin
from inventory.admin.documents.rows import CountRows, Rows
from inventory.models import MAX_UNITS, StockDocument, Stocktake, StocktakeLine
from shop.desk.columns import admin_url
from yousinsa.errors import Problem


def counted_field() -> forms.IntegerField:
    return forms.IntegerField(min_value=0, max_value=MAX_UNITS, required=False)


@admin.register(Stocktake)
class StocktakeAdmin(DocumentAdmin):
    """While it is a draft its page takes counts; the preview shows what applying them would change."""

    permission = "inventory.count_stock"
    row_rules = CountRows
    units = F("counted") - F("on_hand")
    import_label = _("Import a stocktake")
    import_help = _(
        "One row an option: how many units were counted. They are compared with what is on hand when the "
        "stocktake began: now, for a new one. To compare with an earlier moment begin it first, from the "
        "list of stock, and import the counts on its page."
    )

    def get_urls(self) -> list[Any]:
        wrap, name = self.admin_site.admin_view, "inventory_stocktake"
        return [
            path("<path:object_id>/preview/", wrap(self.preview_view), name=f"{name}_preview"),
            path("<path:object_id>/counts/", wrap(self.import_view), name=f"{name}_counts"),
            *super().get_urls(),
        ]

    @staticmethod
    def apply(pk: int, *, version: int, actor_id: int) -> int:
        return documents.apply_stocktake(stocktake_id=pk, version=version, actor_id=actor_id)

    def resource(self, document: Any) -> Rows:
        return CountRows(document)

    def draft(self, document: Any, good: list[Any], *, actor_id: int, source: str) -> StockDocument:
        counted = dict(good)
        if document is None:
            return documents.begin_stocktake(
                stock_ids=counted, counted=counted, actor_id=actor_id, source=source
            )
        documents.record_counts(stocktake_id=document.pk, counted=counted)
        return document

    def preview_url(self, document: StockDocument) -> str:
        return admin_url(document, "preview", document.pk)

    def document_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Counts are entered here, a page of lines at a time."""
        document = self.document(request, object_id)
        if document is None:
            return self.missing(request, object_id)
        if not (document.is_draft and self.may_change(request)):
            return self.page(request, "document", self.lines_page(request, document))
        context = self.lines_page(request, document)
        if request.method == "POST" and self._save(request, document, context["rows"]):
            if "preview" in request.POST:
                return HttpResponseRedirect(self.preview_url(document))
            return HttpResponseRedirect(context["next"] or request.get_full_path())
        if request.method != "POST":
            for row in context["rows"]:
                row["value"] = "" if row["line"].counted is None else row["line"].counted
        lines = admin_url(StocktakeLine, "export", "csv")
        context |= {
            "input_class": " ".join(INPUT_CLASSES),
            "preview_url": self.preview_url(document),
            "counts_url": admin_url(document, "counts", document.pk),
            "list_url": f"{lines}?stocktake__id__exact={document.pk}",
        }
        return self.page(request, "counting", context)

    def _save(self, request: HttpRequest, document: Stocktake, rows: list[dict[str, Any]]) -> bool:
        """The counts that were sent for these lines; those that make no sense stay in their fields."""
        counted: dict[int, int | None] = {}
        wrong = False
        for row in rows:
            name = f"counted-{row['line'].stock_id}"
            row["value"] = request.POST.get(name, "")
            if name not in request.POST:
                continue
            try:
                counted[row["line"].stock_id] = counted_field().clean(row["value"].strip())
            except forms.ValidationError as error:
                row["error"], wrong = " ".join(error.messages), True
        if wrong:
            self.message_user(
                request, gettext("Nothing was saved: look at the marked lines."), messages.ERROR
            )
            return False
        try:
            documents.record_counts(stocktake_id=document.pk, counted=counted)
        except Problem as problem:
            self.report(request, problem)
            return False
        saved = ngettext("%d line saved.", "%d lines saved.", len(counted)) % len(counted)
        self.message_user(request, saved, messages.SUCCESS)
        return True

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Only the lines that change something, with what they change; from here it is applied."""
        document = self.document(request, object_id)
        if document is None:
            return self.missing(request, object_id)
        differing = document.lines.exclude(counted=None).exclude(counted=F("on_hand"))
        context = self.lines_page(request, document, differing)
        entry = admin_url(document, "change", document.pk)
        context |= {
            "title": gettext("Preview: %s") % document.reference,
            "uncounted": document.lines.filter(counted=None).count(),
            "same": document.lines.filter(counted=F("on_hand")).count(),
            "entry": entry,
        }
        return self.page(request, "document", context)


@admin.register(StocktakeLine)
class StocktakeLineAdmin(LineAdmin):
    """Exported and filled in, the list is what an import of counts takes."""

    exported = {
        "sku": "stock__option__sku", "product": "stock__option__product__name",
        "size": "stock__option__size", "colour": "stock__option__color",
        "on hand when counting began": "on_hand", "counted": "counted",
    }  # fmt: skip
    document_field = "stocktake"
    list_select_related = ("stocktake", "stock__option__product")
    list_display = ("sku", "stocktake", "product", "on_hand", "counted")
