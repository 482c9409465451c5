"""Orders of a drop that are not, or never will be, in the database: accepted, or rejected."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from django.utils.translation import gettext
from redis.exceptions import RedisError

from inventory.selectors import Offer
from orders.drops.definitions import drop_offers
from orders.drops.errors import OrderNotWritten, RedisNeeded
from orders.drops.redis.connections import client
from orders.drops.redis.entries import AdmittedOrder, decode_order
from orders.drops.redis.keys import keys_of
from orders.drops.selectors import live_drops
from orders.errors import InvalidTransition
from orders.models.drops import DeadLetter
from orders.schemas import LineView, OrderView
from yousinsa.errors import Busy

ACCEPTED, REJECTED = "accepted", "rejected"


def accepted_view(
    order: AdmittedOrder, drop_id: int, offers: Mapping[int, Offer], *, status: str = ACCEPTED, note: str = ""
) -> OrderView:
    """An order as it was admitted. Its hold begins when the database has it: nothing is said of its end."""
    lines = []
    total = 0
    for option_id, units, price in order.lines:
        if offer := offers.get(option_id):
            lines.append(
                LineView(
                    option=option_id, sku=offer.sku, product=offer.product_id, name=offer.product_name,
                    size=offer.size, color=offer.color, quantity=units, unit_price=price,
                )
            )  # fmt: skip
        total += units * price
    return OrderView(order.number, status, lines, total, None, order.admitted_at, note=note, drop=drop_id)


def find_unwritten(number: str, buyer_id: int) -> OrderView | None:
    """This buyer's order of that number, if it waits in Redis or was set aside. Raises `Busy`.

    An order that is written at this very moment is in neither place any more: look into the database again.
    """
    for drop_id, order in _in_redis(number):
        if order.buyer == buyer_id and not DeadLetter.objects.filter(number=number).exists():
            return accepted_view(order, drop_id, drop_offers(drop_id))
    return _rejected(number, buyer_id)


def _in_redis(number: str) -> list[tuple[int, AdmittedOrder]]:
    """The drops in which an order of that number waits, with the order. Raises `Busy`."""
    drop_ids = live_drops()
    if not drop_ids:
        return []
    try:
        pipe = client().pipeline(transaction=False)
        for drop_id in drop_ids:
            pipe.hget(keys_of(drop_id).orders, number)
        answers = pipe.execute()
    except RedisNeeded:
        return []
    except RedisError as exc:
        raise Busy from exc
    return [(drop_id, decode_order(raw)) for drop_id, raw in zip(drop_ids, answers, strict=True) if raw]


def _rejected(number: str, buyer_id: int) -> OrderView | None:
    letter = DeadLetter.objects.filter(number=number, buyer_id=buyer_id).first()
    if letter is None:
        return None
    with suppress(msgspec.DecodeError):
        return accepted_view(
            decode_order(letter.entry), letter.drop_id, drop_offers(letter.drop_id),
            status=REJECTED, note=gettext("This order could not be placed: %s") % letter.reason,
        )  # fmt: skip
    return None


def refuse_unwritten(number: str, buyer_id: int) -> None:
    """Raises `OrderNotWritten` for an accepted order, `InvalidTransition` for a rejected one."""
    view = find_unwritten(number, buyer_id)
    if view is not None and view.status == ACCEPTED:
        raise OrderNotWritten
    if view is not None:
        raise InvalidTransition(
            REJECTED, "", gettext("This order was rejected: there is nothing to do with it.")
        )
