"""What operators see of a running drop, as numbers: for their page, and for Prometheus."""

from typing import NamedTuple

from django.db.models import Sum

from orders.drops.metrics import DEAD_LETTERS, LAG, LEFT, SOLD, WAITING
from orders.drops.redis import gate
from orders.drops.redis.connections import NO_REDIS, client, run_id
from orders.models.drops import LIVE, Drop, DropStatus


class Numbers(NamedTuple):
    """Units and attempts of one drop, now. None: not known, because Redis is away or not to be believed."""

    sold: int
    pending: int | None
    remaining: int | None
    refused: int
    queued: int
    waiting: int | None
    lag: int | None
    dead_letters: int
    unaccounted: int
    redis: str


def numbers(drop: Drop) -> Numbers:
    """All that the operators' page shows. Raises nothing when Redis is away."""
    items = list(drop.items.all())
    tally = drop.tallies.aggregate(refused=Sum("refused"), queued=Sum("queued"))
    left = sum(item.left for item in items)
    pending: int | None = 0
    remaining: int | None = left
    waiting: int | None = 0
    lag: int | None = 0
    state = ""
    if drop.on_redis and drop.status in LIVE:
        try:
            reading = gate.read(drop.pk, drop.epoch, run_id(client()))
        except NO_REDIS:
            pending = remaining = waiting = lag = None
            state = "away"
        else:
            waiting, lag, state = reading.waiting, reading.stream, reading.status or "lost"
            remaining = pending = None
            if reading.left is None:
                state = "lost"
            else:
                remaining = sum(reading.left.values())
                pending = max(0, left - remaining)
    elif drop.status == DropStatus.SETTLED:
        remaining = 0
    return Numbers(
        sum(item.applied for item in items), pending, remaining, tally["refused"] or 0, tally["queued"] or 0,
        waiting, lag, drop.dead_letters.count(), drop.unaccounted, state,
    )  # fmt: skip


def observe() -> None:
    """Set Prometheus's gauges for the drops that are running."""
    for drop in Drop.objects.filter(status__in=LIVE).prefetch_related("items"):
        seen = numbers(drop)
        measures = (
            (seen.sold, SOLD), (seen.dead_letters, DEAD_LETTERS), (seen.lag, LAG), (seen.waiting, WAITING),
            (seen.remaining, LEFT),
        )  # fmt: skip
        for found, measure in measures:
            if found is not None:
                measure.labels(str(drop.pk)).set(found)
