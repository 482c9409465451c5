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

from orders.models import Order, Settlement, SettlementEntry
from orders.settlements.services import APPROVE as MAY_APPROVE
from orders.settlements.services import approve, settle, shares
from shop.desk.access.owners import is_store_owner
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, link, moment, money, text_link, won
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from shop.selectors import find_stores


class ApproveForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        approve(self.record.pk, actor_id=actor_id)


class ComputeForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        row = self.record
        settle(row.period_start, row.period_end, store_id=row.store_id, actor_id=actor_id)


def _is_draft(settlement: Settlement) -> bool:
    return settlement.status == Settlement.Status.DRAFT


COMPUTE = Operation(
    name="compute",
    permission=MAY_APPROVE,
    label=_("compute again"),
    explanation=_(
        "It comes to what was delivered and came back by now. Where four eyes are asked for, somebody else "
        "approves it then."
    ),
    done=_("computed."),
    form=ComputeForm,
    possible=_is_draft,
    action=_("Compute selected settlements again"),
    done_many=ngettext_lazy("%d settlement computed.", "%d settlements computed."),
)
APPROVE = Operation(
    name="approve",
    permission=MAY_APPROVE,
    label=_("approve"),
    explanation=_("This cannot be undone. The settlement is frozen as it is, and can be paid."),
    done=_("approved."),
    form=ApproveForm,
    possible=_is_draft,
    action=_("Approve selected settlements"),
    done_many=ngettext_lazy("%d settlement approved.", "%d settlements approved."),
    asks=True,
)


def _percent(rate: int | None) -> str:
    return gettext("several rates") if rate is None else f"{rate / 100:.2f}%"


def _commissions(settlement: Settlement) -> list[tuple[Any, str]]:
    """A row for each rate."""
    rates = [(settlement.commission_rate, settlement.commission)]
    if settlement.commission_rate is None:
        rates = [(share.rate, share.commission) for share in shares(settlement)]
    return [(gettext("Commission, %s") % _percent(rate), won(-amount)) for rate, amount in rates]


def late(settlement: Settlement) -> str:
    """How many sales and returns came too late for their own settlement, and what of the payable they are."""
    return gettext("%(count)s sales and returns, %(won)s won") % {
        "count": f"{settlement.late_entries:,}", "won": won(settlement.late_payable),
    }  # fmt: skip


@admin.register(Settlement)
class SettlementAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Computed by `settle`. Store owners see those of their own stores, and approve none."""

    operations = (COMPUTE, APPROVE)
    owned_by = "store"
    exported = {
        "id": "id", "store": "store_id", "store_name": "store__name",
        "from": "period_start", "to": "period_end",
        "units": "units", "gross": "gross", "returned_units": "returned_units", "refunds": "refunds",
        "commission_basis_points": "commission_rate", "commission": "commission", "payable": "payable",
        "late_entries": "late_entries", "late_payable": "late_payable",
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
        "commission_won", "payable_won", "late", "status", "computed_at", "computed_by", "approved_by",
        "approved_at", "statement",
    )  # fmt: skip
    readonly_fields = (
        "gross_won",
        "refunds_won",
        "rate",
        "commission_won",
        "payable_won",
        "late",
        "statement",
    )
    hidden_from_owners = frozenset({"computed_by", "approved_by"})
    gross_won = money("gross", _("gross (won)"))
    refunds_won = money("refunds", _("refunds (won)"))
    commission_won = money("commission", _("commission (won)"))
    payable_won = money("payable", _("payable (won)"))
    computed = moment("computed_at", _("computed at"))

    @admin.display(description=_("commission"))
    def rate(self, settlement: Settlement) -> str:
        return _percent(settlement.commission_rate)

    @admin.display(description=_("from periods settled before"))
    def late(self, settlement: Settlement) -> str:
        """What was written when the settlement that it belongs to had been approved."""
        return late(settlement)

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
            (_("from periods settled before"), late(record)),
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
            *_commissions(settlement),
            (_("Payable"), won(settlement.payable)),
        ]
        context = {
            "settlement": settlement,
            "rows": rows,
            "late": settlement.late_entries and late(settlement),
        }
        context["full"] = not is_store_owner(request.user)  # who approved it is the shop's own affair
        return TemplateResponse(request, "admin/orders/settlement_print.html", context)


@admin.register(SettlementEntry)
class SettlementEntryAdmin(ReadOnlyAdmin):
    """What settlements are made of: each delivery and return, and the settlement that it is in."""

    exported = {
        "order": "line__order__number", "product": "line__product_name", "store": "store__name",
        "units": "units", "won": "won", "commission": "commission", "at": "created_at",
        "settlement": "settlement_id",
    }  # fmt: skip
    list_display = ("at", "of_order", "line", "store", "units", "amount", "share", "settlement")
    list_select_related = ("line__order", "store", "settlement__store")
    search_fields = ("settlement",)
    search_help_text = _("A settlement's number, or an order's number in full.")
    ordering = ("-id",)
    fields = (
        "of_order", "line", "store", "units", "amount", "share", "returned", "created_at", "settlement",
    )  # fmt: skip
    readonly_fields = ("of_order", "amount", "share")
    at = moment("created_at", _("at"))
    amount = money("won", _("won"))
    share = money("commission", _("commission (won)"))

    @admin.display(description=_("order"))
    def of_order(self, entry: SettlementEntry) -> SafeString:
        return link(entry.line.order)

    def find(self, queryset: QuerySet[SettlementEntry], term: str) -> QuerySet[SettlementEntry]:
        if term.isascii() and term.isdecimal() and len(term) < 19:
            return queryset.filter(settlement=int(term))
        orders = Order.objects.filter(number=term.upper()).values_list("id", flat=True)
        return queryset.filter(line__order__in=list(orders))
