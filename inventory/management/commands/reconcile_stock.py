"""Compare the stock with its ledger and with the orders, and correct it if asked to."""

import json
import sys
import time
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, InterfaceError, OperationalError

from inventory.models import Difference, ReconciliationRun
from inventory.reconciliation import CHUNK, ESCROW, OrderBook, Reconciliation, Scope, records
from inventory.reconciliation import Difference as Found
from orders.drops.audit.escrow_check import check_escrow
from orders.drops.selectors import escrow_units
from orders.models import OrderLine, Status
from orders.selectors import OrderUnits, order_units
from orders.states import HOLDING, SHIPPED_OUT
from shop.models import Option, Store
from yousinsa.months import day_argument, day_start
from yousinsa.progress import progress

MAX_CHUNK = 30_000
LINES_AT_A_TIME = 5_000
COULD_NOT_RUN = 2
# A difference as programs read it: these keys, in this order.
JSON_FIELDS = ("stock", "option", "sku", "kind", "expected", "found", "cause")


def order_lines(option_id: int) -> Iterator[tuple[str, OrderUnits]]:
    """What each order of an option says of it, as (order number, units), a page of lines at a time."""
    lines = (
        OrderLine.objects.filter(option_id=option_id)
        .order_by("pk")
        .values_list("pk", "order__number", "order__status", "quantity", "returned")
    )
    after, more = 0, True
    while more:
        page = list(lines.filter(pk__gt=after)[:LINES_AT_A_TIME])
        for after, number, status, quantity, returned in page:  # noqa: B007
            if status in HOLDING:
                yield number, OrderUnits(promised=quantity)
            elif status in SHIPPED_OUT:
                yield number, OrderUnits(shipped=quantity, returned=returned)
            else:
                yield number, OrderUnits(expired=quantity if status == Status.EXPIRED else 0)
        more = len(page) == LINES_AT_A_TIME


def drops_off(scope: Scope) -> list[Found]:
    """What Redis and the database do not agree on, of the drops that sell from Redis now."""
    off = check_escrow(option_id=scope.option_id)
    options = Option.objects.filter(pk__in={d.option_id for d in off})
    if scope.store_id is not None:
        options = options.filter(product__store_id=scope.store_id)
    known = {id: (stock, sku) for id, stock, sku in options.values_list("id", "stock__id", "sku")}
    return [
        Found(
            known[d.option_id][0], d.option_id, known[d.option_id][1], ESCROW, d.allotted, d.found,
            f"drop {d.drop_id}: {d.cause}",
        )
        for d in off
        if d.option_id in known
    ]  # fmt: skip


ORDERS = OrderBook(units=order_units, lines=order_lines, escrow=escrow_units, elsewhere=drops_off)


def _number(least: int, most: int = sys.maxsize) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}")
        return int(text)

    return number


