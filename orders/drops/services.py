"""What is done with a drop: create, open, pause, resume, close, settle.

Each is idempotent: said twice, or by several at once, it happens once. Redis is told before or after a
transaction, never inside one.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from redis.exceptions import RedisError

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import MAX_UNITS, Kind
from inventory.selectors import stock_ids
from orders.drops.audit.rebuild import count_unaccounted, rebuild
from orders.drops.definitions import definitions
from orders.drops.errors import DropNotFound
from orders.drops.escrow import reference, save_items
from orders.drops.locks import lock_items
from orders.drops.redis import gate
from orders.drops.redis.connections import client, run_id
from orders.drops.selectors import board
from orders.drops.writing import outbox
from orders.drops.writing.drain import drain_drop
from orders.models.drops import Drop, DropItem, DropStatus, Lane
from shop.models import Option
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy, Conflict, Invalid, Problem

logger = logging.getLogger(__name__)

MAX_ITEMS = 200
SETTLE_SECONDS = 20.0


class ItemDraft(NamedTuple):
    """One option of a new drop: units to sell, and the price in won (None: the product's)."""

    option_id: int
    allotment: int
    price: int | None = None


def create_drop(
    *,
    name: str,
    items: Sequence[ItemDraft],
    limit: int,
    lane: str = Lane.REDIS_LUA,
    opens_at: datetime | None = None,
    closes_at: datetime | None = None,
    admission_rate: int | None = None,
) -> Drop:
    """A scheduled drop; `opens_at` None means now. Raises `Invalid` naming the field."""
    opens_at = opens_at or timezone.now()
    _check(name, limit, lane, opens_at, closes_at, admission_rate)
    prices = _check_items(items)
    with transaction.atomic():
        drop = Drop.objects.create(
            name=name.strip(), lane=lane, limit_per_customer=limit, opens_at=opens_at, closes_at=closes_at,
            admission_rate=admission_rate,
        )  # fmt: skip
        for item in sorted(items):
            price = prices[item.option_id] if item.price is None else item.price
            DropItem.objects.create(drop=drop, option_id=item.option_id, price=price, allotted=item.allotment)
    return drop


def _check(
    name: str, limit: int, lane: str, opens_at: datetime, closes_at: datetime | None, rate: int | None
) -> None:
    errors = {}
    if not 1 <= len(name.strip()) <= 100:
        errors["name"] = gettext("Must be 1 to 100 characters.")
    if limit < 1 or limit > MAX_UNITS:
        errors["limit"] = gettext("Must be at least 1.")
    if lane not in Lane.values:
        errors["lane"] = gettext("Must be one of: %s.") % ", ".join(Lane.values)
    if closes_at and closes_at <= opens_at:
        errors["closes_at"] = gettext("Must be later than the opening.")
    if rate is not None and rate < 1:
        errors["admission_rate"] = gettext("Must be at least 1.")
    elif rate is not None and lane == Lane.GROUP_COMMIT:
        errors["admission_rate"] = gettext(
            "The queue is kept in Redis: choose a lane on Redis, or leave this out."
        )
    if errors:
        raise Invalid(errors=errors)


def _check_items(items: Sequence[ItemDraft]) -> dict[int, int]:
    """The products' prices by option id; raises `Invalid`."""
    ids = [item.option_id for item in items]
    if not 1 <= len(ids) <= MAX_ITEMS:
        raise Invalid(errors={"option": gettext("A drop has 1 to %d options.") % MAX_ITEMS})
    if len(set(ids)) < len(ids):
        raise Invalid(errors={"option": gettext("Name each option once.")})
    if any(not 1 <= item.allotment <= MAX_UNITS for item in items):
        raise Invalid(errors={"allotment": gettext("Must be at least 1.")})
    if any(item.price is not None and item.price < 0 for item in items):
        raise Invalid(errors={"price": gettext("Must not be negative.")})
    options = Option.objects.filter(pk__in=ids, stock__isnull=False)
    prices = dict(options.values_list("id", "product__price"))
    if missing := [str(id) for id in ids if id not in prices]:
        raise Invalid(errors={"option": gettext("Not kept in stock: %s.") % ", ".join(missing)})
    return prices


def open_drop(drop_id: int, *, actor_id: int | None = None) -> None:
    """Set the allotment aside and begin to sell.

    Raises `InsufficientStock` where there is not that much available, `Conflict` for a drop that was closed,
    `RedisNeeded` for a lane without a Redis that keeps what it is given, `Busy`.
    """
    drop = _get(drop_id)
    if drop.on_redis:
        _ask_redis(lambda: gate.check_server(client()))
    _change(drop_id, lambda: _allot(drop_id, actor_id))
    drop.refresh_from_db()
    if drop.on_redis and drop.status == DropStatus.OPEN and drop.primed_at is None:
        try:
            rebuild(drop_id)
        except Conflict:
            # Somebody else opens it at this very moment: that is as good.
            if not Drop.objects.filter(pk=drop_id, status=DropStatus.OPEN).exists():
                raise


def _allot(drop_id: int, actor_id: int | None) -> None:
    items = lock_items([drop_id]).get(drop_id, {})
    drop = _get(drop_id)
    if drop.status == DropStatus.OPEN:
        return
    if drop.status != DropStatus.SCHEDULED:
        raise Conflict(gettext("A drop that was closed cannot be opened again: create another one."))
    if not items:
        raise Conflict(gettext("The drop has nothing to sell: give it an option and an allotment."))
    if drop.closes_at and drop.closes_at <= timezone.now():
        raise Conflict(gettext("The drop's closing time is past: change it first."))
    stock_of = stock_ids(items)
    ledger.post(
        lock_stock(stock_of.values()),
        [
            ledger.Entry(stock_of[id], Kind.ALLOT, 0, item.allotted, reference(drop_id), actor_id, "opened")
            for id, item in items.items()
        ],
    )
    # Opened ahead of its time by hand, it sells from now on.
    drop.status, drop.opens_at, drop.problem = DropStatus.OPEN, min(drop.opens_at, timezone.now()), ""
    drop.save(update_fields=["status", "opens_at", "problem"])


def pause_drop(drop_id: int) -> None:
    """Sell nothing until it is resumed; what was admitted goes on. Raises `Conflict`, `Busy`."""
    _change(drop_id, lambda: _set_paused(drop_id, True))
    if _get(drop_id).on_redis:
        _ask_redis(lambda: gate.set_status(drop_id, gate.PAUSED, after=[gate.OPEN]))


def resume_drop(drop_id: int) -> None:
    """Sell again. Raises `Conflict`, `Busy`."""
    _change(drop_id, lambda: _set_paused(drop_id, False))
    if _get(drop_id).on_redis:
        _ask_redis(lambda: gate.set_status(drop_id, gate.OPEN, after=[gate.PAUSED]))


def _set_paused(drop_id: int, paused: bool) -> None:
    lock_items([drop_id])
    drop = _get(drop_id)
    if drop.status != DropStatus.OPEN:
        raise Conflict(gettext("Only an open drop can be paused or resumed."))
    Drop.objects.filter(pk=drop_id).update(paused=paused)


def close_drop(drop_id: int, *, actor_id: int | None = None) -> bool:
    """End the sale, and give back what was not sold once all that was admitted is written.

    Returns whether it is settled; what is not is settled by `run_drops`. A drop that never opened is settled
    at once. Raises `Busy` where Redis or the database does not answer.
    """
    drop = _get(drop_id)
    if drop.on_redis and drop.status == DropStatus.OPEN:
        _ask_redis(lambda: gate.shut(drop_id))  # first, so that nothing is admitted which nobody would write
    _change(drop_id, lambda: _close(drop_id))
    return settle_drop(drop_id, actor_id=actor_id)


def _close(drop_id: int) -> None:
    lock_items([drop_id])
    following = {DropStatus.OPEN: DropStatus.CLOSED, DropStatus.SCHEDULED: DropStatus.SETTLED}
    drop = _get(drop_id)
    if status := following.get(DropStatus(drop.status)):
        Drop.objects.filter(pk=drop_id).update(status=status, paused=False, problem="")


def settle_drop(drop_id: int, *, actor_id: int | None = None, seconds: float = SETTLE_SECONDS) -> bool:
    """Write the rest of a closed drop's stream, then unallot what is left; True once that is done.

    Raises `Busy`.
    """
    drop = _get(drop_id)
    if drop.status != DropStatus.CLOSED:
        return drop.status == DropStatus.SETTLED
    if drop.on_redis:
        # Again: Redis may have come back with a gate that was open when it was saved.
        _ask_redis(lambda: gate.shut(drop_id))
        if not _ask_redis(lambda: drain_drop(drop_id, seconds=seconds)):
            return False
    _change(drop_id, lambda: _unallot(drop_id, actor_id))
    if drop.on_redis:
        _ask_redis(lambda: gate.forget(drop_id))
    return True


def _unallot(drop_id: int, actor_id: int | None) -> None:
    items = lock_items([drop_id])[drop_id]
    drop = _get(drop_id)
    if drop.status != DropStatus.CLOSED:
        return
    left = {id: item.left for id, item in items.items() if item.left}
    stock_of = stock_ids(left)
    ledger.post(
        lock_stock(stock_of.values()),
        [
            ledger.Entry(stock_of[id], Kind.UNALLOT, 0, -n, reference(drop_id), actor_id, "closed")
            for id, n in left.items()
        ],
    )
    for id, n in left.items():
        items[id].returned += n
    save_items(items.values())
    outbox.counted_anew(drop)
    if drop.on_redis:
        count_unaccounted(drop)
    Drop.objects.filter(pk=drop_id).update(status=DropStatus.SETTLED, problem="")


def _change(drop_id: int, work: Callable[[], None]) -> None:
    """A transaction that changes the drop; what this process knew of it is read again."""
    transact(work)
    definitions.forget(drop_id)
    board.clear()


def _get(drop_id: int) -> Drop:
    drop = Drop.objects.filter(pk=drop_id).first()
    if drop is None:
        raise DropNotFound
    return drop


def _ask_redis(question: Any) -> Any:
    try:
        return question()
    except RedisError as exc:
        raise Busy(gettext("Redis does not answer: %s") % exc) from exc


# --- By themselves, at their time ---------------------------------------------------------------------------


def run_due() -> int:
    """Open, close and settle what is due, and tell Redis what is due; returns how many drops were moved.

    What one drop is refused is written down with it and stops no other. Safe when several run.
    """
    now = timezone.now()
    moved = 0
    unsettled = Drop.objects.exclude(status=DropStatus.SETTLED).order_by("id")
    for drop in unsettled:
        try:
            moved += _run(drop, now)
        except Problem as problem:
            text = str(problem.detail or problem.title)[:300]
            if drop.problem != text:
                logger.warning("drop %d (%s): %s", drop.pk, drop.name, text)
                Drop.objects.filter(pk=drop.pk).update(problem=text)
    if any(drop.on_redis for drop in unsettled):
        try:
            outbox.tell_due()
        except (RedisError, Problem) as exc:
            logger.warning("units that came back are told to Redis later: %s", exc)
    return moved


def _run(drop: Drop, now: datetime) -> bool:
    match drop.status:
        case DropStatus.SCHEDULED if drop.opens_at <= now:
            if drop.closes_at and drop.closes_at <= now:
                close_drop(drop.pk)
            else:
                open_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.closes_at and drop.closes_at <= now:
            close_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.on_redis and drop.primed_at is None:
            open_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.on_redis:
            _look_after(drop)
        case DropStatus.CLOSED:
            return settle_drop(drop.pk)
    return False


def _look_after(drop: Drop) -> None:
    """An open gate says what the database says; one that Redis lost is reported."""
    redis = client()
    wanted = gate.PAUSED if drop.paused else gate.OPEN
    _ask_redis(lambda: gate.set_status(drop.pk, wanted, after=[gate.PAUSED, gate.OPEN]))
    epoch = DropItem.objects.filter(drop=drop).values_list("epoch", flat=True)[0]
    reading = _ask_redis(lambda: gate.read(drop, epoch, run_id(redis)))
    if reading.left is None:
        raise Conflict(
            gettext("Redis lost this drop's counters, so it sells nothing. Run rebuild_drop %d.") % drop.pk
        )
    if reading.status == gate.FENCED:
        raise Conflict(
            gettext("The drop is shut while it is rebuilt; if that has failed, run rebuild_drop again.")
        )
    if drop.problem:
        Drop.objects.filter(pk=drop.pk).update(problem="")
