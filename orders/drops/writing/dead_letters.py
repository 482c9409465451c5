"""Orders that were admitted and cannot be placed: set aside, with their reason, their units given back."""

import msgspec

from orders.drops.locks import lock_items
from orders.drops.redis.entries import AdmittedOrder
from orders.drops.writing import outbox
from orders.models import Order
from orders.models.drops import DeadLetter, DropItem, DropRelease, epoch_of
from yousinsa.db.transactions import transact


def set_aside(
    drop_id: int, order: AdmittedOrder | None, *, code: str, reason: str, raw: str, entry_id: str
) -> bool:
    """Set one entry of the stream aside, once, and give its units back; True where this call did it.

    `order` is None where it could not be read: then nobody knows what it would have taken. An order that is
    in the database after all is left alone. Raises `RedisError`, `Busy`.
    """
    number = order.number if order else f"unreadable {entry_id}"
    done = transact(lambda: _write(drop_id, order, number, code, reason, raw))
    for release in outbox.undelivered().filter(release_id=outbox.LETTER + number):
        outbox.deliver(release)
    return done


def _write(drop_id: int, order: AdmittedOrder | None, number: str, code: str, reason: str, raw: str) -> bool:
    items = lock_items([drop_id])[drop_id]
    if DeadLetter.objects.filter(number=number).exists() or Order.objects.filter(number=number).exists():
        return False
    DeadLetter.objects.create(
        drop_id=drop_id, number=number, buyer_id=order.buyer if order else 0,
        units=order.units if order else 0, code=code[:50], reason=reason[:300], entry=raw[:10_000],
    )  # fmt: skip
    if order and (back := _units_back(order, items)):
        DropRelease.objects.create(
            drop_id=drop_id, release_id=outbox.LETTER + number, number=number, buyer_id=order.buyer,
            units=msgspec.json.encode(back).decode(), key=order.key or "", epoch=order.epoch,
        )  # fmt: skip
    return True


def _units_back(order: AdmittedOrder, items: dict[int, DropItem]) -> list[tuple[int, int]]:
    """What the order took from the present counters: nothing, if it is of another epoch than they are."""
    if epoch_of(items.values()) != order.epoch:
        return []
    return [(option, units) for option, units, _price in order.lines if option in items and units > 0]