class Command(BaseCommand):
    help = (
        "Compares every stock row with the sum of its movements and with the orders, and prints each "
        "difference; the run and its differences are kept and shown in the admin. Orders may flow meanwhile: "
        "they wait for nothing and raise no false alarm. With --fix, "
        "a movement of the kind `correct` sets right what differed and says what that was; on hand then is "
        "what the ledger says, so count the units where movements were missing or altered. Of drops on "
        "Redis, counters, streams and orders are compared with the allotment as well. Exit status: 0, "
        "no difference; 1, this run found differences, corrected or not (run it again to see that none is "
        "left); 2, it could not run."
    )
    # They would need a database, and fail in other words and with another status where there is none.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fix", action="store_true", help="Correct what differs, by movements.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--option", type=_number(1), metavar="ID", help="Check one option only.")
        scope.add_argument("--store", type=_number(1), metavar="ID", help="Check one store's options only.")
        parser.add_argument(
            "--since",
            type=day_argument,
            metavar="DATE",
            help="Check only what moved since that day began (2026-03-01). Quick, and blind to a counter "
            "that was overwritten, or an order that was changed by hand, where nothing moved since.",
        )
        parser.add_argument(
            "--full",
            action="store_true",
            help="Read the whole ledger. Otherwise the first look begins at the last closed month, whose "
            "sealed balances are believed (verify_ledger checks them), where there is one.",
        )
        # The desk's button begins a run and has this command make it.
        parser.add_argument("--run", type=_number(1), help=SUPPRESS)
        parser.add_argument(
            "--chunk",
            type=_number(1, MAX_CHUNK),
            default=CHUNK,
            metavar="N",
            help=f"Stock rows to read at a time ({CHUNK:,}).",
        )

    def handle(
        self, *args: Any, fix: bool, option: int | None, store: int | None, chunk: int, **options: Any
    ) -> None:
        started = time.monotonic()
        as_json = options["json"]
        since = day_start(options["since"]) if options["since"] else None
        scope = Scope(option, store, since, options["full"])
        try:
            self._refuse_unknown(option, store)
            run = self._run(options["run"], scope)
            with progress("Checking", Reconciliation(ORDERS, scope).total(), self.stderr) as advance:
                records.compare(run, ORDERS, scope, chunk=chunk, advance=advance)
            self._tell(run, as_json=as_json, seconds=time.monotonic() - started)
            if fix:
                self._fix(run, as_json=as_json)
        except (OperationalError, InterfaceError) as exc:
            raise CommandError(f"The database does not answer: {exc}", returncode=COULD_NOT_RUN) from exc
        except Error as exc:
            raise CommandError(
                f"The database refused to answer (is it migrated?): {exc}", returncode=COULD_NOT_RUN
            ) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted.", returncode=130) from exc
        if run.found:
            sys.exit(1)

    def _run(self, begun: int | None, scope: Scope) -> ReconciliationRun:
        """A run on record: a new one, or that which the desk has begun and left to this process."""
        if begun is None:
            return records.begin(scope)
        run = ReconciliationRun.objects.filter(pk=begun, status=ReconciliationRun.Status.RUNNING).first()
        if run is None:
            raise CommandError(f"There is no run {begun} that waits to be made.", returncode=COULD_NOT_RUN)
        return run

    def _refuse_unknown(self, option: int | None, store: int | None) -> None:
        if option is not None and not Option.objects.filter(pk=option).exists():
            raise CommandError(f"There is no option {option}.", returncode=COULD_NOT_RUN)
        if store is not None and not Store.objects.filter(pk=store).exists():
            raise CommandError(f"There is no store {store}.", returncode=COULD_NOT_RUN)

    def _tell(self, run: ReconciliationRun, *, as_json: bool, seconds: float) -> None:
        found = run.differences.order_by("pk").iterator(chunk_size=1000)
        if as_json:
            told = [dict(zip(JSON_FIELDS, _values(d), strict=True)) for d in found]
            report = {"checked": run.checked, "differences": told}
            self.stdout.write(json.dumps(report, ensure_ascii=False))
            return
        for d in found:
            self.stdout.write(f"{_name(d)}: {d.kind} is {d.found}, should be {d.expected} ({d.cause})")
        self.stdout.write(f"{run.checked:,} stock rows checked, {run.found:,} differences in {seconds:.1f} s")

    def _fix(self, run: ReconciliationRun, *, as_json: bool) -> None:
        """Correct each stock row that differed, and say so (beside the JSON: on stderr)."""
        out = self.stderr if as_json else self.stdout
        corrected = left = 0
        for difference, done, refused in records.fix_all(run, ORDERS):
            if refused:
                out.write(f"{_name(difference)}: not corrected: {refused}")
                left += 1
                continue
            if done is None:
                out.write(f"{_name(difference)}: nothing to correct any more")
                continue
            corrected += 1
            out.write(
                f"{_name(difference)}: corrected by movement {done.sequence} ({done.delta_on_hand:+d} on "
                f"hand, {done.delta_reserved:+d} reserved), now {done.on_hand} on hand, {done.reserved} "
                f"reserved: {done.reason}"
            )
        if run.found:
            out.write(f"{corrected:,} stock rows corrected, {left:,} left as they are")


def _values(d: Difference) -> tuple[Any, ...]:
    return d.stock_id, d.option_id, d.sku, d.kind, d.expected, d.found, d.cause


def _name(difference: Difference) -> str:
    return f"option {difference.option_id} ({difference.sku})"
