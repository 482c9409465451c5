"""Deliveries and stocktakes: many changes of stock that are drafted, looked at, and then made at once.

A draft holds no lock and changes no stock. Applying it is one transaction that locks and moves the stock
rows in batches, by primary key: either every line is applied or none is, and a second click finds it done.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError, connection
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from inventory import ledger
from inventory.errors import DocumentRefused
from inventory.locks import LockedStock, lock_stock
from inventory.models import (
    MAX_UNITS,
    Delivery,
    DeliveryLine,
    Kind,
    Stock,
    StockDocument,
    Stocktake,
    StocktakeLine,
)
from inventory.reasons import COUNTED
from yousinsa.db.errors import is_duplicate
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact
from yousinsa.errors import Invalid

BATCH = 500
# Lines that a refusal names.
MAX_NAMED = 20

T = TypeVar("T")


class Receipt(NamedTuple):
    """Units of one option that arrived, with the delivery note's number and a remark."""

    stock_id: int
    units: int
    reference: str = ""
    note: str = ""


def draft_delivery(*, receipts: Sequence[Receipt], actor_id: int, source: str = "") -> Delivery:
    """Write receipts down as a draft; no option twice. Raises `Invalid` for none at all, `Busy`."""
    if not receipts:
        raise Invalid(gettext("There is nothing to receive."))

    def work() -> Delivery:
        delivery = Delivery.objects.create(created_by_id=actor_id, source=source)
        for batch in _batches(receipts):
            insert_rows(
                DeliveryLine, ("delivery", "stock", "units", "reference", "note"),
                [(delivery.pk, *receipt) for receipt in batch],
            )  # fmt: skip
        return delivery

    return transact(work)


def apply_delivery(*, delivery_id: int, version: int, actor_id: int) -> int:
    """Receive a draft, all of it or nothing; returns how many movements that were.

    Raises `DocumentRefused` if it is no draft any more, or a counter would pass its end; `Busy`.
    """

    def work() -> int:
        moved = 0
        for lines in _by_stock(DeliveryLine.objects.filter(delivery=delivery_id)):
            locked = lock_stock(line.stock_id for line in lines)
            _refuse(line for line in lines if not fits(locked[line.stock_id], line.units))
            reference = Delivery(pk=delivery_id).reference
            entries = [
                ledger.Entry(line.stock_id, Kind.RECEIVE, line.units, 0, line.reference or reference,
                             actor_id, line.note or reference)
                for line in lines
            ]  # fmt: skip
            ledger.post(locked, entries)
            moved += len(entries)
        _end(Delivery, delivery_id, StockDocument.Status.APPLIED, version=version, actor_id=actor_id)
        return moved

    return transact(work)


def begin_stocktake(
    *,
    stock_ids: Iterable[int],
    actor_id: int,
    source: str = "",
    counted: Mapping[int, int] | None = None,
) -> Stocktake:
    """Begin to count options: what their counters are now is what the count will be compared with.

    `counted` (stock id -> units) for what was counted already. Raises `Invalid` for none at all,
    `DocumentRefused` where an option is being counted already, `Busy`.
    """
    ids = sorted(set(stock_ids))
    if not ids:
        raise Invalid(gettext("There is nothing to count."))
    counted = counted or {}

    def work() -> Stocktake:
        stocktake = Stocktake.objects.create(created_by_id=actor_id, source=source)
        for batch in _batches(ids):
            stocks = Stock.objects.filter(pk__in=batch).values_list("id", "on_hand", "sequence")
            insert_rows(
                StocktakeLine, ("stocktake", "stock", "on_hand", "sequence", "counted"),
                [(stocktake.pk, id, on_hand, n, counted.get(id)) for id, on_hand, n in stocks],
            )  # fmt: skip
        return stocktake

    try:
        return transact(work)
    except IntegrityError as exc:
        if not is_duplicate(exc):
            raise
        raise DocumentRefused(_already_counted(ids)) from exc


def _already_counted(stock_ids: Sequence[int]) -> str:
    for batch in _batches(stock_ids):
        lines = StocktakeLine.objects.filter(stock__in=batch, live=True)
        line = lines.select_related("stock__option").first()
        if line is not None:
            return gettext(
                "%(sku)s is being counted already, in %(stocktake)s: apply or discard that one first."
            ) % {"sku": line.stock.option.sku, "stocktake": Stocktake(pk=line.stocktake_id).reference}
    return gettext("One of these options is being counted already.")


def record_counts(*, stocktake_id: int, counted: Mapping[int, int | None]) -> None:
    """Write down what was counted: stock id -> units, None for not counted (yet).

    Raises `DocumentRefused` if it is no draft any more, `Invalid` naming a count that cannot be, `Busy`.
    """
    for n in counted.values():
        if n is not None and not 0 <= n <= MAX_UNITS:
            raise Invalid(errors={"counted": gettext("Must be a number from 0 to %d.") % MAX_UNITS})
    table = StocktakeLine._meta.db_table
    sql = f"UPDATE {table} SET counted = %s WHERE stocktake_id = %s AND stock_id = %s"  # noqa: S608

    def work() -> None:
        draft = Stocktake.objects.filter(pk=stocktake_id, status=StockDocument.Status.DRAFT)
        if not draft.update(version=F("version") + 1):
            raise DocumentRefused(gettext("This stocktake has ended: nothing can be counted in it any more."))
        with connection.cursor() as cursor:
            for batch in _batches(counted.items()):
                cursor.executemany(sql, [(n, stocktake_id, id) for id, n in batch])

    transact(work)


