"""Questions about drops: read-only, no locks."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from django.db.models import BooleanField, ExpressionWrapper
from django.utils import timezone

from inventory.selectors import on_sale
from orders.drops.errors import DropNotFound
from orders.drops.redis import gate
from orders.drops.redis.connections import NO_REDIS, client, run_id
from orders.drops.schemas import DropOptionView, DropView
from orders.models.drops import LIVE, Drop, DropItem, DropStatus, Lane, epoch_of
from yousinsa.db.statements import Statement
from yousinsa.db.transactions import reading

logger = logging.getLogger(__name__)

SHOWN = 100
MAX_AGE = 0.25


def get_drop(drop_id: int) -> Drop:
    """A drop; raises `DropNotFound`."""
    drop = Drop.objects.filter(pk=drop_id).first()
    if drop is None:
        raise DropNotFound
    return drop


def live_drops() -> list[int]:
    """Drops whose orders come through a stream and may not all be written yet."""
    lanes = [lane for lane in Lane if lane.needs_redis]
    drops = Drop.objects.filter(status__in=LIVE, lane__in=lanes).order_by("id")
    return reading(lambda: list(drops.values_list("id", flat=True)))


def escrow_units(option_ids: Sequence[int]) -> dict[int, int]:
    """Units that drops have set aside and not sold, by option id: reserved for no order yet. One query."""
    units: dict[int, int] = {}
    items = DropItem.objects.filter(option_id__in=option_ids).exclude(drop__status=DropStatus.SCHEDULED)
    for option_id, allotted, applied, returned in items.values_list(
        "option_id", "allotted", "applied", "returned"
    ):
        units[option_id] = units.get(option_id, 0) + allotted - applied - returned
    return units


_SHOWN_OF_A_DROP = (
    "id", "name", "lane", "status", "paused", "opens_at", "closes_at", "limit_per_customer"
)  # fmt: skip
_COMING = Statement(
    lambda: (
        Drop.objects.filter(status__in=(DropStatus.SCHEDULED, DropStatus.OPEN))
        .order_by("opens_at", "id")
        .values_list(*_SHOWN_OF_A_DROP)[:SHOWN]
    )
)
_ONE = Statement(lambda drop_id: Drop.objects.filter(pk=drop_id).values_list(*_SHOWN_OF_A_DROP))
_ITEMS = Statement(
    lambda drop_ids: DropItem.objects.filter(drop__id__in=drop_ids)
    .order_by("id")
    .annotate(on_sale=ExpressionWrapper(on_sale("option__"), BooleanField()))
    .values_list(
        "drop_id", "option_id", "option__sku", "option__product_id", "option__product__name",
        "option__size", "option__color", "price", "allotted", "applied", "returned", "epoch", "on_sale",
    )
)  # fmt: skip


def _views(drops: Sequence[Any]) -> list[DropView]:
    """Drops with what remains of them. One query, none for none."""
    items: dict[int, list[Any]] = {drop.id: [] for drop in drops}
    for item in _ITEMS.rows(list(items)) if items else ():
        items[item.drop_id].append(item)
    left = _remaining(drops, items)
    now = timezone.now()
    views = []
    for drop in drops:
        options = [
            DropOptionView(
                option=item.option_id, sku=item.option__sku, product=item.option__product_id,
                name=item.option__product__name, size=item.option__size, color=item.option__color,
                price=item.price, allotment=item.allotted,
                remaining=left[drop.id].get(item.option_id, 0) if item.on_sale else 0,
            )
            for item in items[drop.id]
        ]  # fmt: skip
        views.append(
            DropView(
                drop.id, drop.name, drop.status, drop.paused, drop.opens_at, drop.closes_at, now, 0.0,
                drop.limit_per_customer, sum(option.remaining for option in options), options,
            )
        )  # fmt: skip
    return views


def _remaining(drops: Sequence[Any], items: dict[int, list[Any]]) -> dict[int, dict[int, int]]:
    """What is left, by drop id and option id: Redis's counters, where Redis is to be believed."""
    nothing = {drop.id: dict.fromkeys((item.option_id for item in items[drop.id]), 0) for drop in drops}
    found = {
        drop.id: {item.option_id: item.allotted - item.applied - item.returned for item in items[drop.id]}
        for drop in drops
        if drop.status != DropStatus.SETTLED
    }
    on_redis = [drop for drop in drops if Lane(drop.lane).needs_redis and drop.status == DropStatus.OPEN]
    if on_redis:
        try:
            redis = client()
            run = run_id(redis)
            for drop in on_redis:
                # Without a counter nothing can be bought, whatever the escrow holds.
                left = gate.read(drop.id, epoch_of(items[drop.id]), run).left
                found[drop.id] = nothing[drop.id] if left is None else left
        except NO_REDIS as exc:
            logger.warning("what remains of drops is not known: %s", exc)
            found |= {drop.id: nothing[drop.id] for drop in on_redis}
    return nothing | found


class DropViews:
    """Drops as they are shown, read at most every MAX_AGE: before an opening everybody looks at the clock."""

    def __init__(self) -> None:
        self._kept: dict[int | None, tuple[list[DropView], float]] = {}
        self._lock = threading.Lock()

    def coming(self) -> list[DropView]:
        """Open drops and those to come."""
        return self._get(None, lambda: _views(_COMING.rows()))

    def one(self, drop_id: int) -> DropView:
        """A drop in whatever state. Raises `DropNotFound`."""
        found = self._get(drop_id, lambda: _views(_ONE.rows(drop_id)))
        if not found:
            raise DropNotFound
        return found[0]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def _get(self, key: int | None, read: Callable[[], list[DropView]]) -> list[DropView]:
        views, at = self._kept.get(key, ([], 0.0))
        if time.monotonic() - at > MAX_AGE:
            with self._lock:
                views, at = self._kept.get(key, ([], 0.0))
                if time.monotonic() - at > MAX_AGE:
                    views = reading(read)
                    if len(self._kept) > 10 * SHOWN:
                        self._kept.clear()
                    self._kept[key] = (views, time.monotonic())
        return [_at_this_moment(view) for view in views]


def _at_this_moment(view: DropView) -> DropView:
    now = timezone.now()
    opens_in = max(0.0, (view.opens_at - now).total_seconds())
    return msgspec.structs.replace(view, server_time=now, opens_in_seconds=round(opens_in, 3))


drop_views = DropViews()
