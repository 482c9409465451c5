"""What one stock row should say, what is not so, and why.

What is true:

* `on_hand` is what the ledger says was received, adjusted, shipped and restocked, less the units of shipped
  orders that have no `ship` movement, plus returned units that have no `restock`. `correct` movements are
  no part of it: they mend the ledger's total, and never need to be mended themselves.
* `reserved` is what open orders were promised, plus what is set aside for drops (`OrderBook.escrow`).

A `Finding` is a counter of the stock row that is not so (`on_hand`, `reserved`) or, where the counter is
right, a sum of the ledger's deltas that is not (`ledger_on_hand`, `ledger_reserved`). Where all four agree,
what a deleted or changed movement leaves behind is found too: the row's last movement number is not
the ledger's (`sequence`), numbers are missing (`ledger_sequence`: how many there should be, and are), or a
balance does not follow from the one before (`ledger_balance`). A `correct` movement closes the books: gaps
and balances before it are not reported again. Where a receipt or an adjustment was itself deleted or changed,
`on_hand` follows what is left of the ledger, for want of a better witness: then the units must be counted.

Two faults of one option that cancel out to the unit, and leave numbers and balances whole, are not seen:
stocks are compared in sum, and single orders only where a sum is off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inventory.models import Movement
from inventory.reconciliation import causes
from inventory.reconciliation.comparison import Comparison, compare_orders
from inventory.reconciliation.scope import OrderBook, OrderedUnits
from inventory.reconciliation.sources import Chain, Row, Start, Sums, read_chain, read_sums

Fault = tuple[str, int, int, str]
"""Kind, expected, found, cause: the end of a `Finding`."""


def judge_all(rows: Sequence[Row], orders: OrderBook, start: Start | None = None) -> Iterator["Verdict"]:
    """A verdict for each row that is not clean at first sight; one that was looked into may prove clean.

    Reads the ledger (from `start` on) and the orders in sum, once for all rows, and for a suspected row in
    full. The caller sees to it that no order comes in between: by a snapshot, or by the rows' locks.
    """
    option_ids = [row.option_id for row in rows]
    sums = read_sums([row.id for row in rows], start)
    units = orders.units(option_ids)
    escrow = orders.escrow(option_ids)
    suspects = []
    for row in rows:
        said = units.get(row.option_id, OrderedUnits())
        reserved = said.promised + escrow.get(row.option_id, 0)
        if not _agree(row, sums.get(row.id, Sums()), said, reserved):
            suspects.append((row, reserved))
    if start:
        sums = read_sums([row.id for row, _reserved in suspects])
    for row, reserved in suspects:
        ledger, chain = sums.get(row.id, Sums()), read_chain(row.id)
        yield Verdict(row, ledger, chain, compare_orders(row, chain, orders), reserved)


def _agree(row: Row, ledger: Sums, said: OrderedUnits, reserved: int) -> bool:
    """Counters, ledger and orders say the same, and the ledger was never corrected nor tampered with."""
    return (
        ledger.whole
        and (row.on_hand, row.reserved, row.sequence) == (ledger.on_hand, ledger.reserved, ledger.last)
        and (ledger.shipped, ledger.restocked) == (said.shipped, said.returned)
        and (ledger.reserved, ledger.corrected) == (reserved, 0)
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was read of one stock row, and what follows from it."""

    row: Row
    ledger: Sums
    chain: Chain
    comparison: Comparison
    reserved: int
    """What the counter of that name should be."""

    @property
    def on_hand(self) -> int:
        """What the counter of that name should be."""
        moved = self.ledger.on_hand - self.ledger.corrected
        return moved - self.comparison.unshipped + self.comparison.unreturned

    @property
    def number(self) -> str:
        """The number of the order that the ledger does not agree with, where it is one alone."""
        numbers = self.comparison.numbers
        return next(iter(numbers)) if len(numbers) == 1 else ""

    def faults(self) -> list[Fault]:
        """What is not as it should be; empty where all agree after all."""
        row, ledger = self.row, self.ledger
        faults: list[Fault] = []
        if not row.on_hand == ledger.on_hand == self.on_hand:
            cause = self._on_hand_cause()
            faults.append(_fault("on_hand", self.on_hand, row.on_hand, ledger.on_hand, cause))
        if not row.reserved == ledger.reserved == self.reserved:
            cause = self._reserved_cause()
            faults.append(_fault("reserved", self.reserved, row.reserved, ledger.reserved, cause))
        return faults or self._traces()

    def _on_hand_cause(self) -> str:
        lacking = self.on_hand - self.ledger.on_hand
        if lacking < 0 and self.comparison.unshipped:
            return causes.SHIPPED_WITHOUT_MOVEMENT
        if lacking > 0 and self.comparison.unreturned:
            return causes.RETURNED_WITHOUT_MOVEMENT
        return causes.CORRECTION_UNFOUNDED if lacking else self._counter_cause()

    def _reserved_cause(self) -> str:
        lacking = self.reserved - self.ledger.reserved
        if not lacking:
            return self._counter_cause()
        if lacking < 0 and self.comparison.holding[causes.SHIPPED_WITHOUT_MOVEMENT]:
            return causes.SHIPPED_WITHOUT_MOVEMENT
        # Where the counter is right the movement was made, and was lost or changed since.
        if self.row.reserved == self.reserved and self._movements_missing:
            return causes.MOVEMENT_MISSING
        if self.row.reserved == self.reserved and self.chain.has_break:
            return causes.MOVEMENT_ALTERED
        return self.comparison.likeliest(lacking)

    def _counter_cause(self) -> str:
        """Why a counter may differ from a ledger that agrees with the orders."""
        if self._movements_missing:
            return causes.MOVEMENT_MISSING
        if self.row.sequence < self.ledger.last:
            return causes.COUNTER_BEHIND
        # A counter that moved alone breaks the balance of whatever movement comes next. If that is a
        # receipt or an adjustment, which no order vouches for, the movement itself is suspected.
        tampered = self.chain.altered > self.chain.closed
        return causes.MOVEMENT_ALTERED if tampered else causes.COUNTER_ALONE

    @property
    def _movements_missing(self) -> bool:
        return self.chain.has_gap or self.row.sequence > self.ledger.last

    def _traces(self) -> list[Fault]:
        """What a lost or changed movement leaves behind where all sums agree: the first that is found."""
        row, ledger, chain = self.row, self.ledger, self.chain
        if row.sequence != ledger.last:
            cause = causes.COUNTER_ALONE if row.sequence > ledger.last else causes.COUNTER_BEHIND
            return [("sequence", ledger.last, row.sequence, cause)]
        if chain.has_gap:
            return [("ledger_sequence", ledger.last, ledger.movements, causes.MOVEMENT_MISSING)]
        if chain.has_break:
            place = chain.first_break if chain.first_break > chain.closed else chain.last_break
            return [("ledger_balance", *_broken_balance(row.id, place), causes.MOVEMENT_ALTERED)]
        # Only a `correct` movement, which follows from nothing, can end the ledger with something else.
        if chain.last_on_hand != ledger.on_hand:
            return [("ledger_balance", ledger.on_hand, chain.last_on_hand, causes.MOVEMENT_ALTERED)]
        if chain.last_reserved != ledger.reserved:
            return [("ledger_balance", ledger.reserved, chain.last_reserved, causes.MOVEMENT_ALTERED)]
        return []


def _fault(kind: str, expected: int, counter: int, ledger_sum: int, cause: str) -> Fault:
    if counter != expected:
        return kind, expected, counter, cause
    return f"ledger_{kind}", expected, ledger_sum, cause


def _broken_balance(stock_id: int, place: int) -> tuple[int, int]:
    """A balance that does not follow from the one before: what it should be, and is."""
    upto = Movement.objects.filter(stock_id=stock_id, sequence__lte=place).order_by("-sequence")
    fields = ("on_hand_after", "delta_on_hand", "reserved_after", "delta_reserved")
    now, before = [*upto.values_list(*fields)[:2], (0, 0, 0, 0)][:2]
    on_hand, reserved = (before[0] + now[1], now[0]), (before[2] + now[3], now[2])
    return on_hand if on_hand[0] != on_hand[1] else reserved
