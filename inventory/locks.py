"""The only place that locks stock rows (docs/locking.md is the contract in prose).

Rows are locked by primary key, in ascending order, each once, in one statement and never through a join.
Two transactions that lock any sets of rows this way cannot wait for each other in a circle.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from inventory.models import Stock


@dataclass(slots=True)
class LockedStock:
    """A stock row whose lock this transaction holds; the ledger moves its counters."""

    id: int
    option_id: int
    on_hand: int
    reserved: int
    sequence: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


def lock_stock(stock_ids: Iterable[int]) -> dict[int, LockedStock]:
    """Lock these stock rows until the transaction ends; returns them by id, ids that do not exist left out.

    Raises RuntimeError outside a transaction (the lock would be gone before it is used), OperationalError
    when the lock is not had in time (`yousinsa.db.transact` turns that into a retry or `Busy`).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("lock_stock needs a transaction: use yousinsa.db.transact")
    ordered = sorted(set(stock_ids))
    rows = (
        Stock.objects.select_for_update()
        .filter(pk__in=ordered)
        .order_by("pk")
        .values_list("id", "option_id", "on_hand", "reserved", "sequence")
    )
    return {row[0]: LockedStock(*row) for row in rows}
