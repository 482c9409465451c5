"""Stock at the desk: counters and their ledger (`stock`), deliveries and stocktakes (`documents`), the books.

Each page is a module or a folder that imports no other page; `rooms` says where they are in the sidebar.
"""

from inventory.admin import reconciliation, rooms, seals
from inventory.admin.documents import deliveries, stocktakes
from inventory.admin.stock import movements, page

__all__ = ["deliveries", "movements", "page", "reconciliation", "rooms", "seals", "stocktakes"]
