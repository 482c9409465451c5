"""Closing a month: the balances of every stock row and the hash chain over its movements, for good.

A month holds, of each stock row, the movements up to the first one whose time lies in a later month. Their
numbers say so once and for all: whatever is posted afterwards gets a higher number and belongs to a later
month, whatever its clock says. The month must have been over for `GRACE`, longer than any transaction of the
ledger may wait, so that nothing of it is still on its way. No stock row is locked.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, date, timedelta
from itertools import groupby

from django.db.models import F, Max
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from inventory.models import MonthSeal, Movement, ReconciliationRun, SealedBalance, Stock
from inventory.reconciliation import WHOLE_SHOP, OrderBook, records
from inventory.seals import chain
from yousinsa.db.id_ranges import SLACK, first_id_at
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Invalid
from yousinsa.months import month_end, next_month

GRACE = timedelta(minutes=10)
# A clean run over the whole shop that is no older makes another one before closing needless.
RECENT = timedelta(hours=1)
_BALANCE_FIELDS = (
    "seal", "stock", "opening_on_hand", "opening_reserved", "closing_on_hand", "closing_reserved",
    "first_sequence", "last_sequence", "shipped", "restocked", "head", "marks",
)  # fmt: skip


class CannotClose(Conflict):
    """409: this month cannot be closed, or not now."""

    code = "cannot_close_month"
    title = gettext_lazy("This month cannot be closed.")


def close_month(
    month: date,
    orders: OrderBook,
    *,
    actor_id: int | None = None,
    force: bool = False,
    advance: Callable[[int], None] = lambda n: None,
) -> MonthSeal:
    """Seal a month (its first day) and return its seal; one that is sealed already is returned as it is.

    What was begun and interrupted goes on where it stopped. `force` closes although reconciliation finds
    differences. `advance` is called with the number of stock rows after each chunk. Raises `Invalid` (not a
    month), `CannotClose`, `Busy`.
    """
    if month.day != 1:
        raise Invalid(errors={"month": gettext("Must be the first day of a month.")})
    last = MonthSeal.objects.filter(sealed_at__isnull=False).order_by("-month").first()
    if last and month <= last.month:
        sealed = MonthSeal.objects.filter(month=month).first()
        if sealed is None:
            raise CannotClose(
                gettext("%s lies before the first month that was closed, and was sealed with it.")
                % _name(month)
            )
        return sealed
    _check_order(month, last)
    forced = _check_books(orders, force, actor_id)
    seal = _claim(month, last, forced, actor_id)
    _seal_balances(seal, advance)
    return _finish(seal)


def _name(month: date) -> str:
    return f"{month:%Y-%m}"


def _check_order(month: date, last: MonthSeal | None) -> None:
    if timezone.now() < month_end(month) + GRACE:
        raise CannotClose(
            gettext("%(month)s can be closed from %(at)s on, when nothing of it can be on its way any more.")
            % {
                "month": _name(month),
                "at": timezone.localtime(month_end(month) + GRACE).strftime("%Y-%m-%d %H:%M"),
            }
        )
    if last and month != next_month(last.month):
        raise CannotClose(
            gettext("Months are closed in order: %(next)s comes next, not %(month)s.")
            % {"next": _name(next_month(last.month)), "month": _name(month)}
        )
    begun = MonthSeal.objects.filter(sealed_at__isnull=True).exclude(month=month).first()
    if begun:
        raise CannotClose(gettext("%s was begun and is not done: close it first.") % _name(begun.month))
    first = Movement.objects.order_by("pk").first()
    if first is None or first.created_at >= month_end(month):
        raise CannotClose(gettext("Nothing had moved by the end of %s.") % _name(month))


def _check_books(orders: OrderBook, force: bool, actor_id: int | None) -> bool:
    """Whether differences are open; refuses unless forced. A run that found none may be a little old."""
    recent = ReconciliationRun.objects.filter(
        status=ReconciliationRun.Status.CLEAN,
        scope__in=[str(WHOLE_SHOP), f"{WHOLE_SHOP}, in full"],
        started_at__gte=timezone.now() - RECENT,
    )
    if recent.exists():
        return False
    run = records.begin(WHOLE_SHOP, actor_id=actor_id)
    records.compare(run, orders)
    if run.found and not force:
        raise CannotClose(
            ngettext(
                "Reconciliation (run %(run)s) found %(found)d difference: fix it first, or force it.",
                "Reconciliation (run %(run)s) found %(found)d differences: fix them first, or force it.",
                run.found,
            )
            % {"run": run.pk, "found": run.found}
        )
    return bool(run.found)


def _claim(month: date, last: MonthSeal | None, forced: bool, actor_id: int | None) -> MonthSeal:
    """The month's seal, in the making by this process: whoever was at it before is stopped."""
    seal, _created = MonthSeal.objects.get_or_create(
        month=month,
        defaults={
            "previous": last,
            "previous_hash": last.hash if last else chain.NO_SEAL,
            "forced": forced,
            "by_id": actor_id,
        },
    )
    seal.claim = secrets.token_hex(16)
    MonthSeal.objects.filter(pk=seal.pk, sealed_at__isnull=True).update(claim=seal.claim)
    return seal


