"""Who may do what: the groups that the shop brings along, and their rights.

The table is the truth: after each `migrate` a group of this name holds exactly these rights. A migration
makes the groups once, so that a group that was deleted or renamed does not come back, and a renamed one
is left alone. Who wants other rights makes a group of another name.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group, Permission
from django.core.checks import CheckMessage, Error

CATALOGUE_EDITOR = "Catalogue editor"
STOCK_CLERK = "Stock clerk"
ORDER_DESK = "Order desk"
FINANCE = "Finance"
STORE_OWNER = "Store owner"

_CATALOGUE = ("shop.view_product", "shop.view_option", "shop.view_category", "shop.view_store")
_STOCK = ("inventory.view_stock", "inventory.view_movement")
_SHEETS = (
    "inventory.view_delivery", "inventory.view_deliveryline",
    "inventory.view_stocktake", "inventory.view_stocktakeline",
)  # fmt: skip
# With orders come their holds.
_ORDERS = (
    "orders.view_order", "orders.view_orderline", "orders.view_orderevent",
    "orders.view_ordernote", "orders.add_ordernote",
)  # fmt: skip
_MONEY = ("orders.view_payment", "orders.view_refund")
_DROPS = (
    "orders.view_drop", "orders.view_dropitem", "orders.view_deadletter", "orders.view_droprelease",
    "orders.view_droptally",
)  # fmt: skip
_CHECKS = ("inventory.view_reconciliationrun", "inventory.view_difference", "inventory.run_reconciliation")

GROUPS: dict[str, tuple[str, ...]] = {
    CATALOGUE_EDITOR: (
        *_CATALOGUE,
        "shop.add_product", "shop.change_product", "shop.delete_product",
        "shop.add_option", "shop.change_option",
        "shop.add_category", "shop.change_category", "shop.delete_category",
        "shop.decide_store",
        "inventory.view_stock",
    ),
    STOCK_CLERK: (
        *_CATALOGUE, *_STOCK, *_SHEETS, *_DROPS,
        "inventory.receive_stock", "inventory.adjust_stock", "inventory.transfer_stock",
        "inventory.count_stock", *_CHECKS,
    ),
    ORDER_DESK: (
        *_CATALOGUE, *_STOCK, *_SHEETS, *_ORDERS, *_MONEY, *_DROPS,
        # Changing a drop is planning it and running it: opening, pausing, closing.
        "orders.add_drop", "orders.change_drop", "orders.delete_drop",
        "orders.add_dropitem", "orders.change_dropitem", "orders.delete_dropitem",
        "orders.confirm_payment", "orders.ship_order", "orders.deliver_order", "orders.cancel_order",
        "orders.return_order",
        "shop.view_user",
    ),
    # Whoever moves the stock does not also correct its books.
    FINANCE: (
        *_CATALOGUE, *_STOCK, *_SHEETS, *_ORDERS, *_MONEY, *_DROPS,
        "orders.confirm_payment", "orders.pay_out_refund", "orders.approve_settlement",
        "orders.view_settlement", "orders.delete_settlement", "orders.view_settlemententry",
        "inventory.view_monthseal", "inventory.view_sealedbalance", "inventory.close_month",
        *_CHECKS, "inventory.fix_differences",
    ),
    # Of their own stores only (shop/desk/owners.py).
    STORE_OWNER: (
        *_CATALOGUE, *_STOCK, "orders.view_order", "orders.view_orderline", "orders.view_settlement",
        "shop.add_product", "shop.change_product", "shop.add_option", "shop.change_option",
    ),
}  # fmt: skip


def declared() -> set[str]:
    """Every permission that an installed model declares, as `app.codename`."""
    names: set[str] = set()
    for model in apps.get_models():
        opts = model._meta
        codenames = [get_permission_codename(action, opts) for action in opts.default_permissions]
        codenames += [codename for codename, _name in opts.permissions]
        names.update(f"{opts.app_label}.{codename}" for codename in codenames)
    return names


def check_groups(app_configs: Sequence[Any] | None, **kwargs: Any) -> Iterable[CheckMessage]:
    """Every name in the table is a permission that exists."""
    known = declared()
    for group, names in GROUPS.items():
        for name in names:
            if name not in known:
                yield Error(
                    f"The group {group!r} has a permission that no model declares: {name}", id="shop.E001"
                )


def grant_groups(**kwargs: Any) -> None:
    """Give the groups of this table that exist exactly its rights. Repeating it changes nothing."""
    groups = list(Group.objects.filter(name__in=GROUPS))
    if not groups:
        return
    permissions = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    for group in groups:
        group.permissions.set(permissions[name] for name in GROUPS[group.name] if name in permissions)
