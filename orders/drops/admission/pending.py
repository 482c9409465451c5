"""Orders of a drop that are not, or never will be, in the database: accepted, or rejected."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from django.utils.translation import gettext
from redis.exceptions import RedisError

from inventory.selectors import Offer
from orders.drops.definitions import drop_offers
from orders.drops.errors import OrderNotSettled, RedisNeeded
from orders.drops.redis.connections import client
from orders.drops.redis.entries import Entry, decode_entry
from orders.drops.redis.keys import keys_of
from orders.drops.writing.drain import live_drops
from orders.errors import InvalidTransition
from orders.models.drops import DeadLetter
from orders.schemas import LineView, OrderView
from yousinsa.errors import Busy

ACCEPTED, REJECTED = "accepted", "rejected"


def accepted_view(
    entry: Entry, drop_id: int, offers: Mapping[int, Offer], *, status: str = ACCEPTED, note: str = ""
) -> OrderView:
    """An order as it was admitted. Its hold begins when the database has it: nothing is said of its end."""
    lines = []
    total = 0
    for option_id, units, price in entry.lines:
        if offer := offers.get(option_id):
            lines.append(
                LineView(
                    option=option_id, sku=offer.sku, product=offer.product_id, name=offer.product_name,
                    size=offer.size, color=offer.color, quantity=units, unit_price=price,
                )
            )  # fmt: skip
        total += units * price
    return OrderView(entry.number, status, lines, total, None, entry.admitted_at, note=note, drop=drop_id)


def find_unsettled(number: str, buyer_id: int) -> OrderView | None:
    """This buyer's order of that number, if it waits in Redis or was set aside. Raises `Busy`.

    An order that is written at this very moment is in neither place any more: look into the database again.
    """
    drop_ids = live_drops()
    if drop_ids:
        with suppress(RedisNeeded):
            try:
                pipe = client().pipeline(transaction=False)
                for drop_id in drop_ids:
                    pipe.hget(keys_of(drop_id).orders, number)
                answers = pipe.execute()
            except RedisError as exc:
                raise Busy from exc
            for drop_id, raw in zip(drop_ids, answers, strict=True):
                entry = decode_entry(raw) if raw else None
                if (
                    entry
                    and entry.buyer == buyer_id
                    and not DeadLetter.objects.filter(number=number).exists()
                ):
                    return accepted_view(entry, drop_id, drop_offers(drop_id))
    return _rejected(number, buyer_id)


def _rejected(number: str, buyer_id: int) -> OrderView | None:
    letter = DeadLetter.objects.filter(number=number, buyer_id=buyer_id).first()
    if letter is None:
        return None
    with suppress(msgspec.DecodeError):
        return accepted_view(
            decode_entry(letter.entry), letter.drop_id, drop_offers(letter.drop_id),
            status=REJECTED, note=gettext("This order could not be placed: %s") % letter.reason,
        )  # fmt: skip
    return None


def refuse_unsettled(number: str, buyer_id: int) -> None:
    """Raises `OrderNotSettled` for an accepted order, `InvalidTransition` for a rejected one."""
    view = find_unsettled(number, buyer_id)
    if view is not None and view.status == ACCEPTED:
        raise OrderNotSettled
    if view is not None:
        raise InvalidTransition(
            REJECTED, "", gettext("This order was rejected: there is nothing to do with it.")
        )
