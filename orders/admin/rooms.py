"""Where the lists of orders and money are in the sidebar, and what leads to them from other apps' pages."""

from collections.abc import Collection

from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from orders.models import (
    BulkRun,
    Drop,
    Hold,
    Order,
    OrderEvent,
    OrderLine,
    OrderNote,
    Payment,
    Refund,
    Settlement,
    SettlementEntry,
    Trouble,
)
from orders.models.drops import DeadLetter, DropItem, DropRelease, DropTally
from shop.desk.columns import admin_url
from shop.desk.links import ORDER, Reference, add_reference, add_related
from shop.desk.navigation import add_room
from shop.models import User

add_room(
    _("Orders"),
    place=10,
    daily={Order: "shopping_bag", BulkRun: "dynamic_feed", Hold: "hourglass_top", Drop: "bolt"},
    records={
        OrderLine: "list_alt",
        OrderEvent: "history",
        OrderNote: "sticky_note_2",
        Trouble: "report",
        DropItem: "sell",
        DropTally: "tag",
        DropRelease: "undo",
        DeadLetter: "mail_off",
    },
)
add_room(
    _("Money"),
    place=40,
    daily={Payment: "payments", Refund: "currency_exchange", Settlement: "receipt_long"},
    records={SettlementEntry: "receipt"},
)


def _search(number: str) -> str:
    return f"{admin_url(Order, 'changelist')}?{urlencode({'q': number})}"


def _orders(numbers: Collection[str]) -> dict[str, Order]:
    return {order.number: order for order in Order.objects.filter(number__in=numbers).only("id", "number")}


add_reference(ORDER, Reference(_search, _orders))
add_related(User, _("orders"), lambda user: f"{admin_url(Order, 'changelist')}?buyer__id__exact={user.pk}")
