"""The money: attempts to pay, and what goes back. Decided elsewhere, but for refunds paid out by hand."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from orders.models import Payment, Refund
from orders.payments import by_hand
from orders.payments.providers import BY_HAND, label
from orders.selectors import find_order_ids
from shop.desk.base import ReadOnlyAdmin, ReadOnlyInline
from shop.desk.columns import link, linked, moment, money, recorded_text, won
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from yousinsa.language import recorded


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = ("page", "amount_won", "status", "why", "owed", "done")
    readonly_fields = ("page", "amount_won", "why", "owed", "done")
    why = recorded_text("reason", _("reason"))
    amount_won = money("amount", _("amount (won)"))
    owed = moment("created_at", _("decided at"))
    done = moment("done_at", _("paid out at"))
    ordering = ("-id",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and request.user.has_perm("orders.view_refund")

    @admin.display(description=_("reference"))
    def page(self, refund: Refund) -> SafeString:
        return link(refund, refund.reference)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    inlines = (RefundInline,)
    exported = {
        "reference": "reference", "order": "order__number", "provider": "provider", "amount": "amount",
        "status": "status", "detail": "detail", "started at": "created_at", "decided at": "decided_at",
    }  # fmt: skip
    list_display = ("amount_won", "of_order", "paid_with", "status", "started", "decided", "reference")
    of_order = linked("order", _("order"))
    started = moment("created_at", _("started at"))
    decided = moment("decided_at", _("decided at"))
    list_select_related = ("order",)
    list_filter = ("status",)
    search_fields = ("reference",)
    search_help_text = _("A reference in full, or the beginning of the order's number.")
    ordering = ("-id",)
    # Not the card's token: nobody needs to see it.
    fields = (
        "reference", "order", "paid_with", "amount_won", "status", "live", "said", "created_at",
        "decided_at",
    )  # fmt: skip
    readonly_fields = ("paid_with", "amount_won", "live", "said")
    said = recorded_text("detail", _("detail"))
    amount_won = money("amount", _("amount (won)"))

    @admin.display(description=_("provider"))
    def paid_with(self, payment: Payment) -> str:
        return label(payment.provider)

    def find(self, queryset: QuerySet[Payment], term: str) -> QuerySet[Payment]:
        return queryset.filter(Q(reference=term) | Q(order__in=find_order_ids(term)))


class PaidOutForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        by_hand.pay_out(self.record, actor_id=actor_id)


PAID_OUT = Operation(
    name="paid-out",
    permission="orders.pay_out_refund",
    label=_("mark as paid out"),
    explanation=_("The money was transferred back to the buyer."),
    done=_("marked as paid out."),
    form=PaidOutForm,
    possible=lambda refund: refund.status == Refund.Status.DUE and refund.payment.provider in BY_HAND,
    action=_("Mark selected refunds as paid out"),
    done_many=ngettext_lazy("%d refund marked as paid out.", "%d refunds marked as paid out."),
)


@admin.register(Refund)
class RefundAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Refunds of transfers and imported payments are paid out by hand; other providers pay by themselves."""

    operations = (PAID_OUT,)
    exported = {
        "reference": "reference", "order": "payment__order__number", "provider": "payment__provider",
        "amount": "amount", "status": "status", "reason": "reason", "decided at": "created_at",
        "paid out at": "done_at",
    }  # fmt: skip
    list_display = ("amount_won", "order", "provider", "status", "why", "owed", "reference")
    why = recorded_text("reason", _("reason"))
    order = linked("payment.order", _("order"))
    amount_won = money("amount", _("amount (won)"))
    owed = moment("created_at", _("decided at"))
    list_select_related = ("payment__order",)
    facts_related = ("payment__order",)
    list_filter = ("status",)
    search_fields = ("reference",)
    search_help_text = _("A reference in full, or the beginning of the order's number.")
    ordering = ("-id",)
    fields = ("reference", "order", "payment", "amount_won", "status", "why", "created_at", "done_at")
    readonly_fields = ("order", "amount_won", "why")

    def name(self, record: Refund) -> str:
        amount, number = won(record.amount), record.payment.order.number
        return gettext("%(amount)s won for %(order)s") % {"amount": amount, "order": number}

    @admin.display(description=_("provider"))
    def provider(self, refund: Refund) -> str:
        return label(refund.payment.provider)

    def facts(self, record: Refund, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [
            (_("order"), record.payment.order),
            (_("buyer"), record.payment.order.buyer),
            (_("amount (won)"), won(record.amount)),
            (_("reason"), recorded(record.reason)),
        ]

    def find(self, queryset: QuerySet[Refund], term: str) -> QuerySet[Refund]:
        payments = Payment.objects.filter(order__in=find_order_ids(term)).order_by()
        of_order = Q(payment__in=list(payments.values_list("id", flat=True)))
        return queryset.filter(Q(reference=term) | of_order)