def apply_stocktake(*, stocktake_id: int, version: int, actor_id: int) -> int:
    """Post each difference between a count and the counter when counting began; returns how many.

    What was sold or received since then stays as it is. Lines without a count stay as they are. All or
    nothing: raises `DocumentRefused` naming the options where a difference would take promised units, or if
    it is no draft any more, or not the one that was looked at (`version`); `Busy`.
    """

    def work() -> int:
        moved = 0
        reference = Stocktake(pk=stocktake_id).reference
        counts = StocktakeLine.objects.filter(stocktake=stocktake_id).exclude(counted=None)
        differing = counts.exclude(counted=F("on_hand"))
        for lines in _by_stock(differing):
            locked = lock_stock(line.stock_id for line in lines)
            _refuse(line for line in lines if not fits(locked[line.stock_id], difference(line)))
            entries = [
                ledger.Entry(line.stock_id, Kind.ADJUST, difference(line), 0, reference, actor_id,
                             COUNTED % {"counted": line.counted, "on_hand": line.on_hand})
                for line in lines
            ]  # fmt: skip
            ledger.post(locked, entries)
            moved += len(entries)
        _end(Stocktake, stocktake_id, StockDocument.Status.APPLIED, version=version, actor_id=actor_id)
        _let_go(stocktake_id)
        return moved

    return transact(work)


def discard(document: StockDocument, *, actor_id: int) -> None:
    """Give a draft up; no stock moves. Raises `DocumentRefused` if it is no draft any more, `Busy`."""

    def work() -> None:
        _end(type(document), document.pk, StockDocument.Status.DISCARDED, version=None, actor_id=actor_id)
        if isinstance(document, Stocktake):
            _let_go(document.pk)

    transact(work)


def difference(line: DeliveryLine | StocktakeLine) -> int:
    """By how much applying a line moves what is on hand."""
    if isinstance(line, DeliveryLine):
        return line.units
    return 0 if line.counted is None else line.counted - line.on_hand


def fits(stock: Stock | LockedStock, delta: int) -> bool:
    """Whether what is on hand may move by so much: promised units stay."""
    return stock.reserved <= stock.on_hand + delta <= MAX_UNITS


def troubles(document: StockDocument) -> QuerySet[Any]:
    """The lines of a draft that could not be applied at the moment."""
    if isinstance(document, Stocktake):
        after = F("stock__on_hand") + F("counted") - F("on_hand")
        lines = StocktakeLine.objects.filter(stocktake=document).exclude(counted=None).alias(after=after)
        return lines.exclude(after__gte=F("stock__reserved"), after__lte=MAX_UNITS)
    receipts = DeliveryLine.objects.filter(delivery=document.pk).alias(after=F("stock__on_hand") + F("units"))
    return receipts.filter(after__gt=MAX_UNITS)


def trouble(line: DeliveryLine | StocktakeLine) -> str:
    """In words, why a line cannot be applied; empty if it can. Reads `line.stock` as it is now."""
    stock, delta = line.stock, difference(line)
    if fits(stock, delta):
        return ""
    numbers = {
        "sku": stock.option.sku, "delta": f"{delta:+d}", "on_hand": stock.on_hand,
        "reserved": stock.reserved, "available": stock.available, "most": MAX_UNITS,
    }  # fmt: skip
    if delta > 0:
        return (
            gettext("%(sku)s: %(delta)s with %(on_hand)d on hand now would be more than %(most)d.") % numbers
        )
    return (
        gettext(
            "%(sku)s: %(delta)s cannot be taken from %(on_hand)d on hand now, as %(reserved)d of them are "
            "reserved and only %(available)d available. Cancel orders for it, or count again."
        )
        % numbers
    )


def _refuse(lines: Iterable[DeliveryLine | StocktakeLine]) -> None:
    """Raises `DocumentRefused` if there are any, naming the first of them."""
    ids = [(type(line), line.pk) for line in islice(lines, MAX_NAMED)]
    if ids:
        model: Any = ids[0][0]
        found = model.objects.filter(pk__in=[pk for _model, pk in ids]).select_related("stock__option")
        raise DocumentRefused(" ".join(trouble(line) for line in found.order_by("stock_id")))


def _end(model: Any, pk: int, status: str, *, version: int | None, actor_id: int) -> None:
    """Claim the draft: whoever changes its status has applied or discarded it, and nobody else has."""
    draft = model.objects.filter(pk=pk, status=StockDocument.Status.DRAFT)
    if version is not None:
        draft = draft.filter(version=version)
    if draft.update(status=status, ended_at=timezone.now(), ended_by=actor_id):
        return
    if model.objects.filter(pk=pk, status=StockDocument.Status.DRAFT).exists():
        raise DocumentRefused(gettext("It was changed meanwhile. Nothing was applied: look at it again."))
    raise DocumentRefused(gettext("It has been applied or discarded already. Nothing was changed."))


def _let_go(stocktake_id: int) -> None:
    """Its options may be counted by another stocktake."""
    StocktakeLine.objects.filter(stocktake=stocktake_id).update(live=None)


def _by_stock(lines: QuerySet[Any]) -> Iterator[list[Any]]:
    """Batches of lines in the order in which stock rows are locked."""
    last = 0
    while batch := list(lines.filter(stock_id__gt=last).order_by("stock_id")[:BATCH]):
        yield batch
        last = batch[-1].stock_id


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        yield batch
