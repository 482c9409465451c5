"""Is every sealed month what it was when it was sealed? Reads each of its movements once more."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from django.db.models import QuerySet

from inventory.models import MonthSeal, SealedBalance
from inventory.seals import chain
from inventory.seals.closing import start_of


class Tampering(NamedTuple):
    """What is not as it was sealed. Without a stock it is the seal itself, without a number its balance.

    `what`: `altered`, `missing` or `added`.
    """

    month: str
    stock: int | None
    sequence: int | None
    what: str


def _nothing(done: int) -> None: ...


@dataclass(slots=True)
class Verification:
    """Iterate it for what is not as it was sealed. `checked` counts movements, `seals` months.

    `advance` is called with the number of movements after each chunk.
    """

    advance: Callable[[int], None] = _nothing
    checked: int = field(default=0, init=False)
    seals: int = field(default=0, init=False)
    last: MonthSeal | None = field(default=None, init=False)

    def total(self) -> int:
        """How many movements were sealed."""
        return sum(self._sealed().values_list("movements", flat=True))

    @staticmethod
    def _sealed() -> QuerySet[MonthSeal]:
        return MonthSeal.objects.filter(sealed_at__isnull=False).order_by("month")

    def __iter__(self) -> Iterator[Tampering]:
        for seal in self._sealed():
            yield from self._verify(seal, self.last)
            self.last = seal
            self.seals += 1

    def _verify(self, seal: MonthSeal, previous: MonthSeal | None) -> Iterator[Tampering]:
        month, before = str(seal), previous.pk if previous else 0
        remade, after = chain.Seal(seal.month, seal.previous_hash), 0
        while chunk := chain.balances(seal.pk, after=after):
            upto = chunk[-1].stock_id
            openings = {}
            if before:
                openings = {b.stock_id: b for b in chain.balances(before, after=after, upto=upto)}
            found = self._chains(seal.pk, before, chunk, openings)
            for balance in chunk:
                remade.add(balance)
                chained = found[balance.stock_id]
                for sequence, what in _compare(balance, chained):
                    yield Tampering(month, balance.stock_id, sequence, what)
            read = sum(chained.movements for chained in found.values())
            self.checked += read
            self.advance(read)
            after = upto
        whole = (
            seal.previous_hash == (previous.hash if previous else chain.NO_SEAL)
            and seal.hash == remade.hexdigest()
        )
        if not whole:
            yield Tampering(month, None, None, "altered")

    def _chains(
        self, seal: int, before: int, chunk: list[SealedBalance], openings: dict[int, SealedBalance]
    ) -> dict[int, chain.Chain]:
        """The chains of these stock rows as their movements make them now."""
        chains = {b.stock_id: start_of(openings.get(b.stock_id)) for b in chunk}
        counts = [(b.stock_id, b.last_sequence - b.first_sequence + 1) for b in chunk]
        for first, last in chain.groups(counts):
            movements = chain.movements(first, last, before=before, seal=seal)
            for stock_id, of_stock in groupby(movements, key=lambda movement: movement.stock_id):
                for movement in of_stock:
                    chains[stock_id].add(movement)
        return chains


def _compare(balance: SealedBalance, found: chain.Chain) -> Iterator[tuple[int | None, str]]:
    """What differs between a sealed balance and its movements: (number, or None for all together; what)."""
    yield from ((sequence, "added") for sequence in found.outside)
    sealed = (balance.last_sequence, balance.closing_on_hand, balance.closing_reserved)
    if found.head == bytes(balance.head):
        if (found.last, found.on_hand, found.reserved) != sealed:
            yield None, "altered"
        return
    named = False
    for place, what in chain.touched(bytes(balance.marks), found.marks):
        named = True
        yield balance.first_sequence + place, what
    if not named:
        yield None, "altered"
