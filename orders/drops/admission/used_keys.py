"""An idempotency key that was used outside of the drop: Redis knows those of the drop alone.

Who is refused is not asked about: the answer would be no other. An order that Redis admitted under such a key
is taken back before its buyer hears of it. What happens in the same moment elsewhere is found when the order
is written (writing/drain.py).
"""

import logging

from django.db import DatabaseError, connection
from redis.exceptions import RedisError

from orders.drops.redis.connections import client
from orders.drops.redis.entries import AdmittedOrder, encode_order
from orders.drops.redis.keys import keys_of
from orders.drops.selectors import live_drops
from orders.drops.writing.dead_letters import set_aside
from orders.errors import IdempotencyKeyReused
from orders.models import Order
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)


def taken_back(drop_id: int, order: AdmittedOrder) -> bool:
    """Whether the key of an admitted order is another order's: then its units and limit are given back.

    False where neither the database nor Redis can be asked: what was admitted stands, as it does while the
    database is away.
    """
    if not order.key:
        return False
    try:
        if not _is_used(drop_id, order):
            return False
        reused = IdempotencyKeyReused()
        return set_aside(
            drop_id, order, code=reused.code, reason=str(reused.title), raw=encode_order(order).decode(),
            entry_id="",
        )  # fmt: skip
    except (DatabaseError, RedisError, Busy) as exc:
        logger.warning("drop %d: the key of order %s was not looked up: %s", drop_id, order.number, exc)
        connection.close()
        return False


def _is_used(drop_id: int, order: AdmittedOrder) -> bool:
    placed = Order.objects.filter(buyer_id=order.buyer, idempotency_key=order.key).exclude(
        number=order.number
    )
    if placed.exists():
        return True
    others = [other for other in live_drops() if other != drop_id]
    if not others:
        return False
    pipe = client().pipeline(transaction=False)
    for other in others:
        pipe.hexists(keys_of(other).keys, f"{order.buyer}:{order.key}")
    return any(pipe.execute())
