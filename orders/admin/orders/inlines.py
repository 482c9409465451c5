"""What is shown below an order: its lines, notes, history and payments."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import MAX_LINES, OrderCorrection, OrderEvent, OrderLine, OrderNote, Payment
from orders.payments.providers import label
from shop.desk.base import FirstRows, ReadOnlyInline
from shop.desk.columns import link, moment, money, recorded_text, won


class AllLines(FirstRows):
    shown = MAX_LINES


class LineInline(ReadOnlyInline):
    model = OrderLine
    formset = AllLines
    owned_by = "store"
    fields = ("sold", "product_name", "size", "color", "quantity", "price", "returned")
    readonly_fields = ("sold", "price")
    ordering = ("id",)
    select_related = ("option",)
    price = money("unit_price", _("unit price (won)"))

    @admin.display(description=_("option"))
    def sold(self, line: OrderLine) -> SafeString:
        return link(line.option, line.sku)


class EventInline(ReadOnlyInline):
    model = OrderEvent
    verbose_name_plural = _("status changes")
    fields = ("at", "from_status", "to_status", "actor", "why")
    readonly_fields = ("at", "why")
    why = recorded_text("note", _("note"))
    at = moment("created_at", _("at"))
    ordering = ("id",)
    select_related = ("actor",)


class NoteInline(ReadOnlyInline):
    model = OrderNote
    verbose_name_plural = _("notes of operators (the buyer does not see them)")
    fields = ("at", "author", "text")
    readonly_fields = ("at",)
    at = moment("created_at", _("at"))
    ordering = ("-id",)
    select_related = ("author",)


class CorrectionInline(ReadOnlyInline):
    model = OrderCorrection
    verbose_name_plural = _("corrections")
    fields = ("at", "actor", "field", "from_to")
    readonly_fields = ("at", "from_to")
    at = moment("created_at", _("at"))
    ordering = ("-id",)
    select_related = ("actor",)

    @admin.display(description=_("from, to"))
    def from_to(self, correction: OrderCorrection) -> str:
        if not (correction.before or correction.after):
            return gettext("no longer kept")
        return f"{correction.before or '–'} → {correction.after or '–'}"


class PaymentInline(ReadOnlyInline):
    """Money is seen by those who may see payments."""

    model = Payment
    fields = ("page", "paid_with", "amount_won", "status", "said", "started", "decided", "refunded")
    readonly_fields = ("page", "paid_with", "amount_won", "said", "started", "decided", "refunded")
    said = recorded_text("detail", _("detail"))
    amount_won = money("amount", _("amount (won)"))
    started = moment("created_at", _("started at"))
    decided = moment("decided_at", _("decided at"))
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        return super().get_queryset(request).prefetch_related("refunds")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and request.user.has_perm("orders.view_payment")

    @admin.display(description=_("provider"))
    def paid_with(self, payment: Payment) -> str:
        return label(payment.provider)

    @admin.display(description=_("reference"))
    def page(self, payment: Payment) -> SafeString:
        return link(payment, payment.reference)

    @admin.display(description=_("refunds (won)"))
    def refunded(self, payment: Payment) -> SafeString:
        refunds = payment.refunds.all()
        return format_html_join(
            "", "<div>{}, {}</div>",
            ((link(refund, won(refund.amount)), refund.get_status_display()) for refund in refunds),
        )  # fmt: skip
