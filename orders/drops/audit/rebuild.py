"""Compute a drop's counters anew: from the database, after the stream has been written into it."""

import logging
import secrets
import time
from typing import NamedTuple

from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext

from inventory.selectors import off_sale
from orders.drops.escrow import save_items
from orders.drops.limits import units_bought
from orders.drops.locks import lock_items
from orders.drops.redis import gate
from orders.drops.redis.connections import client, redis_or_busy, run_id
from orders.drops.selectors import get_drop
from orders.drops.writing import outbox
from orders.drops.writing.drain import drain_drop
from orders.models import Order, OrderLine
from orders.models.drops import DeadLetter, Drop, DropItem, DropStatus, begin_epoch, epoch_of
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy, Conflict

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 90.0
# Within this every process has written down what it acknowledged before the gate was shut.
TALLIES_SECONDS = 1.5


class Rebuilt(NamedTuple):
    """`left` by option, as it was written to Redis; `unaccounted` are units that this rebuild found lost."""

    left: dict[int, int]
    unaccounted: int
    epoch: int


def rebuild(drop_id: int) -> Rebuilt:
    """Shut the gate, write what the stream holds, count, and open the gate in a new epoch.

    Entries of an earlier epoch that turn up afterwards (an old replica, an old disk) are not sold. Safe
    when several try: one does it. Raises `Conflict` for a drop that has no gate to rebuild, `RedisNeeded`,
    `Busy` where Redis or the database does not answer.
    """
    drop = get_drop(drop_id)
    if not drop.on_redis or drop.status != DropStatus.OPEN:
        raise Conflict(gettext("Only an open drop on Redis has counters to rebuild."))
    with redis_or_busy():
        return _rebuild(drop)


def _rebuild(drop: Drop) -> Rebuilt:
    redis = client()
    gate.check_server(redis)
    run, token = run_id(redis), secrets.token_hex(16)
    if not gate.begin_rebuild(redis, drop.pk, token):
        raise Conflict(gettext("Somebody else is rebuilding this drop at the moment."))
    try:
        _drain_behind_the_gate(drop)
        items, customers, lost = transact(lambda: _next_epoch(drop.pk))
        drop = Drop.objects.get(pk=drop.pk)
        gate.write_people(redis, drop.pk, customers, _keys_taken(drop.pk))
        opened = gate.write_gate(
            redis, drop, items, off_sale(i.option_id for i in items), token=token, run=run
        )
    except BaseException:
        gate.end_rebuild(redis, drop.pk, token)
        raise
    if not opened:
        raise Conflict(gettext("The rebuild took too long and was given up: try again."))
    Drop.objects.filter(pk=drop.pk).update(primed_at=timezone.now(), problem="")
    return Rebuilt({item.option_id: item.left for item in items}, lost, epoch_of(items))


def _drain_behind_the_gate(drop: Drop) -> None:
    """Admit nothing more, and write what was admitted. Raises `RedisError`, `Busy`."""
    gate.fence(drop.pk)
    if not drain_drop(drop.pk, seconds=DRAIN_SECONDS):
        raise Busy(gettext("The stream could not be written to the database in time."))
    if drop.primed_at:
        # What the processes acknowledged last is on its way into the tallies.
        time.sleep(TALLIES_SECONDS)


def _next_epoch(drop_id: int) -> tuple[list[DropItem], dict[int, int], int]:
    items = list(lock_items([drop_id])[drop_id].values())
    drop = Drop.objects.get(pk=drop_id)
    if drop.status != DropStatus.OPEN:
        raise Conflict(gettext("The drop was closed meanwhile."))
    begin_epoch(items)
    save_items(items)
    outbox.counted_anew(drop)
    return items, units_bought(drop_id), count_unaccounted(drop)


def count_unaccounted(drop: Drop) -> int:
    """Units that were acknowledged and are nowhere: neither an order nor a dead letter. Counted once.

    Inside a transaction that holds the drop's lock, after its stream was written. The units themselves were
    never taken from the escrow, so they are there to be sold, or to go back to stock.
    """
    lines = OrderLine.objects.filter(order__drop=drop).order_by()
    acknowledged = drop.tallies.aggregate(n=Sum("acknowledged"))["n"] or 0
    placed = lines.aggregate(n=Sum("quantity"))["n"] or 0
    set_aside = DeadLetter.objects.filter(drop=drop).aggregate(n=Sum("units"))["n"] or 0
    lost = max(0, acknowledged - placed - set_aside - drop.unaccounted)
    if lost:
        logger.error("drop %d (%s): %d units unaccounted for", drop.pk, drop.name, lost)
        Drop.objects.filter(pk=drop.pk).update(unaccounted=drop.unaccounted + lost)
    return int(lost)


def _keys_taken(drop_id: int) -> list[tuple[int, str | None, str, str]]:
    """Idempotency keys of this drop's orders: (buyer, key, number, fingerprint)."""
    orders = Order.objects.filter(drop_id=drop_id, idempotency_key__isnull=False).order_by()
    return list(orders.values_list("buyer_id", "idempotency_key", "number", "fingerprint"))
