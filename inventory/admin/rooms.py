"""Where the lists of stock are in the sidebar."""

from django.utils.translation import gettext_lazy as _

from inventory.models import (
    Delivery,
    Difference,
    MonthSeal,
    Movement,
    ReconciliationRun,
    SealedBalance,
    Stock,
    Stocktake,
)
from shop.desk.navigation import add_room

add_room(
    _("Stock"),
    place=20,
    daily={
        Stock: "inventory_2",
        Movement: "swap_vert",
        Delivery: "local_shipping",
        Stocktake: "fact_check",
        ReconciliationRun: "balance",
    },
    records={Difference: "difference", MonthSeal: "lock", SealedBalance: "account_balance"},
)
