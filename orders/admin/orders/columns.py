"""The list of orders: what was bought, by whom and where to, how it was paid; less for who may not know."""

from collections.abc import Callable, Collection, Iterable
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order, OrderLine
from orders.payments.providers import label
from shop.desk.access.owners import own_stores, sees_own_only
from shop.desk.columns import moment, stacked, won

SEE_PAYMENTS = "orders.view_payment"


class ListColumns:
    """The columns of the list of orders, for its admin."""

    list_display: Any = ("number", "status", "bought", "customer", "payment", "placed")

    def get_list_select_related(self, request: HttpRequest) -> tuple[str, ...]:
        """What the columns read, fetched by key: what somebody is not shown is not fetched either."""
        if sees_own_only(request.user):
            return ("lines",)
        return ("buyer", "lines", *(["payments"] if request.user.has_perm(SEE_PAYMENTS) else []))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns: list[Any] = [*super().get_list_display(request)]  # type: ignore[misc]
        if sees_own_only(request.user):
            columns[columns.index("bought")] = _bought_of(own_stores(request))
        elif not request.user.has_perm(SEE_PAYMENTS):
            columns[columns.index("payment")] = "total_won"
        return columns

    placed = moment("created_at", _("ordered at"))

    @admin.display(description=_("bought"))
    def bought(self, order: Order) -> SafeString | str:
        return _summary(order.lines.all())

    @admin.display(description=_("buyer, ship to"))
    def customer(self, order: Order) -> SafeString:
        address = Truncator(order.address1).chars(40)
        return stacked(order.buyer, ", ".join(filter(None, [order.recipient, address])))

    @admin.display(description=_("payment (won)"))
    def payment(self, order: Order) -> SafeString:
        """With the newest attempt to pay."""
        newest = max(order.payments.all(), key=attrgetter("pk"), default=None)
        return stacked(
            won(order.total), f"{label(newest.provider)}: {newest.get_status_display()}" if newest else ""
        )


def _bought_of(stores: Collection[int]) -> Callable[[Order], SafeString | str]:
    """The column `bought` for whoever may know of these stores' lines only."""

    @admin.display(description=_("bought"))
    def bought(order: Order) -> SafeString | str:
        return _summary(line for line in order.lines.all() if line.store_id in stores)

    return bought


def _summary(lines: Iterable[OrderLine]) -> SafeString | str:
    """The first of these lines, and how many more there are."""
    shown = list(lines)
    if not shown:
        return ""
    first, others = shown[0], len(shown) - 1
    more = gettext("+%d more") % others if others else ""
    look = " · ".join(filter(None, [first.size, first.color, more]))
    return stacked(f"{first.quantity} × {first.product_name}", look)
