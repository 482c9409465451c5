"""Deliver to Redis what came back to an open drop: from rows that were written with the decision."""

from contextlib import suppress

import msgspec
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import ResponseError

from orders.drops.redis.answers import GiveBack
from orders.drops.redis.connections import NO_REDIS, client
from orders.drops.redis.keys import keys_of
from orders.drops.redis.scripts import Script
from orders.models.drops import LIVE, Drop, DropRelease
from orders.models.troubles import Trouble, left_alone, set_aside, settled
from yousinsa.db.errors import is_outage

BATCH = 500
# How the ids of a dead letter's releases begin.
LETTER = "letter-"

_give_back = Script("give_back.lua")
_decode_units = msgspec.json.Decoder(list[tuple[int, int]]).decode


def deliver(release: DropRelease) -> GiveBack:
    """Give one release back, once however often it is delivered.

    What a dead letter gives back must have been admitted: anybody can write to a stream who can write to
    Redis, and such an entry has taken nothing. Raises `RedisError`.
    """
    names = keys_of(release.drop_id)
    lines = [value for line in _decode_units(release.units) for value in line]
    answer = GiveBack(
        _give_back.run(
            client(),
            [names.gate, names.customers, names.keys, names.orders, names.released],
            release.epoch, release.release_id, release.buyer_id, release.number, release.key,
            int(release.release_id.startswith(LETTER)), *lines,
        )
    )  # fmt: skip
    if answer != GiveBack.EPOCH:
        DropRelease.objects.filter(pk=release.pk).update(told_at=timezone.now())
        settled(Trouble.Job.OUTBOX, [release.pk])
    return answer


def deliver_now(number: str) -> None:
    """What an order has just given back: at once if Redis answers, else a worker delivers it later."""
    with suppress(*NO_REDIS, DatabaseError, msgspec.MsgspecError):
        for release in undelivered().filter(number=number):
            deliver(release)


def deliver_due() -> int:
    """Give back what is due in live drops; returns how many releases Redis knows of now.

    Of another epoch than the gate's are those that a rebuild is about to count, or has counted. What cannot
    be delivered for a reason of its own is set aside. Raises `RedisError`, and what says that the database
    is away.
    """
    due = undelivered().filter(drop__status__in=LIVE).exclude(pk__in=left_alone(Trouble.Job.OUTBOX))
    delivered = 0
    for release in list(due.order_by("id")[:BATCH]):
        try:
            delivered += deliver(release) != GiveBack.EPOCH
        except Exception as exc:
            if is_outage(exc) or (isinstance(exc, NO_REDIS) and not isinstance(exc, ResponseError)):
                raise
            set_aside(Trouble.Job.OUTBOX, release.pk, release.release_id, exc)
    return delivered


def undelivered() -> QuerySet[DropRelease]:
    """Releases of which Redis may not know yet."""
    return DropRelease.objects.filter(told_at__isnull=True)


def counted_anew(drop: Drop) -> None:
    """Inside a transaction that holds the drop's lock and reads its counters: nothing is left to deliver."""
    undelivered().filter(drop=drop).update(told_at=timezone.now())
