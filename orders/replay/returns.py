"""Cancellations become returns of what the same customer bought before.

A line of a cancellation is a return where the customer's earlier orders have that many units of the article
out; all of it, or nothing. Units come from orders at the same unit price first, from the latest first. What
was paid is refunded, whatever the cancellation says.

A return is recognised by its reason (`replay:C536383`) on the ledger's rows of the order. What this
cancellation took already is put back in thought before it is planned: the plan is then the one of the first
time (units taken later were never part of it), and only what is missing of it is done.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Sum

from inventory.models import Kind, Movement
from orders.errors import InvalidTransition
from orders.lifecycle import return_order
from orders.models import OrderLine, Status
from orders.replay.catalogue import option_ids
from orders.replay.invoices import KEY, buyer, invoice_of, order_key, sort_out, won
from orders.replay.reader import Invoice, Line
from orders.replay.report import Report
from yousinsa.errors import Invalid


@dataclass(slots=True)
class Bought:
    """A line of an earlier order. `out`: units that this cancellation may take, or took (`done`) already."""

    order_id: int
    option_id: int
    invoice: int
    unit_price: int
    out: int
    done: int
    take: int = 0


class Returns:
    """Replays cancellations, once the orders of all invoices are there; `report` counts what is committed."""

    def __init__(self, report: Report, rate: Decimal) -> None:
        self._report = report
        self._rate = rate

    def replay(self, cancellation: Invoice) -> None:
        """Return what a cancellation takes back. Raises `Busy`."""
        lines, skipped = sort_out(cancellation, self._rate)
        for line in skipped:
            self._report.skip(line)
        if not cancellation.customer:
            self._report.skip_lines(lines, "a cancellation without a customer: its order is not known")
        elif lines:
            self._replay(cancellation, lines)

    def _replay(self, cancellation: Invoice, lines: list[Line]) -> None:
        options = option_ids({line.code for line in lines})
        reason = order_key(cancellation.number)
        bought = _bought(buyer(cancellation)[0], options.values(), int(cancellation.number[1:]), reason)
        planned = [line for line in lines if self._plan(line, options.get(line.code), bought)]
        by_order: dict[int, list[Bought]] = defaultdict(list)
        for item in bought:
            if item.take:
                by_order[item.order_id].append(item)
        try:
            for order_id in sorted(by_order):
                self._return(order_id, by_order[order_id], reason)
        except (InvalidTransition, Invalid):
            self._report.skip_lines(
                planned, "a cancellation of an order that somebody else has taken in hand"
            )
        else:
            self._report.returned_lines += len(planned)

    def _plan(self, line: Line, option_id: int | None, bought: list[Bought]) -> bool:
        """Take a line's units from what was bought; False, and counted as skipped, where that has too few."""
        price = won(line.price, self._rate)
        candidates = [item for item in bought if item.option_id == option_id]
        candidates.sort(key=lambda item: (item.unit_price != price, -item.invoice, item.order_id))
        wanted = -line.quantity
        out = sum(item.out - item.take for item in candidates)
        if out < wanted:
            self._report.skip_lines([line], _too_few(candidates, out))
            return False
        is_other_price = False
        for item in candidates:
            units = min(wanted, item.out - item.take)
            item.take += units
            wanted -= units
            is_other_price |= units > 0 and item.unit_price != price
        self._report.other_price += is_other_price
        return True

    def _return(self, order_id: int, items: list[Bought], reason: str) -> None:
        units = {item.option_id: item.take - item.done for item in items if item.take > item.done}
        if not units:
            self._report.returns_unchanged += 1
            return
        return_order(order_id=order_id, units=units, actor_id=None, reason=reason)
        self._report.returns += 1
        self._report.units_back += sum(units.values())
        self._report.won_back += sum(units.get(item.option_id, 0) * item.unit_price for item in items)


def _too_few(candidates: list[Bought], out: int) -> str:
    if not candidates:
        return "a cancellation of an article that the customer has not bought before in this file"
    if not out:
        return "a cancellation of units that came back before"
    return "a cancellation of more units than the customer has bought before in this file"


def _bought(email: str, options: Iterable[int], before: int, reason: str) -> list[Bought]:
    """What a customer's replayed orders with lower invoice numbers than `before` hold of these options."""
    lines = OrderLine.objects.filter(
        order__buyer__email=email,
        order__idempotency_key__startswith=KEY,
        order__status__in=[Status.DELIVERED, Status.RETURNED],
        option__in=list(options),
    ).values_list(
        "order_id",
        "order__number",
        "order__idempotency_key",
        "option_id",
        "unit_price",
        "quantity",
        "returned",
    )
    rows = [row for row in lines if invoice_of(str(row[2])) < before]
    done = _done({row[1] for row in rows}, reason)
    found = []
    for order_id, number, key, option_id, unit_price, quantity, returned in rows:
        taken = done.get((number, option_id), 0)
        found.append(
            Bought(order_id, option_id, invoice_of(str(key)), unit_price, quantity - returned + taken, taken)
        )
    return found


def _done(numbers: set[str], reason: str) -> dict[tuple[str, int], int]:
    """Units that came back to these orders for this reason, by order number and option id."""
    rows = (
        Movement.objects.filter(reference__in=numbers, kind=Kind.RESTOCK, reason=reason)
        .order_by()
        .values_list("reference", "stock__option_id")
        .annotate(units=Sum("delta_on_hand"))
    )
    return {(number, option_id): units for number, option_id, units in rows}
