"""A drop's life: open, pause, resume, close.

Each is idempotent: asked for twice, or by several at once, it happens once. Who must know whether it was them
asks for it `anew`: what was done before is refused then, under the drop's lock. Redis hears of it before or
after a transaction, never inside one.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import Kind
from inventory.selectors import off_sale, stock_ids
from orders.drops.audit.rebuild import count_unaccounted, rebuild
from orders.drops.definitions import definitions
from orders.drops.escrow import reference, save_items
from orders.drops.locks import lock_items
from orders.drops.redis import gate
from orders.drops.redis.connections import NO_REDIS, client, redis_or_busy, run_id
from orders.drops.selectors import drop_views, get_drop
from orders.drops.writing import outbox
from orders.drops.writing.drain import drain_drop
from orders.models.drops import Drop, DropItem, DropStatus
from shop.models import Option
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict
from yousinsa.language import recordable

# Recorded, for whoever reads it.
OPENED = recordable(gettext_noop("opened"))
CLOSED = recordable(gettext_noop("closed"))

FINISH_SECONDS = 20.0

T = TypeVar("T")


def open_drop(drop_id: int, *, actor_id: int | None = None, anew: bool = False) -> None:
    """Set the allotment aside and begin to sell.

    Raises `InsufficientStock` where there is not that much available, `Conflict` for a drop that was closed
    (`anew`: or is open), `RedisNeeded` for a lane without a Redis that keeps what it is given, `Busy`.
    """
    drop = get_drop(drop_id)
    if drop.on_redis:
        with redis_or_busy():
            gate.check_server(client())
    _change(drop_id, lambda: _allot(drop_id, actor_id, anew))
    drop.refresh_from_db()
    if drop.on_redis and drop.status == DropStatus.OPEN and drop.primed_at is None:
        try:
            rebuild(drop_id)
        except Conflict:
            # Somebody else opens it at this very moment: that is as good.
            if not Drop.objects.filter(pk=drop_id, status=DropStatus.OPEN).exists():
                raise


def _allot(drop_id: int, actor_id: int | None, anew: bool) -> None:
    items = lock_items([drop_id]).get(drop_id, {})
    drop = get_drop(drop_id)
    if drop.status == DropStatus.OPEN:
        if anew:
            raise Conflict(gettext("The drop is open already."))
        return
    if drop.status != DropStatus.SCHEDULED:
        raise Conflict(gettext("A drop that was closed cannot be opened again: create another one."))
    if not items:
        raise Conflict(gettext("The drop has nothing to sell: give it an option and an allotment."))
    if drop.closes_at and drop.closes_at <= timezone.now():
        raise Conflict(gettext("The drop's closing time is past: change it first."))
    if len(off_sale(items)) == len(items):
        raise Conflict(
            gettext("None of it is on sale: its options, products or stores were taken off sale, or closed.")
        )
    stock_of = stock_ids(items)
    opened = OPENED
    ledger.post(
        lock_stock(stock_of.values()),
        [
            ledger.Entry(stock_of[id], Kind.ALLOT, 0, item.allotted, reference(drop_id), actor_id, opened)
            for id, item in items.items()
        ],
    )
    # Opened ahead of its time by hand, it sells from now on.
    drop.status, drop.opens_at, drop.problem = DropStatus.OPEN, min(drop.opens_at, timezone.now()), ""
    drop.save(update_fields=["status", "opens_at", "problem"])


def pause_drop(drop_id: int, *, anew: bool = False) -> None:
    """Sell nothing until it is resumed; what was admitted goes on.

    Raises `Conflict` for a drop that is not open (`anew`: or is paused), `Busy`.
    """
    _set_paused(drop_id, True, already=gettext("The drop is paused already.") if anew else "")


def resume_drop(drop_id: int, *, anew: bool = False) -> None:
    """Sell again. Raises `Conflict` for a drop that is not open (`anew`: or not paused), `Busy`."""
    _set_paused(drop_id, False, already=gettext("The drop is not paused.") if anew else "")


def _set_paused(drop_id: int, paused: bool, *, already: str) -> None:
    def work() -> None:
        lock_items([drop_id])
        drop = get_drop(drop_id)
        if drop.status != DropStatus.OPEN:
            raise Conflict(gettext("Only an open drop can be paused or resumed."))
        if drop.paused == paused and already:
            raise Conflict(already)
        Drop.objects.filter(pk=drop_id).update(paused=paused)

    _change(drop_id, work)
    drop = get_drop(drop_id)
    if drop.on_redis:
        with redis_or_busy():  # as it is by now: somebody else may have done the opposite meanwhile
            gate.set_paused(drop_id, drop.paused)


def follow_sale(options: QuerySet[Option]) -> None:
    """Let open drops on Redis sell of these options what is on sale now, where Redis answers.

    `look_after` does the same for all of them a moment later.
    """
    if not settings.REDIS_URL:
        return
    items = DropItem.objects.filter(option__in=options, drop__status=DropStatus.OPEN).order_by()
    option_of: dict[int, list[int]] = {}
    for drop_id, option_id in items.values_list("drop_id", "option_id"):
        option_of.setdefault(drop_id, []).append(option_id)
    with suppress(*NO_REDIS):
        for drop_id, option_ids in option_of.items():
            gate.set_off_sale(drop_id, option_ids, off_sale(option_ids))
    drop_views.clear()


def look_after(drop: Drop) -> None:
    """Let the gate of an open drop say what the database says.

    Raises `Conflict` for a gate that Redis lost or that a rebuild left fenced, `Busy`.
    """
    options = drop.items.order_by().values_list("option_id", flat=True)
    with redis_or_busy():
        gate.set_paused(drop.pk, drop.paused)
        gate.set_off_sale(drop.pk, options, off_sale(options))
        reading = gate.read(drop.pk, drop.epoch, run_id(client()))
    if reading.left is None:
        raise Conflict(
            gettext("Redis lost this drop's counters, so it sells nothing. Run rebuild_drop %d.") % drop.pk
        )
    if reading.is_fenced:
        raise Conflict(
            gettext("The drop is shut while it is rebuilt; if that has failed, run rebuild_drop again.")
        )
    if drop.problem:
        Drop.objects.filter(pk=drop.pk).update(problem="")


def close_drop(drop_id: int, *, actor_id: int | None = None, anew: bool = False) -> bool:
    """End the sale, and give back what was not sold once all that was admitted is written.

    Returns whether it is settled; what is not is settled by `run_drops`. A drop that never opened is settled
    at once. Raises `Busy` where Redis or the database does not answer; `anew`: `Conflict` for a drop that
    somebody else has settled.
    """
    drop = get_drop(drop_id)
    if drop.on_redis and drop.status == DropStatus.OPEN:
        with redis_or_busy():  # first, so that nothing is admitted which nobody would write
            gate.shut(drop_id)
    if _change(drop_id, lambda: _close(drop_id, anew)) == DropStatus.SETTLED:
        return True
    return finish_closing(drop_id, actor_id=actor_id, anew=anew)


def _close(drop_id: int, anew: bool) -> str:
    """The drop's status from now on."""
    lock_items([drop_id])
    following = {DropStatus.OPEN: DropStatus.CLOSED, DropStatus.SCHEDULED: DropStatus.SETTLED}
    drop = get_drop(drop_id)
    _refuse_settled(drop, anew)
    status = following.get(DropStatus(drop.status))
    if status is None:
        return drop.status
    Drop.objects.filter(pk=drop_id).update(status=status, paused=False, problem="")
    return status


