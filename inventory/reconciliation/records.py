"""Runs on record: what a run looked at and found, and which movement set it right, are rows of their own."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from inventory.models import Difference, Movement, ReconciliationRun
from inventory.reconciliation.correction import Correction, Uncorrectable, correct
from inventory.reconciliation.runs import CHUNK, Reconciliation
from inventory.reconciliation.scope import ESCROW, WHOLE_SHOP, OrderBook, Scope
from yousinsa.db.rows import insert_rows
from yousinsa.errors import Busy, Conflict
from yousinsa.language import english

ROWS_AT_A_TIME = 1000
ERROR_LENGTH = 500
_FIELDS = ("run", "stock", "option", "sku", "kind", "expected", "found", "cause", "order_number")
Status = ReconciliationRun.Status


def begin(scope: Scope, *, actor_id: int | None = None) -> ReconciliationRun:
    """A new run on record, that nothing has been looked at for yet."""
    return ReconciliationRun.objects.create(scope=str(scope), by_id=actor_id)


def compare(
    run: ReconciliationRun,
    orders: OrderBook,
    scope: Scope = WHOLE_SHOP,
    *,
    chunk: int = CHUNK,
    advance: Callable[[int], None] = lambda n: None,
) -> None:
    """Look at the stock rows of `scope` and write down what differs, chunk by chunk.

    `run` is clean or has differences afterwards; where anything goes wrong it has failed, and what was
    raised is raised again.
    """
    reconciliation = Reconciliation(orders, scope, chunk=chunk)

    def looked_at(number: int) -> None:
        run.checked, run.seen_at = reconciliation.checked, timezone.now()
        run.save(update_fields=["checked", "seen_at"])
        advance(number)

    reconciliation.advance = looked_at
    try:
        findings = iter(reconciliation)
        while batch := list(islice(findings, ROWS_AT_A_TIME)):
            run.found += insert_rows(Difference, _FIELDS, [(run.pk, *finding) for finding in batch])
        elsewhere = [(run.pk, *finding) for finding in orders.elsewhere(scope)]
        run.found += insert_rows(Difference, _FIELDS, elsewhere)
        _finish(run, Status.DIFFERENCES if run.found else Status.CLEAN)
    except BaseException as exc:
        fail(run, english(exc) or type(exc).__name__)
        raise


def fail(run: ReconciliationRun, error: str) -> None:
    """Write down that a run came to nothing, and why (in English), if the database still takes it."""
    run.error = error[:ERROR_LENGTH]
    try:
        _finish(run, Status.FAILED)
    except Exception:
        # What went wrong is raised by the caller; that it cannot be written down says nothing more.
        return


def _finish(run: ReconciliationRun, status: str) -> None:
    run.status, run.finished_at = status, timezone.now()
    run.seen_at = run.finished_at
    run.save(update_fields=["status", "checked", "found", "error", "finished_at", "seen_at"])


class Outcome(NamedTuple):
    """What became of one stock row that differed: a correction, or why there is none."""

    difference: Difference
    correction: Correction | None
    refused: str = ""


def fix_all(run: ReconciliationRun, orders: OrderBook, *, actor_id: int | None = None) -> Iterator[Outcome]:
    """Correct each stock row in which the run found something, and say what became of it."""
    open_rows = run.differences.filter(fixed_by__isnull=True).order_by("stock_id", "pk")
    last = None
    for difference in open_rows.iterator(chunk_size=ROWS_AT_A_TIME):
        if difference.kind == ESCROW:
            yield Outcome(
                difference, None, gettext("%s: run rebuild_drop, or close the drop.") % difference.cause
            )
        elif difference.stock_id is None:
            yield Outcome(difference, None, gettext("it has no stock row; cancel its orders."))
        elif difference.stock_id != last:
            last = difference.stock_id
            try:
                yield Outcome(difference, fix(difference, orders, actor_id=actor_id))
            except (Uncorrectable, Busy) as exc:
                yield Outcome(difference, None, str(exc))


def fix(difference: Difference, orders: OrderBook, *, actor_id: int | None = None) -> Correction | None:
    """Correct the stock row of a difference, and note the movement with all that the run found in that row.

    Returns None where the row is right by now. Raises `Uncorrectable`, `Busy`, `Conflict` (no stock row).
    """
    if difference.kind == ESCROW:
        raise Conflict(gettext("What Redis counts is no stock: run rebuild_drop, or close the drop."))
    if difference.stock_id is None:
        raise Conflict(gettext("This option has no stock row to correct: cancel its orders."))
    done = correct(difference.stock_id, orders, actor_id=actor_id)
    if done is None:
        return None
    movement = Movement.objects.get(stock=done.stock, sequence=done.sequence)
    same_row = Difference.objects.filter(
        run=difference.run_id, stock=difference.stock_id, fixed_by__isnull=True
    )
    same_row.update(fixed_by=movement)
    ReconciliationRun.objects.filter(pk=difference.run_id).update(fixed=F("fixed") + 1)
    return done
