"""Packing lists: what goes into each parcel, and where it goes. An order a page, without prices."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order, Status
from shop.desk.access.owners import sees_own_only
from shop.desk.columns import admin_url

MOST_AT_ONCE = 200


class PackingLists:
    """Gives the admin of orders its packing lists: for many from the list, for one on its page."""

    def get_urls(self: Any) -> list[Any]:
        view = self.admin_site.admin_view(self.packing_view)
        page = path("<path:object_id>/packing-list/", view, name="orders_order_packing-list")
        return [page, *super().get_urls()]  # type: ignore[misc]

    def has_pack_permission(self: Any, request: HttpRequest) -> bool:
        """Who may see orders; not store owners, for whom neither the address is nor what else is in it."""
        return self.has_view_permission(request) and not sees_own_only(request.user)

    @admin.action(description=_("Print packing lists of selected orders"), permissions=["pack"])
    def print_packing_lists(
        self: Any, request: HttpRequest, queryset: QuerySet[Order]
    ) -> HttpResponse | None:
        """Of those that are paid, oldest first; the others are named."""
        orders = list(queryset.order_by("pk").prefetch_related("lines")[: MOST_AT_ONCE + 1])
        if len(orders) > MOST_AT_ONCE:
            text = gettext("At most %d packing lists at once: select fewer.") % MOST_AT_ONCE
            self.message_user(request, text, messages.ERROR)
            return None
        paid = [order for order in orders if order.status == Status.PAID]
        left_out = [order.number for order in orders if order.status != Status.PAID]
        if not paid:
            text = gettext("None of the selected orders is paid: there is nothing to pack.")
            self.message_user(request, text, messages.ERROR)
            return None
        return packing_page(request, paid, left_out)

    def packing_view(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_pack_permission(request):
            raise PermissionDenied
        order = self.get_object(request, unquote(object_id))
        if order is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if order.status != Status.PAID:
            text = gettext("%(order)s is %(status)s: only orders that are paid are packed.") % {
                "order": order.number, "status": order.get_status_display(),
            }  # fmt: skip
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(admin_url(order, "change", order.pk))
        return packing_page(request, [order], [])


def packing_page(request: HttpRequest, orders: Iterable[Order], left_out: Sequence[str]) -> HttpResponse:
    lists = []
    for order in orders:
        lines = list(order.lines.all())
        lists.append({"order": order, "lines": lines, "units": sum(line.quantity for line in lines)})
    context = {"lists": lists, "left_out": left_out, "printed_at": timezone.localtime()}
    return TemplateResponse(request, "admin/orders/packing_list.html", context)