def _refuse_settled(drop: Drop, anew: bool) -> None:
    if anew and drop.status == DropStatus.SETTLED:
        raise Conflict(gettext("The drop was closed and settled before."))


def finish_closing(drop_id: int, *, actor_id: int | None = None, anew: bool = False) -> bool:
    """Write the rest of a closed drop's stream, then unallot what is left; True once that is done.

    Raises `Busy`; `anew`: `Conflict` where somebody else has done it.
    """
    drop = get_drop(drop_id)
    if drop.status != DropStatus.CLOSED:
        _refuse_settled(drop, anew)
        return drop.status == DropStatus.SETTLED
    if drop.on_redis:
        with redis_or_busy():
            gate.shut(drop_id)  # again: Redis may have come back with a gate that was open when it was saved
            if not drain_drop(drop_id, seconds=FINISH_SECONDS):
                return False
    _change(drop_id, lambda: _unallot(drop_id, actor_id, anew))
    if drop.on_redis:
        with redis_or_busy():
            gate.forget(drop_id)
    return True


def _unallot(drop_id: int, actor_id: int | None, anew: bool) -> None:
    items = lock_items([drop_id])[drop_id]
    drop = get_drop(drop_id)
    _refuse_settled(drop, anew)
    if drop.status != DropStatus.CLOSED:
        return
    left = {id: item.left for id, item in items.items() if item.left}
    stock_of = stock_ids(left)
    closed = CLOSED
    ledger.post(
        lock_stock(stock_of.values()),
        [
            ledger.Entry(stock_of[id], Kind.UNALLOT, 0, -n, reference(drop_id), actor_id, closed)
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


def _change(drop_id: int, work: Callable[[], T]) -> T:
    """A transaction that changes the drop; what this process knew of it is read again."""
    done = transact(work)
    definitions.forget(drop_id)
    drop_views.clear()
    return done
