"""Pending orders as what they hold: what nobody else can buy until it is paid for, released or expired."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from orders import lifecycle
from orders.models import Hold, Order, Status
from orders.selectors import search_orders
from shop.desk.base import ReadOnlyAdmin
from shop.desk.columns import link, moment
from shop.desk.operations import OperatedAdmin, Operation, OperationForm, line_of_text


class ReleaseForm(OperationForm):
    reason = line_of_text(_("reason"), max_length=200, help_text=_("Why. Kept in the order's history."))

    def run(self, *, actor_id: int) -> None:
        lifecycle.cancel_order(
            order_id=self.record.pk, actor_id=actor_id, note=self.cleaned_data["reason"], only_pending=True
        )


RELEASE = Operation(
    name="release",
    permission="orders.cancel_order",
    label=_("release"),
    explanation=_(
        "This cannot be undone. The order is cancelled and its units are for sale again at once. "
        "An order that is paid meanwhile stays as it is."
    ),
    done=_("released."),
    form=ReleaseForm,
    possible=lambda order: order.status == Status.PENDING,
    action=_("Release selected holds"),
    done_many=ngettext_lazy("%d hold released.", "%d holds released."),
    asks=True,
)


def time_left(seconds: int) -> str:
    """Seconds as minutes and seconds (hours where there are any), or that the hold is over."""
    if seconds <= 0:
        return gettext("over: ends with the next expiry run")
    hours, rest = divmod(seconds, 3600)
    return (f"{hours}:{rest // 60:02d}:" if hours else f"{rest // 60}:") + f"{rest % 60:02d}"


@admin.register(Hold)
class HoldAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Those that end first come first. Who may see orders sees them, store owners aside: they hold units of
    many stores, for buyers who are none of an owner's business. Who may cancel orders may release them.
    """

    operations = (RELEASE,)
    exported = {
        "number": "number", "buyer": "buyer__email", "total": "total", "ordered at": "created_at",
        "held until": "expires_at",
    }  # fmt: skip
    list_display = ("number", "left", "units", "what", "buyer", "until", "order")
    list_select_related = ("buyer", "lines")
    facts_related = ("buyer", "lines")
    search_fields = ("number",)
    search_help_text = _(
        "Order number, e-mail address, recipient or tracking number (their beginning), phone (or its last "
        "digits), SKU."
    )
    ordering = ("expires_at", "id")
    fields = ("order", "status", "buyer", "units", "what", "created_at", "expires_at", "left")
    readonly_fields = ("order", "units", "what", "left")
    until = moment("expires_at", _("held until"))

    class Media:
        js = ("orders/countdown.js",)

    @admin.display(description=_("order"))
    def order(self, hold: Hold) -> SafeString:
        return link(Order(pk=hold.pk), _("order"))

    @admin.display(description=_("units held"))
    def units(self, hold: Hold) -> int:
        return sum(line.quantity for line in hold.lines.all())

    @admin.display(description=_("options"))
    def what(self, hold: Hold) -> SafeString:
        lines = [f"{line.quantity} × {line.sku}" for line in hold.lines.all()]
        shown = lines if len(lines) <= 4 else [*lines[:3], "…"]
        return format_html_join("", '<div class="nowrap">{}</div>', ((text,) for text in shown))

    @admin.display(description=_("time left"))
    def left(self, hold: Hold) -> SafeString:
        """By the server's clock; a script in the page counts down from there."""
        seconds = max(0, int((hold.expires_at - timezone.now()).total_seconds()))
        return format_html('<span data-seconds-left="{}">{}</span>', seconds, time_left(seconds))

    def facts(self, record: Hold, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [
            (_("buyer"), record.buyer),
            (_("units held"), self.what(record)),
            (_("held until"), timezone.localtime(record.expires_at).strftime("%Y-%m-%d %H:%M:%S")),
            (_("time left"), self.left(record)),
        ]

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return search_orders(queryset, term)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Hold.objects.order_by(*self.ordering) if self._is_open_to(request) else Hold.objects.none()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        orders = self.admin_site.get_model_admin(Order)
        return self._is_open_to(request) and orders.has_view_permission(request, obj)
