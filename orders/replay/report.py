"""What became of a replay's lines: counted as it goes, reported at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from orders.replay.reader import Line, Skipped
from yousinsa.commands.arguments import counted

EXAMPLES = 3
WHY_LENGTH = 200


def cannot_be_written(why: Exception) -> str:
    """The reason to skip what the database, or a rule of the shop, does not take."""
    said = " ".join(str(why).split())[:WHY_LENGTH] or type(why).__name__
    return f"it cannot be written: {said}"


@dataclass(slots=True)
class Report:
    """Counts of what is committed. Every line of the file is sold, returned or skipped, and counted once.

    `placed` and `unchanged` are orders: placed now, found as they should be. `odd_totals` are invoices whose
    orders cost another sum than the file says, by reason. `later` are invoices behind one of a later
    time, `dated_now` orders and returns that could not keep theirs. Money is in won.
    """

    invoices: int = 0
    cancellations: int = 0
    sold_lines: int = 0
    returned_lines: int = 0
    placed: int = 0
    unchanged: int = 0
    units: int = 0
    won: int = 0
    receipts: int = 0
    units_received: int = 0
    prices_changed: int = 0
    returns: int = 0
    returns_unchanged: int = 0
    units_back: int = 0
    won_back: int = 0
    other_price: int = 0
    dated_now: int = 0
    later: int = 0
    odd_totals: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, skipped: Skipped) -> None:
        self.skipped[skipped.reason] += 1
        examples = self.examples.setdefault(skipped.reason, [])
        if len(examples) < EXAMPLES:
            examples.append(f"row {skipped.row}" + (f": {skipped.text}" if skipped.text else ""))

    def skip_lines(self, lines: Iterable[Line], reason: str) -> None:
        for line in lines:
            self.skip(Skipped(line.row, reason, str(line)))

    @property
    def changed(self) -> bool:
        return bool(self.placed or self.returns)

    def sentences(self, rate: Decimal, seconds: float) -> Iterator[str]:
        """The report for a person: a line for each reason to skip, then what was done, then the sum of it."""
        for reason, count in self.skipped.most_common():
            more = "; …" if count > EXAMPLES else ""
            yield f"skipped {count:,}: {reason} ({'; '.join(self.examples[reason])}{more})"
        for reason, count in self.odd_totals.most_common():
            yield f"{counted(count, 'invoice')} cost another sum than in the file: {reason}"
        if self.other_price:
            yield f"{counted(self.other_price, 'line')} came back at another price: what was paid is refunded"
        if self.later:
            yield f"{counted(self.later, 'invoice')} dated with the one ahead in the file, which is later"
        if self.dated_now:
            yield (
                f"{self.dated_now:,} of the orders and returns are dated now: the shop has moved since, or "
                "has closed the month, and its ledger is written in the order of time"
            )
        if self.changed:
            yield (
                f"{counted(self.units_received, 'unit')} received in {counted(self.receipts, 'receipt')}, "
                f"{counted(self.prices_changed, 'price')} changed"
            )
        lines = self.sold_lines + self.returned_lines + self.skipped.total()
        yield (
            f"{counted(lines, 'line')} of {counted(self.invoices, 'invoice')} and "
            f"{counted(self.cancellations, 'cancellation')}: "
            f"{self.sold_lines:,} sold, {self.returned_lines:,} returned, {self.skipped.total():,} skipped"
        )
        yield self._closing(rate, seconds)

    def _closing(self, rate: Decimal, seconds: float) -> str:
        how = f"at {rate:,f} won a pound in {seconds:.1f} s"
        if not self.changed:
            return (
                f"Nothing changed: {counted(self.unchanged, 'order')} and "
                f"{counted(self.returns_unchanged, 'return')} were there already, {how}"
            )
        return (
            f"{counted(self.placed, 'order')} placed and delivered ({counted(self.units, 'unit')}, "
            f"{self.won:,} won), {self.unchanged:,} unchanged; {counted(self.returns, 'return')} "
            f"({counted(self.units_back, 'unit')}, {self.won_back:,} won), {self.returns_unchanged:,} "
            f"unchanged, {how}"
        )
