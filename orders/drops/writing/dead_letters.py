"""Orders that were admitted and cannot be placed: set aside, with their reason, their units given back."""

import msgspec

from orders.drops.locks import lock_items
from orders.drops.redis.entries import Entry
from orders.drops.writing import outbox
from orders.models import Order
from orders.models.drops import DeadLetter, DropItem, DropRelease
from yousinsa.db.transactions import transact


def set_aside(drop_id: int, entry: Entry | None, *, code: str, reason: str, raw: str, entry_id: str) -> bool:
    """Set one entry aside, once, and give its units back to the drop; True where this call did it.

    `entry` is None where it could not be read: then nobody knows what it would have taken. An order that is
    in the database after all is left alone. Raises `RedisError`, `Busy`.
    """
    number = entry.number if entry else f"unreadable {entry_id}"
    done = transact(lambda: _write(drop_id, entry, number, code, reason, raw))
    for release in DropRelease.objects.filter(release_id=outbox.LETTER + number, told_at__isnull=True):
        outbox.tell(release)
    return done


def _write(drop_id: int, entry: Entry | None, number: str, code: str, reason: str, raw: str) -> bool:
    items = lock_items([drop_id])[drop_id]
    if DeadLetter.objects.filter(number=number).exists() or Order.objects.filter(number=number).exists():
        return False
    DeadLetter.objects.create(
        drop_id=drop_id, number=number, buyer_id=entry.buyer if entry else 0,
        units=entry.units if entry else 0, code=code[:50], reason=reason[:300], entry=raw[:10_000],
    )  # fmt: skip
    if entry and (back := _units_back(entry, items)):
        DropRelease.objects.create(
            drop_id=drop_id, release_id=outbox.LETTER + number, number=number, buyer_id=entry.buyer,
            units=msgspec.json.encode(back).decode(), key=entry.key or "", epoch=entry.epoch,
        )  # fmt: skip
    return True


def _units_back(entry: Entry, items: dict[int, DropItem]) -> list[tuple[int, int]]:
    """What the entry took from the present counters: nothing, if it is of another epoch than they are."""
    if {item.epoch for item in items.values()} != {entry.epoch}:
        return []
    return [(option, units) for option, units, _price in entry.lines if option in items and units > 0]
