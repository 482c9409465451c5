"""A run and its corrections in words for a terminal, or as JSON for programs."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import OutputWrapper

from inventory.models import Difference, ReconciliationRun
from inventory.reconciliation import records
from inventory.reconciliation.records import Outcome
from inventory.reconciliation.runs import Reconciliation
from inventory.reconciliation.scope import OrderBook, Scope
from yousinsa.commands.arguments import counted
from yousinsa.commands.progress import progress

# A difference as programs read it: these keys, in this order.
JSON_FIELDS = ("stock", "option", "sku", "kind", "expected", "found", "cause")

Write = Callable[[str], Any]


def run_and_report(
    orders: OrderBook,
    scope: Scope,
    *,
    chunk: int,
    fix: bool,
    as_json: bool,
    stdout: OutputWrapper,
    stderr: OutputWrapper,
) -> int:
    """Make a run, say what it found, and correct that where `fix` says so; returns the differences.

    Progress goes to `stderr`; so do the corrections where `stdout` gets JSON.
    """
    started = time.monotonic()
    run = records.begin(scope)
    with progress("Checking", Reconciliation(orders, scope).total(), stderr) as advance:
        records.compare(run, orders, scope, chunk=chunk, advance=advance)
    if as_json:
        report_as_json(run, stdout.write)
    else:
        report_in_words(run, stdout.write, seconds=time.monotonic() - started)
    if fix and run.found:
        report_corrections(records.fix_all(run, orders), (stderr if as_json else stdout).write)
    return run.found


def report_as_json(run: ReconciliationRun, write: Write) -> None:
    """One JSON object: `{checked, differences: [...]}`."""
    differences = [dict(zip(JSON_FIELDS, _values(d), strict=True)) for d in _differences(run)]
    report = {"checked": run.checked, "differences": differences}
    write(json.dumps(report, ensure_ascii=False))


def report_in_words(run: ReconciliationRun, write: Write, *, seconds: float) -> None:
    """A line for each difference, then what the run came to."""
    for d in _differences(run):
        write(f"{_name(d)}: {d.kind} is {d.found}, should be {d.expected} ({d.cause})")
    write(
        f"{counted(run.checked, 'stock row')} checked, {counted(run.found, 'difference')} in {seconds:.1f} s"
    )


def report_corrections(outcomes: Iterable[Outcome], write: Write) -> None:
    """A line for each stock row that differed, as it is corrected, then how many were."""
    corrected = left = 0
    for difference, done, refused in outcomes:
        if refused:
            left += 1
            write(f"{_name(difference)}: not corrected: {refused}")
        elif done is None:
            write(f"{_name(difference)}: nothing to correct any more")
        else:
            corrected += 1
            write(
                f"{_name(difference)}: corrected by movement {done.sequence} ({done.delta_on_hand:+d} on "
                f"hand, {done.delta_reserved:+d} reserved), now {done.on_hand} on hand, {done.reserved} "
                f"reserved: {done.reason}"
            )
    rest = "it is" if left == 1 else "they are"
    write(f"{counted(corrected, 'stock row')} corrected, {left:,} left as {rest}")


def _differences(run: ReconciliationRun) -> Iterable[Difference]:
    return run.differences.order_by("pk").iterator(chunk_size=1000)


def _values(d: Difference) -> tuple[Any, ...]:
    return d.stock_id, d.option_id, d.sku, d.kind, d.expected, d.found, d.cause


def _name(difference: Difference) -> str:
    return f"option {difference.option_id} ({difference.sku})"
