"""Cancellations become returns of what the same customer bought before, a chunk in one transaction.

A line of a cancellation is a return where the customer's earlier orders have that many units of the article
out; all of it, or nothing. Units come from orders at the same unit price first, from the latest first. What
was paid is refunded, whatever the cancellation says.

A return is recognised by its reason (`replay:C536383`) on the ledger's rows of the order. What a cancellation
took already is put back in thought before it is planned: the plan is then the one of the first time (units
taken later were never part of it), and only what is missing of it is done. A chunk that fails is halved until
the cancellation that it fails with stands alone, and is left out.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import F, Sum
from django.utils import timezone

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import Kind, Movement
from inventory.selectors import stock_ids
from orders import states
from orders.models import Order, OrderEvent, OrderLine, Payment, Refund, Status
from orders.payments.refunds import new_reference
from orders.replay.calendar import Calendar, Dated
from orders.replay.catalogue import option_ids
from orders.replay.invoices import KEY, buyer, invoice_of, order_key, sort_out, won
from orders.replay.reader import Line
from orders.replay.report import Report, cannot_be_written
from orders.settlements import entries
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import halving, transact

logger = logging.getLogger(__name__)

_EVENT_FIELDS = ("order", "from_status", "to_status", "actor", "note", "created_at")
_REFUND_FIELDS = ("payment", "reference", "amount", "status", "reason", "created_at", "done_at")


Done = dict[tuple[str, str, int], int]
"""Units that came back, by reason, order number and option id."""


@dataclass(slots=True)
class Bought:
    """A line of an earlier order; `out`: units of it that are still with the customer."""

    line_id: int
    order_id: int
    number: str
    email: str
    invoice: int
    option_id: int
    unit_price: int
    out: int


@dataclass(slots=True)
class Cancelled:
    """A cancellation with what it may take back, when, and what its lines take: (line, units) pairs."""

    dated: Dated
    lines: list[Line]
    reason: str
    email: str
    at: datetime
    taken: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Planned:
    """What a chunk takes back, newly or not: for the report and for the database."""

    returned_lines: int = 0
    other_price: int = 0
    unchanged: int = 0
    too_few: list[tuple[Line, str]] = field(default_factory=list)
    new: list[tuple[Cancelled, Bought, int]] = field(default_factory=list)


class Returns:
    """Replays cancellations, after the orders of their chunk; `report` counts what is committed."""

    def __init__(self, calendar: Calendar, report: Report, rate: Decimal) -> None:
        self._calendar = calendar
        self._report = report
        self._rate = rate

    def replay(self, chunk: list[Dated]) -> None:
        """Return what these cancellations take back. Raises `Busy`."""
        cancelled = [item for dated in chunk if (item := self._cancelled(dated))]
        if not cancelled:
            return
        own_time = self._calendar.own_time(chunk)
        if not own_time:
            now = timezone.now()
            for item in cancelled:
                item.at = now
        halving(cancelled, lambda items: self._write(items, own_time), self._leave_out)

    def _write(self, cancelled: Sequence[Cancelled], own_time: bool) -> int:
        """Take back what these say, in one transaction; returns how many orders had something returned."""
        planned = transact(lambda: self._take_back(cancelled))
        report = self._report
        for line, reason in planned.too_few:
            report.skip_lines([line], reason)
        report.returned_lines += planned.returned_lines
        report.other_price += planned.other_price
        report.returns_unchanged += planned.unchanged
        orders = {(item.reason, bought.order_id) for item, bought, _units in planned.new}
        report.returns += len(orders)
        report.units_back += sum(units for _item, _bought, units in planned.new)
        report.won_back += sum(units * bought.unit_price for _item, bought, units in planned.new)
        if not own_time:
            report.dated_now += len(orders)
        return len(orders)

    def _leave_out(self, item: Cancelled, why: Exception) -> None:
        """Skip the lines of the one cancellation that cannot be written."""
        logger.error("cancellation %s cannot be written", item.reason, exc_info=why)
        self._report.skip_lines(item.lines, cannot_be_written(why))

    def _cancelled(self, dated: Dated) -> Cancelled | None:
        invoice = dated.invoice
        lines, skipped = sort_out(invoice, self._rate)
        for line in skipped:
            self._report.skip(line)
        if not invoice.customer:
            self._report.skip_lines(lines, "a cancellation without a customer: its order is not known")
        elif lines:
            return Cancelled(dated, lines, order_key(invoice.number), buyer(invoice)[0], dated.at)
        return None

    def _take_back(self, cancelled: Sequence[Cancelled]) -> Planned:
        """Inside a transaction: lock, plan every cancellation in the order of time, write what is new."""
        options = option_ids({line.code for item in cancelled for line in item.lines})
        of_option = stock_ids(options.values())
        locked = lock_stock(of_option.values())
        bought = _bought({item.email for item in cancelled}, options.values())
        done = _done({item.number for item in bought}, {item.reason for item in cancelled})
        planned = Planned()
        for item in cancelled:
            self._plan(item, options, bought, done, planned)
        if planned.new:
            movements = [
                ledger.Entry(
                    of_option[line.option_id], Kind.RESTOCK, units, 0, line.number, None, item.reason, item.at
                )
                for item, line, units in planned.new
            ]
            ledger.post(locked, movements)
            _write_returns(planned.new)
        return planned

    def _plan(
        self, item: Cancelled, options: dict[str, int], bought: list[Bought], done: Done, planned: Planned
    ) -> None:
        before = int(item.dated.invoice.number[1:])
        mine = [line for line in bought if line.email == item.email and line.invoice < before]
        had = {line.line_id: done.get((item.reason, line.number, line.option_id), 0) for line in mine}
        for line in mine:
            line.out += had[line.line_id]
        item.taken = defaultdict(int)
        for wanted in item.lines:
            candidates = [line for line in mine if line.option_id == options.get(wanted.code)]
            self._take(wanted, candidates, item, planned)
        orders: dict[int, bool] = {}
        for line in mine:
            if units := item.taken[line.line_id] - had[line.line_id]:
                planned.new.append((item, line, units))
            if item.taken[line.line_id]:
                orders[line.order_id] = orders.get(line.order_id, False) or units > 0
        planned.unchanged += sum(not is_new for is_new in orders.values())

    def _take(self, wanted: Line, candidates: list[Bought], item: Cancelled, planned: Planned) -> None:
        """Take a line's units from what was bought, or none where that has too few."""
        price, left = won(wanted.price, self._rate), -wanted.quantity
        candidates.sort(key=lambda line: (line.unit_price != price, -line.invoice, line.order_id))
        out = sum(line.out for line in candidates)
        if out < left:
            planned.too_few.append((wanted, _too_few(candidates, out)))
            return
        planned.returned_lines += 1
        is_other_price = False
        for line in candidates:
            units = min(left, line.out)
            line.out -= units
            item.taken[line.line_id] += units
            left -= units
            is_other_price |= units > 0 and line.unit_price != price
        planned.other_price += is_other_price


