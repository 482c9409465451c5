"""What the groups may do with orders, drops and money (shop/rights/groups.py says how it becomes theirs)."""

from shop.rights.groups import FINANCE, ORDER_DESK, STOCK_CLERK, STORE_OWNER

# With orders come their holds.
_ORDERS = (
    "orders.view_order", "orders.view_orderline", "orders.view_orderevent",
    "orders.view_ordernote", "orders.add_ordernote", "orders.view_trouble",
)  # fmt: skip
_MONEY = ("orders.view_payment", "orders.view_refund", "orders.confirm_payment")
_DROPS = (
    "orders.view_drop", "orders.view_dropitem", "orders.view_deadletter", "orders.view_droprelease",
    "orders.view_droptally",
)  # fmt: skip

RIGHTS: dict[str, tuple[str, ...]] = {
    STOCK_CLERK: _DROPS,
    ORDER_DESK: (
        *_ORDERS, *_MONEY, *_DROPS,
        # Changing a drop is planning it and running it: opening, pausing, closing.
        "orders.add_drop", "orders.change_drop", "orders.delete_drop",
        "orders.add_dropitem", "orders.change_dropitem", "orders.delete_dropitem",
        "orders.ship_order", "orders.deliver_order", "orders.cancel_order", "orders.return_order",
        "orders.correct_order", "orders.lose_order",
    ),
    FINANCE: (
        *_ORDERS, *_MONEY, *_DROPS,
        "orders.pay_out_refund", "orders.approve_settlement",
        "orders.view_settlement", "orders.delete_settlement", "orders.view_settlemententry",
    ),
    STORE_OWNER: ("orders.view_order", "orders.view_orderline", "orders.view_settlement"),
}  # fmt: skip
