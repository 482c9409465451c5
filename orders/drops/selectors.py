"""Questions about drops: read-only, no locks."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from inventory.selectors import off_sale
from orders.drops.errors import DropNotFound
from orders.drops.redis import gate
from orders.drops.redis.connections import NO_REDIS, client, run_id
from orders.drops.schemas import DropOptionView, DropView
from orders.models.drops import LIVE, Drop, DropItem, DropStatus, Lane
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


def with_items(drops: QuerySet[Drop]) -> QuerySet[Drop]:
    items = DropItem.objects.select_related("option__product").order_by("id")
    return drops.prefetch_related(Prefetch("items", items))


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


def remaining(drops: Iterable[Drop]) -> dict[int, dict[int, int]]:
    """What can still be bought, by drop id and option id: Redis's counters, where Redis is to be believed."""
    drops = list(drops)
    found = {drop.pk: {item.option_id: item.left for item in drop.items.all()} for drop in drops}
    on_redis = [drop for drop in drops if drop.on_redis and drop.status == DropStatus.OPEN]
    if on_redis:
        try:
            redis = client()
            run = run_id(redis)
            for drop in on_redis:
                left = gate.read(drop, run).left
                # Without a counter nothing can be bought, whatever the escrow holds.
                found[drop.pk] = left if left is not None else dict.fromkeys(found[drop.pk], 0)
        except NO_REDIS as exc:
            logger.warning("what remains of drops is not known: %s", exc)
            found |= {drop.pk: dict.fromkeys(found[drop.pk], 0) for drop in on_redis}
    for drop in drops:
        if drop.status == DropStatus.SETTLED:
            found[drop.pk] = dict.fromkeys(found[drop.pk], 0)
    off = off_sale(option_id for left in found.values() for option_id in left)
    return {drop_id: left | dict.fromkeys(off & left.keys(), 0) for drop_id, left in found.items()}


def _views(drops: QuerySet[Drop]) -> list[DropView]:
    rows = list(with_items(drops))
    left = remaining(rows)
    now = timezone.now()
    views = []
    for drop in rows:
        options = [
            DropOptionView(
                option=item.option_id, sku=item.option.sku, product=item.option.product_id,
                name=item.option.product.name, size=item.option.size, color=item.option.color,
                price=item.price, allotment=item.allotted, remaining=left[drop.pk].get(item.option_id, 0),
            )
            for item in drop.items.all()
        ]  # fmt: skip
        views.append(
            DropView(
                drop.pk, drop.name, drop.status, drop.paused, drop.opens_at, drop.closes_at, now, 0.0,
                drop.limit_per_customer, sum(option.remaining for option in options), options,
            )
        )  # fmt: skip
    return views


class DropViews:
    """Drops as they are shown, read at most every MAX_AGE: before an opening everybody looks at the clock."""

    def __init__(self) -> None:
        self._kept: dict[int | None, tuple[list[DropView], float]] = {}
        self._lock = threading.Lock()

    def coming(self) -> list[DropView]:
        """Open drops and those to come."""
        shown = (DropStatus.SCHEDULED, DropStatus.OPEN)
        drops = Drop.objects.filter(status__in=shown).order_by("opens_at", "id")[:SHOWN]
        return self._get(None, lambda: _views(drops))

    def one(self, drop_id: int) -> DropView:
        """A drop in whatever state. Raises `DropNotFound`."""
        found = self._get(drop_id, lambda: _views(Drop.objects.filter(pk=drop_id)))
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