def _too_few(candidates: list[Bought], out: int) -> str:
    if not candidates:
        return "a cancellation of an article that the customer has not bought before in this file"
    if not out:
        return "a cancellation of units that came back before"
    return "a cancellation of more units than the customer has bought before in this file"


def _bought(emails: set[str], options: Iterable[int]) -> list[Bought]:
    """What these customers' replayed orders hold of these options; the orders are locked."""
    lines = OrderLine.objects.filter(
        order__buyer__email__in=emails,
        order__idempotency_key__startswith=KEY,
        order__status__in=[Status.DELIVERED, Status.RETURNED],
        option__in=list(options),
    )
    ids = sorted(set(lines.order_by().values_list("order_id", flat=True)))
    list(Order.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))
    rows = lines.filter(order__in=ids).order_by("id").values_list(
        "id", "order_id", "order__number", "order__buyer__email", "order__idempotency_key", "option_id",
        "unit_price", F("quantity") - F("returned"),
    )  # fmt: skip
    return [
        Bought(line_id, order_id, number, email, invoice_of(str(key)), option_id, price, out)
        for line_id, order_id, number, email, key, option_id, price, out in rows
    ]


def _done(numbers: set[str], reasons: set[str]) -> Done:
    rows = (
        Movement.objects.filter(reference__in=numbers, kind=Kind.RESTOCK, reason__in=reasons)
        .order_by()
        .values_list("reason", "reference", "stock__option_id")
        .annotate(units=Sum("delta_on_hand"))
    )
    return {(reason, number, option_id): units for reason, number, option_id, units in rows}


def _write_returns(new: list[tuple[Cancelled, Bought, int]]) -> None:
    """The lines' units that came back, the refunds, and the orders of which nothing is out any more."""
    lines = OrderLine.objects.in_bulk({line.line_id for _item, line, _units in new})
    sold_back = []
    for item, bought, units in new:
        line = lines[bought.line_id]
        line.returned += units
        sold_back.append(entries.taken_back(line, units, at=item.at))
    OrderLine.objects.bulk_update(lines.values(), ["returned"], batch_size=500)
    entries.write(sold_back)
    last: dict[int, Cancelled] = {}
    owed: dict[tuple[int, str], list[Any]] = {}
    for item, bought, units in new:
        last[bought.order_id] = item
        owed.setdefault((bought.order_id, item.reason), [item.at, 0])[1] += units * bought.unit_price
    _refund(owed)
    out = (
        OrderLine.objects.filter(order__in=last)
        .order_by()
        .values_list("order_id")
        .annotate(out=Sum(F("quantity") - F("returned")))
    )
    ended = [order_id for order_id, units in out if not units]
    states.check(Status.DELIVERED, Status.RETURNED)
    Order.objects.filter(pk__in=ended, status=Status.DELIVERED).update(status=Status.RETURNED)
    insert_rows(
        OrderEvent, _EVENT_FIELDS,
        [
            (order_id, Status.DELIVERED, Status.RETURNED, None, last[order_id].reason, last[order_id].at)
            for order_id in ended
        ],
    )  # fmt: skip


def _refund(owed: dict[tuple[int, str], list[Any]]) -> None:
    """Money that went back with the goods, of what was paid for their orders."""
    payments = dict(
        Payment.objects.filter(
            order__in={order_id for order_id, _reason in owed}, status=Payment.Status.APPROVED, live=True
        ).values_list("order_id", "id")
    )
    insert_rows(
        Refund, _REFUND_FIELDS,
        [
            (payments[order_id], new_reference(), amount, Refund.Status.DONE, reason, at, at)
            for (order_id, reason), (at, amount) in owed.items()
            if order_id in payments
        ],
    )  # fmt: skip
