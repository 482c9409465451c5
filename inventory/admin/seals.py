"""Closed months of the ledger at the desk, and what each stock row came to in them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from inventory.models import MonthSeal, SealedBalance
from inventory.selectors import stocks_of_sku
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import admin_url, link, moment, text_link


@admin.register(MonthSeal)
class MonthSealAdmin(ReadOnlyAdmin):
    """Closed months. `close_month` closes them, `verify_ledger` checks them."""

    list_display = ("__str__", "sealed", "movements", "hash", "forced", "by")
    list_select_related = ("by",)
    search_fields = ("month",)
    search_help_text = _("A month such as 2026-03.")
    ordering = ("-id",)
    fields = (
        "month", "sealed_at", "by", "movements", "hash", "previous", "previous_hash", "forced", "balances",
    )  # fmt: skip
    readonly_fields = ("balances",)
    sealed = moment("sealed_at", _("sealed"))

    @admin.display(description=_("balances"))
    def balances(self, seal: MonthSeal) -> SafeString:
        address = f"{admin_url(SealedBalance, 'changelist')}?seal__id__exact={seal.pk}"
        return text_link(address, _("balances of this month"))

    def find(self, queryset: QuerySet[MonthSeal], term: str) -> QuerySet[MonthSeal]:
        year, _dash, month = term.partition("-")
        if not (year.isdecimal() and month.isdecimal() and len(year) == 4 and 1 <= int(month) <= 12):
            return queryset.none()
        return queryset.filter(month__year=int(year) or 1, month__month=int(month))


@admin.register(SealedBalance)
class SealedBalanceAdmin(ReadOnlyAdmin):
    """What each stock row came to in a closed month."""

    exported = {
        "month": "seal__month", "sku": "stock__option__sku",
        "opening on hand": "opening_on_hand", "opening reserved": "opening_reserved",
        "closing on hand": "closing_on_hand", "closing reserved": "closing_reserved",
        "first movement": "first_sequence", "last movement": "last_sequence",
    }  # fmt: skip
    list_display = (
        "seal", "sku", "opening_on_hand", "opening_reserved", "closing_on_hand", "closing_reserved",
        "last_sequence",
    )  # fmt: skip
    list_select_related = ("seal", "stock__option")
    search_fields = ("stock",)
    search_help_text = _("An SKU in full.")
    ordering = ("-id",)
    fields = (
        "seal", "stock_link", "opening_on_hand", "opening_reserved", "closing_on_hand", "closing_reserved",
        "first_sequence", "last_sequence", "head_in_hex",
    )  # fmt: skip
    readonly_fields = ("stock_link", "head_in_hex")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SealedBalance]:
        return super().get_queryset(request).defer("marks")

    @admin.display(description=_("SKU"))
    def sku(self, balance: SealedBalance) -> str:
        return balance.stock.option.sku

    @admin.display(description=_("stock"))
    def stock_link(self, balance: SealedBalance) -> SafeString:
        return link(balance.stock, balance.stock.option.sku)

    @admin.display(description=_("hash"))
    def head_in_hex(self, balance: SealedBalance) -> str:
        return bytes(balance.head).hex()

    def find(self, queryset: QuerySet[SealedBalance], term: str) -> QuerySet[SealedBalance]:
        return queryset.filter(stock__in=stocks_of_sku(term))
