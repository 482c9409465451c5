"""Orders at the desk: the front page, orders and what is done to them, holds, drops, and the money.

Each page is a module or a folder that imports no other page; `rooms` says where they are in the sidebar.
"""

from orders.admin import holds, payments, records, rooms, settlements
from orders.admin.bulk import page as bulk
from orders.admin.drops import page as drops
from orders.admin.drops import records as drop_records
from orders.admin.orders import page as orders

__all__ = ["bulk", "drop_records", "drops", "holds", "orders", "payments", "records", "rooms", "settlements"]
