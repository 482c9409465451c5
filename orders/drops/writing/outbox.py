"""Tell Redis of units that came back to an open drop: from rows that were written with the decision."""

from contextlib import suppress

import msgspec
from django.db import DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from orders.drops.errors import RedisNeeded
from orders.drops.redis.connections import Script, client
from orders.drops.redis.keys import keys_of
from orders.models.drops import Drop, DropRelease, DropStatus

BATCH = 500
# How the ids of a dead letter's releases begin.
LETTER = "letter-"
UNSETTLED = (DropStatus.OPEN, DropStatus.CLOSED)

_give_back = Script("give_back.lua")
_decode_units = msgspec.json.Decoder(list[tuple[int, int]]).decode


def tell(release: DropRelease) -> str:
    """Give one release back, once however often it is said; returns what Redis answered.

    What a dead letter gives back must have been admitted: anybody can write to a stream who can write to
    Redis, and such an entry has taken nothing. Raises `RedisError`.
    """
    names = keys_of(release.drop_id)
    lines = [value for line in _decode_units(release.units) for value in line]
    answer = _give_back.run(
        client(),
        [names.gate, names.customers, names.keys, names.orders, names.released],
        release.epoch, release.release_id, release.buyer_id, release.number, release.key,
        int(release.release_id.startswith(LETTER)), *lines,
    )  # fmt: skip
    if answer != "epoch":
        DropRelease.objects.filter(pk=release.pk).update(told_at=timezone.now())
    return str(answer)


def tell_now(number: str) -> None:
    """What an order has just given back: at once if Redis answers, else a worker says it later."""
    with suppress(RedisError, RedisNeeded, DatabaseError):
        for release in DropRelease.objects.filter(number=number, told_at__isnull=True):
            tell(release)


def tell_due() -> int:
    """Give back what is due in unsettled drops; returns how many releases Redis knows of now.

    Of another epoch than the gate's are those that a rebuild is about to count, or has counted.
    Raises `RedisError`.
    """
    told = 0
    due = DropRelease.objects.filter(told_at__isnull=True, drop__status__in=UNSETTLED).order_by("id")
    for release in due[:BATCH]:
        told += tell(release) != "epoch"
    return told


def counted_anew(drop: Drop) -> None:
    """Inside a transaction that holds the drop's lock and reads its counters: nothing is left to tell."""
    DropRelease.objects.filter(drop=drop, told_at__isnull=True).update(told_at=timezone.now())
