"""The sidebar: every list that the user may see, grouped by rooms."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _


class Room(NamedTuple):
    """Models by label, in the order in which they are shown."""

    title: Any
    models: tuple[str, ...]


CATALOGUE = Room(_("Catalogue"), ("shop.Product", "shop.Option", "shop.Category", "shop.Store"))
STOCK = Room(
    _("Stock"), ("inventory.Stock", "inventory.Movement", "inventory.Delivery", "inventory.Stocktake")
)
ORDERS = Room(
    _("Orders"), ("orders.Order", "orders.Hold", "orders.OrderLine", "orders.OrderEvent", "orders.OrderNote")
)
MONEY = Room(_("Money"), ("orders.Payment", "orders.Refund"))
PEOPLE = Room(_("People"), ("shop.User", "auth.Group", "shop.TokenRevocation"))
ROOMS = (CATALOGUE, STOCK, ORDERS, MONEY, PEOPLE)

# Where a model goes that no room names.
ROOM_OF_APP = {"shop": CATALOGUE, "inventory": STOCK, "orders": ORDERS}

# Names of Material Symbols, which the theme brings along.
ICONS = {
    "shop.Product": "apparel",
    "shop.Option": "straighten",
    "shop.Category": "account_tree",
    "shop.Store": "storefront",
    "inventory.Stock": "inventory_2",
    "inventory.Movement": "swap_vert",
    "inventory.Delivery": "local_shipping",
    "inventory.Stocktake": "fact_check",
    "orders.Order": "shopping_bag",
    "orders.Hold": "hourglass_top",
    "orders.OrderLine": "list_alt",
    "orders.OrderEvent": "history",
    "orders.OrderNote": "sticky_note_2",
    "orders.Drop": "bolt",
    "orders.Settlement": "receipt_long",
    "orders.SettlementEntry": "receipt",
    "inventory.ReconciliationRun": "balance",
    "inventory.Difference": "difference",
    "inventory.MonthSeal": "lock",
    "inventory.SealedBalance": "account_balance",
    "orders.Payment": "payments",
    "orders.Refund": "currency_exchange",
    "shop.User": "person",
    "auth.Group": "group",
    "shop.TokenRevocation": "key_off",
}


def rooms(request: HttpRequest) -> list[dict[str, Any]]:
    """What the theme shows in its sidebar (UNFOLD["SIDEBAR"]["navigation"])."""
    seen: dict[str, dict[str, Any]] = {
        model["model"]._meta.label: model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model["admin_url"]
    }
    first = {"title": None, "items": [_item(_("Today"), "today", reverse("admin:index"))]}
    return [first, *_groups(seen)]


def _groups(seen: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    named = {label for room in ROOMS for label in room.models}
    for room in ROOMS:
        others = [
            label for label in seen
            if label not in named and ROOM_OF_APP.get(label.partition(".")[0], PEOPLE) is room
        ]  # fmt: skip
        labels = [label for label in (*room.models, *others) if label in seen]
        items = [
            _item(capfirst(seen[label]["name"]), ICONS.get(label, "table"), seen[label]["admin_url"])
            for label in labels
        ]
        if items:
            yield {"title": room.title, "items": items}


def _item(title: Any, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}
