"""The lock of a drop: all of its items, by primary key, before any stock row (docs/locking.md).

Whoever sells from a drop, gives units back to it, or changes its state holds it. So a state that is read
under it stays as it is until the transaction ends.
"""

from collections.abc import Iterable

from django.db import connection

from orders.models.drops import DropItem


def lock_items(drop_ids: Iterable[int]) -> dict[int, dict[int, DropItem]]:
    """Lock all items of these drops; returns them by drop id and option id.

    Raises RuntimeError outside a transaction, OperationalError when the lock is not had in time.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("lock_items needs a transaction: use yousinsa.db.transact")
    found: dict[int, dict[int, DropItem]] = {}
    ids = sorted(set(drop_ids))
    if ids:
        for item in DropItem.objects.select_for_update().filter(drop_id__in=ids).order_by("pk"):
            found.setdefault(item.drop_id, {})[item.option_id] = item
    return found
