"""What the groups may do with stock (shop/rights/groups.py says how it becomes theirs)."""

from shop.rights.groups import CATALOGUE_EDITOR, FINANCE, ORDER_DESK, STOCK_CLERK, STORE_OWNER

_STOCK = ("inventory.view_stock", "inventory.view_movement")
_DOCUMENTS = (
    "inventory.view_delivery", "inventory.view_deliveryline",
    "inventory.view_stocktake", "inventory.view_stocktakeline",
)  # fmt: skip
_CHECKS = ("inventory.view_reconciliationrun", "inventory.view_difference", "inventory.run_reconciliation")

RIGHTS: dict[str, tuple[str, ...]] = {
    CATALOGUE_EDITOR: ("inventory.view_stock",),
    STOCK_CLERK: (
        *_STOCK, *_DOCUMENTS, *_CHECKS,
        "inventory.receive_stock", "inventory.adjust_stock", "inventory.transfer_stock",
        "inventory.count_stock",
    ),
    ORDER_DESK: (*_STOCK, *_DOCUMENTS),
    # Whoever moves the stock does not also correct its books.
    FINANCE: (
        *_STOCK, *_DOCUMENTS, *_CHECKS,
        "inventory.view_monthseal", "inventory.view_sealedbalance", "inventory.close_month",
        "inventory.fix_differences",
    ),
    # Of their own stores only, by hand (inventory/admin/stock/changes.py).
    STORE_OWNER: (*_STOCK, "inventory.receive_stock"),
}  # fmt: skip
