"""Does Redis say of a drop what the database says? To the unit, also while orders flow.

For each option: the counter, the units of the stream's orders that are neither in the database nor set
aside, the units on their way back, what is sold, and what was returned must be the allotment. Under the
drop's lock nothing is written and nothing comes back, and Redis answers at one moment; so an order between
its COMMIT and its XACK counts once. The lock is asked for only where a first look does not add up.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from django.utils.translation import gettext_noop

from orders.drops.locks import lock_items
from orders.drops.redis import gate
from orders.drops.redis.connections import NO_REDIS, client, run_id
from orders.drops.redis.entries import decode_order
from orders.drops.redis.keys import keys_of
from orders.models import Order
from orders.models.drops import LIVE, DeadLetter, Drop, DropItem, DropRelease, epoch_of
from yousinsa.db.transactions import reading, transact
from yousinsa.language import recordable

PAGE = 1000

LOST = recordable(gettext_noop("Redis lost the counters"))
UNACCOUNTED = recordable(gettext_noop("units unaccounted for"))
TOO_MANY = recordable(gettext_noop("Redis sells units that the drop does not have"))
UNREACHABLE = recordable(gettext_noop("Redis does not answer"))


class EscrowFinding(NamedTuple):
    """An option of a drop that does not add up: `found` of the `allotted` units were found."""

    drop_id: int
    option_id: int
    allotted: int
    found: int
    cause: str


def check_escrow(*, option_id: int | None = None) -> list[EscrowFinding]:
    """What does not add up, in all drops that are open or being closed. Raises `Busy`."""
    drops = [drop for drop in Drop.objects.filter(status__in=LIVE).order_by("id") if drop.on_redis]
    findings: list[EscrowFinding] = []
    for drop in drops:
        if reading(lambda: _compare(drop)):  # noqa: B023 (asked at once)
            findings += transact(lambda: _under_lock(drop.pk))  # noqa: B023
    return [found for found in findings if option_id is None or found.option_id == option_id]


def _under_lock(drop_id: int) -> list[EscrowFinding]:
    lock_items([drop_id])
    drop = Drop.objects.get(pk=drop_id)
    return _compare(drop) if drop.status in LIVE else []


def _compare(drop: Drop) -> list[EscrowFinding]:
    items = list(DropItem.objects.filter(drop=drop).order_by("id"))
    releases = list(DropRelease.objects.filter(drop=drop, told_at__isnull=True))
    try:
        left, in_stream, coming_back = _ask_redis(drop, items, releases)
    except NO_REDIS:
        return [
            EscrowFinding(drop.pk, i.option_id, i.allotted, i.applied + i.returned, UNREACHABLE)
            for i in items
        ]
    findings = []
    for item in items:
        counter = (left or {}).get(item.option_id, 0)
        found = (
            counter + in_stream[item.option_id] + coming_back[item.option_id] + item.applied + item.returned
        )
        if found != item.allotted:
            cause = TOO_MANY if found > item.allotted else UNACCOUNTED if left is not None else LOST
            findings.append(EscrowFinding(drop.pk, item.option_id, item.allotted, found, cause))
    return findings


def _ask_redis(
    drop: Drop, items: list[DropItem], releases: list[DropRelease]
) -> tuple[dict[int, int] | None, Counter[int], Counter[int]]:
    """Counters (None: not to be believed), units that wait in the stream, units on their way back."""
    redis, names = client(), keys_of(drop.pk)
    pipe = redis.pipeline()  # MULTI: one moment
    pipe.hgetall(names.gate)
    pipe.xrevrange(names.stream, count=1)
    for release in releases:
        pipe.sismember(names.released, release.release_id)
    fields, last, *given_back = pipe.execute()
    epoch = epoch_of(items)
    coming_back: Counter[int] = Counter()
    for release, is_delivered in zip(releases, given_back, strict=True):
        if not is_delivered and release.epoch == epoch:
            for option_id, units in msgspec.json.decode(release.units):
                coming_back[option_id] += units
    in_stream = _in_stream(redis, names.stream, last[0][0]) if last else Counter()
    return gate.believed_left(fields, epoch, run_id(redis)), in_stream, coming_back


def _in_stream(redis: Any, stream: str, last: str) -> Counter[int]:
    """Units of the entries up to `last` that are not in the database yet, a page at a time."""
    units: Counter[int] = Counter()
    after = "-"
    while page := redis.xrange(stream, after, last, count=PAGE):
        waiting: dict[str, list[tuple[int, int, int]]] = {}
        for _id, fields in page:
            try:
                order = decode_order(fields.get("o", ""))
            except msgspec.DecodeError:
                continue  # nobody knows what it took, if anything
            waiting[order.number] = order.lines
        for number in _written(waiting):
            del waiting[number]
        for lines in waiting.values():
            for option_id, n, _price in lines:
                units[option_id] += n
        after = f"({page[-1][0]}"
    return units


def _written(numbers: Iterable[str]) -> set[str]:
    numbers = list(numbers)
    orders = Order.objects.filter(number__in=numbers).values_list("number", flat=True)
    letters = DeadLetter.objects.filter(number__in=numbers).values_list("number", flat=True)
    return set(orders) | set(letters)
