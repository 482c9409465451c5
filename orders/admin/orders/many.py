"""Actions on up to a thousand orders of the list: drafted, looked at on a page of their own, then begun."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.bulk.actions import ACTIONS
from orders.bulk.drafting import MAX_ORDERS, draft_of_orders
from orders.models import BulkRun, Order
from shop.desk.access.owners import may_do
from shop.desk.columns import admin_url
from yousinsa.errors import Problem


class ManyOrders:
    """Gives the admin of orders what is done to many at once, and the way to a shipping list."""

    def has_confirm_permission(self, request: HttpRequest) -> bool:
        return _may(request, BulkRun.Action.CONFIRM)

    def has_deliver_permission(self, request: HttpRequest) -> bool:
        return _may(request, BulkRun.Action.DELIVER)

    @admin.action(description=_("Confirm payment of selected orders"), permissions=["confirm"])
    def confirm_selected(self: Any, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return _draft(self, request, queryset, BulkRun.Action.CONFIRM)

    @admin.action(description=_("Mark selected orders as delivered"), permissions=["deliver"])
    def deliver_selected(self: Any, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return _draft(self, request, queryset, BulkRun.Action.DELIVER)

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        others: list[dict[str, Any]] = super().tools(request)  # type: ignore[misc]
        if not _may(request, BulkRun.Action.SHIP):
            return others
        return [{"label": gettext("Ship from a list"), "url": admin_url(BulkRun, "ship")}, *others]


def _may(request: HttpRequest, action: str) -> bool:
    return may_do(request.user, ACTIONS[action].permission)


def _draft(desk: Any, request: HttpRequest, queryset: QuerySet[Order], action: str) -> HttpResponse | None:
    if request.POST.get("select_across") != "1":
        # Not through the list's filters: one that has left them meanwhile must be reported, not lost.
        chosen = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        queryset = desk.get_queryset(request).filter(pk__in=chosen)
    ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_ORDERS + 1])
    try:
        if len(ids) > MAX_ORDERS:
            text = gettext(
                "At most %d orders at once: narrow the list down by its filters, or do it in parts."
            )
            desk.message_user(request, text % MAX_ORDERS, messages.ERROR)
            return None
        run = draft_of_orders(
            action, ids, actor_id=int(request.user.pk or 0), source=gettext("list of orders")
        )
    except Problem as problem:
        desk.message_user(request, str(problem.detail), messages.ERROR)
        return None
    return HttpResponseRedirect(admin_url(run, "change", run.pk))
