"""Settlements on the desk: drafts to look at and approve, statements to print and to export."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from orders.models import Settlement
from orders.settlements.services import approve
from shop.desk.access.owners import is_store_owner
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, moment, money, text_link, won
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from shop.selectors import find_stores


class ApproveForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        approve(self.record.pk, actor_id=actor_id)


APPROVE = Operation(
    name="approve",
    permission="orders.approve_settlement",
    label=_("approve"),
    explanation=_("This cannot be undone. The settlement is frozen as it is, and can be paid."),
    done=_("approved."),
    form=ApproveForm,
    possible=lambda settlement: settlement.status == Settlement.Status.DRAFT,
    action=_("Approve selected settlements"),
    done_many=ngettext_lazy("%d settlement approved.", "%d settlements approved."),
    asks=True,
)


@admin.register(Settlement)
class SettlementAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Computed by `settle`. Store owners see those of their own stores, and approve none."""

    operations = (APPROVE,)
    owned_by = "store"
    exported = {
        "id": "id", "store": "store_id", "store_name": "store__name",
        "from": "period_start", "to": "period_end",
        "units": "units", "gross": "gross", "returned_units": "returned_units", "refunds": "refunds",
        "commission_basis_points": "commission_rate", "commission": "commission", "payable": "payable",
        "status": "status", "approved_at": "approved_at",
    }  # fmt: skip
    list_display = (
        "store", "period_start", "period_end", "units", "gross_won", "refunds_won", "rate", "commission_won",
        "payable_won", "status",
    )  # fmt: skip
    list_select_related = ("store",)
    list_filter = ("status",)
    search_fields = ("store",)
    search_help_text = _("Beginning of the store's name.")
    ordering = ("-id",)
    fields = (
        "store", "period_start", "period_end", "units", "gross_won", "returned_units", "refunds_won", "rate",
        "commission_won", "payable_won", "status", "computed_at", "approved_by", "approved_at", "statement",
    )  # fmt: skip
    readonly_fields = ("gross_won", "refunds_won", "rate", "commission_won", "payable_won", "statement")
    gross_won = money("gross", _("gross (won)"))
    refunds_won = money("refunds", _("refunds (won)"))
    commission_won = money("commission", _("commission (won)"))
    payable_won = money("payable", _("payable (won)"))
    computed = moment("computed_at", _("computed at"))

    @admin.display(description=_("commission"))
    def rate(self, settlement: Settlement) -> str:
        return f"{settlement.commission_rate / 100:.2f}%"

    @admin.display(description=_("statement"))
    def statement(self, settlement: Settlement) -> SafeString:
        return text_link(admin_url(settlement, "print", settlement.pk), _("to print"))

    def has_delete_permission(self, request: HttpRequest, obj: Settlement | None = None) -> bool:
        """A draft may go, one at a time; what was approved stays."""
        allowed = request.user.has_perm("orders.delete_settlement") and not is_store_owner(request.user)
        return allowed and obj is not None and obj.status == Settlement.Status.DRAFT

    def facts(self, record: Settlement, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [
            (_("units sold"), record.units),
            (_("gross (won)"), won(record.gross)),
            (_("refunds (won)"), won(record.refunds)),
            (_("commission (won)"), won(record.commission)),
            (_("payable (won)"), won(record.payable)),
        ]

    facts_related = ("store",)

    def find(self, queryset: QuerySet[Settlement], term: str) -> QuerySet[Settlement]:
        return queryset.filter(store__in=find_stores(term))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.print_view)
        return [path("<int:pk>/print/", view, name="orders_settlement_print"), *super().get_urls()]

    def print_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The statement on paper, without the desk around it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        settlement = self.get_queryset(request).filter(pk=pk).select_related("store__owner").first()
        if settlement is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        rows = [
            (_("Units sold"), f"{settlement.units:,}"),
            (_("Gross"), won(settlement.gross)),
            (_("Units returned"), f"{settlement.returned_units:,}"),
            (_("Refunds"), won(-settlement.refunds)),
            (gettext("Commission, %s") % self.rate(settlement), won(-settlement.commission)),
            (_("Payable"), won(settlement.payable)),
        ]
        context = {"settlement": settlement, "rows": rows}
        return TemplateResponse(request, "admin/orders/settlement_print.html", context)