def _hold(seal: MonthSeal, **changes: object) -> None:
    """Change a seal that this process has claimed. Raises `CannotClose` where another has taken it over."""
    if not MonthSeal.objects.filter(pk=seal.pk, claim=seal.claim).update(**changes):
        raise CannotClose(gettext("Somebody else is closing %s: this attempt stops.") % _name(seal.month))


def _seal_balances(seal: MonthSeal, advance: Callable[[int], None]) -> None:
    """Write the balances that are missing, chunk by chunk, each in a transaction of its own."""
    below = first_id_at(Movement, month_end(seal.month) + SLACK)
    after = SealedBalance.objects.filter(seal=seal).aggregate(last=Max("stock"))["last"] or 0
    while True:
        stocks = Stock.objects.filter(pk__gt=after).order_by("pk").values_list("pk", "sequence")
        chunk = list(stocks[: chain.STOCKS_AT_A_TIME])
        if not chunk:
            return
        rows, moved = _balances(seal, chunk, below)

        def write(rows: list[tuple[object, ...]] = rows, moved: int = moved) -> None:
            _hold(seal, movements=F("movements") + moved)
            insert_rows(SealedBalance, _BALANCE_FIELDS, rows)

        transact(write)
        after = chunk[-1][0]
        advance(len(chunk))


def _balances(
    seal: MonthSeal, chunk: list[tuple[int, int]], below: int
) -> tuple[list[tuple[object, ...]], int]:
    """The balances of these (stock, last number), and how many movements they seal."""
    before = seal.previous_id or 0
    openings = {}
    if before:
        openings = {b.stock_id: b for b in chain.balances(before, after=chunk[0][0] - 1, upto=chunk[-1][0])}
    chains = {stock_id: start_of(openings.get(stock_id)) for stock_id, _last in chunk}
    counts = [(stock_id, max(0, last - chains[stock_id].last)) for stock_id, last in chunk]
    end = month_end(seal.month).astimezone(UTC).replace(tzinfo=None)
    for first, last in chain.groups(counts):
        found = chain.movements(first, last, before=before, below=below)
        for stock_id, movements in groupby(found, key=lambda movement: movement.stock_id):
            for movement in movements:
                if movement.created_at >= end:
                    break
                chains[stock_id].add(movement)
    rows: list[tuple[object, ...]] = []
    for stock_id, ended in chains.items():
        opening = start_of(openings.get(stock_id))
        if ended.last:
            rows.append(
                (seal.pk, stock_id, opening.on_hand, opening.reserved, ended.on_hand, ended.reserved,
                 ended.first, ended.last, ended.shipped, ended.restocked, ended.head, ended.marks)
            )  # fmt: skip
    return rows, sum(ended.movements for ended in chains.values())


def start_of(opening: SealedBalance | None) -> chain.Chain:
    """The chain of a stock row's month, which begins where the balance of the month before ended."""
    if opening is None:
        return chain.Chain(1, chain.GENESIS, 0, 0, 0, 0)
    return chain.Chain(
        opening.last_sequence + 1, bytes(opening.head), opening.closing_on_hand, opening.closing_reserved,
        opening.shipped, opening.restocked,
    )  # fmt: skip


def _finish(seal: MonthSeal) -> MonthSeal:
    made, after = chain.Seal(seal.month, seal.previous_hash), 0
    while chunk := chain.balances(seal.pk, after=after):
        for balance in chunk:
            made.add(balance)
        after = chunk[-1].stock_id
    _hold(seal, hash=made.hexdigest(), sealed_at=timezone.now(), claim="")
    seal.refresh_from_db()
    return seal
