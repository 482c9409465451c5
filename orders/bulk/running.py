"""Carrying bulk runs out: a chunk at a time, by whichever worker is there.

A row's moment (`tried_at`) is written before its first attempt, and what is done to the order bears it. So a
worker that was cut off leaves rows of which the next one learns whether they are done: each order once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.translation import gettext, override

from orders.bulk.actions import ACTIONS, BulkAction, reason
from orders.changes.commands import Changed
from orders.models import BulkRow, BulkRun, OrderEvent, Payment
from shop.desk.access.owners import may_do
from yousinsa.db.rows import update_rows
from yousinsa.db.transactions import transact
from yousinsa.errors import Interrupted
from yousinsa.language import recorded

CHUNK = 100
# How long a worker has a run to itself: much longer than a chunk takes, and what is waited for after a crash.
HELD_FOR = timedelta(seconds=30)

Verdict = tuple[str, str]
"""A row's state, and what is said of it."""


def carry_on() -> int:
    """Carry out the next chunk of every run that no other worker is at; returns how many rows were decided.

    Raises what says that the database is away; nothing is lost then, and nothing done twice.
    """
    return sum(_chunk(run, until) for run, until in _taken())


def _taken() -> Iterable[tuple[BulkRun, datetime]]:
    """The runs that go on, each taken by this worker alone for a while."""
    under_way = BulkRun.objects.filter(status=BulkRun.Status.RUNNING).order_by("pk")
    for run_id in list(under_way.values_list("pk", flat=True)):
        run = transact(partial(_take, run_id))
        if run is not None and run.held_until is not None:
            yield run, run.held_until


def _take(run_id: int) -> BulkRun | None:
    # By its key alone: the index of the status would be locked here first, and by who ends a run last.
    run = BulkRun.objects.select_for_update().filter(pk=run_id).first()
    now = timezone.now()
    if run is None or run.status != BulkRun.Status.RUNNING or (run.held_until and run.held_until > now):
        return None
    run.held_until = now + HELD_FOR
    run.save(update_fields=["held_until"])
    return run


def _chunk(run: BulkRun, until: datetime) -> int:
    action = ACTIONS[run.action]
    rows, at = _next_rows(run)
    with override(run.language or None):
        if may_do(get_user_model().objects.get(pk=run.by_id), action.permission):
            verdicts = _carry_out(action, rows, at, run.by_id)
        else:
            lost = gettext("Who began this has not the right to do it any more.")
            verdicts = {row.pk: (BulkRow.State.REFUSED, lost) for row in rows}
            verdicts |= _done_before(action, rows, at)
    return transact(lambda: _write(run, until, verdicts))


def _next_rows(run: BulkRun) -> tuple[list[BulkRow], datetime]:
    """Rows of which nobody knows whether they are done come first; they keep their moment."""
    waiting = run.rows.filter(state=BulkRow.State.WAITING).order_by("place")
    unsure = waiting.filter(tried_at__isnull=False)
    at = unsure.values_list("tried_at", flat=True).first()
    if at is not None:
        return list(unsure.filter(tried_at=at)), at
    rows, at = list(waiting[:CHUNK]), timezone.now()
    BulkRow.objects.filter(pk__in=[row.pk for row in rows]).update(tried_at=at)
    return rows, at


def _carry_out(
    action: BulkAction, rows: Sequence[BulkRow], at: datetime, actor_id: int
) -> dict[int, Verdict]:
    outcomes = action.carry_out(rows, at, actor_id) if rows else []
    verdicts: dict[int, Verdict] = {}
    refused = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Changed):
            verdicts[row.pk] = _done(action, outcome.order.status, outcome.order.note)
        elif not isinstance(outcome, Interrupted):  # else nobody knows yet: it keeps waiting
            verdicts[row.pk] = BulkRow.State.REFUSED, reason(outcome)
            refused.append(row)
    return verdicts | _done_before(action, refused, at)


def _done(action: BulkAction, status: str, note: str) -> Verdict:
    """It was done; said of it where it has not led where it should: money that came too late went back."""
    return BulkRow.State.DONE, "" if status == action.to_status else recorded(note)[:300]


def _done_before(action: BulkAction, rows: Sequence[BulkRow], at: datetime) -> dict[int, Verdict]:
    """Those of these rows that an earlier attempt at this moment has done: their history bears it."""
    orders = {row.order_id: row for row in rows if row.order_id is not None}
    if not orders:
        return {}
    events = OrderEvent.objects.filter(order_id__in=orders, created_at=at, to_status=action.to_status)
    payments = Payment.objects.filter(
        order_id__in=orders, decided_at=at, status=Payment.Status.APPROVED
    ).select_related("order")
    done = {
        orders[payment.order_id].pk: _done(action, payment.order.status, payment.order.note)
        for payment in payments
    }
    return done | {
        orders[id].pk: (BulkRow.State.DONE, "") for id in events.values_list("order_id", flat=True)
    }


def _write(run: BulkRun, until: datetime, verdicts: dict[int, Verdict]) -> int:
    """Write a chunk down, let go of the run. A worker that was too slow has lost it: it writes nothing."""
    mine = BulkRun.objects.select_for_update().filter(pk=run.pk, held_until=until).first()
    if mine is None:
        return 0
    update_rows(BulkRow, {pk: {"state": state, "said": said} for pk, (state, said) in verdicts.items()})
    mine.held_until = None
    if not mine.rows.filter(state=BulkRow.State.WAITING).exists():
        mine.status, mine.finished_at = BulkRun.Status.DONE, timezone.now()
    mine.save(update_fields=["held_until", "status", "finished_at"])
    return len(verdicts)
