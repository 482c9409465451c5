"""Any sequence of movements: what fits is done and counted, what does not fit changes nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from inventory import ledger
from inventory.errors import InsufficientStock, InvalidMovement
from inventory.ledger import Entry
from inventory.locks import lock_stock
from inventory.models import MAX_UNITS, Kind, Movement, Stock
from shop.models import Option
from tests.support.factories import make_options
from tests.support.invariants import assert_ledger_adds_up
from yousinsa.db.transactions import transact

# What a unit of each kind does to (on hand, reserved).
EFFECTS = {
    Kind.RECEIVE: (1, 0),
    Kind.ADJUST: (1, 0),
    Kind.RESERVE: (0, 1),
    Kind.RELEASE: (0, -1),
    Kind.SHIP: (-1, -1),
    Kind.RESTOCK: (1, 0),
    Kind.ALLOT: (0, 1),
    Kind.UNALLOT: (0, -1),
}
Counters = tuple[int, int]
UNITS = st.integers(1, 9) | st.just(MAX_UNITS)
ROWS = st.integers(0, 1)


class Step(NamedTuple):
    """Units of a kind, at one of two stock rows; only an adjustment has fewer than one."""

    kind: Kind
    row: int
    units: int

    def entry(self, stock_id: int) -> Entry:
        on_hand, reserved = (self.units * effect for effect in EFFECTS[self.kind])
        return Entry(stock_id, self.kind, on_hand, reserved, "reference", None, "reason")


def counters_after(rows: list[Counters], steps: list[Step]) -> list[Counters] | None:
    """The counters once all of it is done, worked out without the ledger; None where a step does not fit."""
    rows = list(rows)
    for kind, row, units in steps:
        on_hand, reserved = (
            have + units * effect for have, effect in zip(rows[row], EFFECTS[kind], strict=True)
        )
        if not 0 <= reserved <= on_hand <= MAX_UNITS:
            return None
        rows[row] = (on_hand, reserved)
    return rows


class Ledger:
    """Two stock rows with what is known of them."""

    def __init__(self) -> None:
        self.options: list[Option] = make_options([5, 0])
        self.stock = [option.stock.pk for option in self.options]
        self.known: list[Counters] = [(5, 0), (0, 0)]
        self.movements = Movement.objects.count()

    @property
    def counters(self) -> list[Counters]:
        return list(Stock.objects.filter(pk__in=self.stock).order_by("pk").values_list("on_hand", "reserved"))

    def expect(self, steps: list[Step], do: Callable[[], Any], *, sensible: bool = True) -> None:
        """`do` writes these steps if all of them fit (and what is asked for makes sense), else nothing."""
        after = counters_after(self.known, steps) if sensible else None
        if after is None:
            with pytest.raises((InsufficientStock, InvalidMovement)):
                do()
        else:
            do()
            self.known = after
            self.movements += len(steps)
        assert self.counters == self.known
        assert Movement.objects.count() == self.movements


KINDS = st.sampled_from([kind for kind in EFFECTS if kind != Kind.ADJUST])
STEPS = st.builds(Step, KINDS, ROWS, UNITS) | st.builds(
    Step, st.just(Kind.ADJUST), ROWS, UNITS | st.integers(-9, -1)
)


class Posts(TestCase):
    """What is posted together is written together or not at all."""

    @settings(max_examples=40, deadline=None)
    @given(posts=st.lists(st.lists(STEPS, max_size=4), max_size=10))
    def test_any_sequence_of_posts_keeps_the_books(self, posts: list[list[Step]]) -> None:
        books = Ledger()
        for steps in posts:
            entries = [step.entry(books.stock[step.row]) for step in steps]
            books.expect(steps, lambda e=entries: transact(lambda: ledger.post(lock_stock(books.stock), e)))
        assert_ledger_adds_up()


# Each verb: the steps that it stands for, and how it is said to two stock rows.
VERBS = [
    "receive",
    "adjust",
    "transfer",
    "reserve",
    "reserve_conditionally",
    "release",
    "ship",
    "restock",
    "lose",
]


class Verbs(TestCase):
    """The verbs do what their movements say, whatever came before."""

    @settings(max_examples=40, deadline=None)
    @given(
        said=st.lists(
            st.tuples(st.sampled_from(VERBS), ROWS, st.integers(-2, 9) | st.just(MAX_UNITS)), max_size=14
        )
    )
    def test_any_sequence_of_verbs_keeps_the_books(self, said: list[tuple[str, int, int]]) -> None:
        books = Ledger()
        for verb, row, units in said:
            getattr(self, verb)(books, row, units)
        assert_ledger_adds_up()

    def receive(self, books: Ledger, row: int, units: int) -> None:
        option = books.options[row].pk
        books.expect(
            [Step(Kind.RECEIVE, row, units)],
            lambda: ledger.receive(option_id=option, quantity=units),
            sensible=units >= 1,
        )

    def adjust(self, books: Ledger, row: int, units: int) -> None:
        option = books.options[row].pk
        books.expect(
            [Step(Kind.ADJUST, row, units)],
            lambda: ledger.adjust(option_id=option, delta=units, reason="counted"),
            sensible=units != 0,
        )

    def transfer(self, books: Ledger, row: int, units: int) -> None:
        source, target = books.options[row].pk, books.options[1 - row].pk
        books.expect(
            [Step(Kind.ADJUST, row, -units), Step(Kind.ADJUST, 1 - row, units)],
            lambda: ledger.transfer(
                from_option_id=source, to_option_id=target, quantity=units, reason="moved"
            ),
            sensible=units >= 1,
        )

    def reserve_conditionally(self, books: Ledger, row: int, units: int) -> None:
        if units >= 1:
            wanted = [(books.stock[row], books.options[row].pk, units)]
            books.expect(
                [Step(Kind.RESERVE, row, units)],
                lambda: transact(lambda: ledger.reserve_conditionally(wanted, reference="order")),
            )

    def reserve(self, books: Ledger, row: int, units: int) -> None:
        self._of_an_order([Kind.RESERVE], books, row, units)

    def release(self, books: Ledger, row: int, units: int) -> None:
        self._of_an_order([Kind.RELEASE], books, row, units)

    def ship(self, books: Ledger, row: int, units: int) -> None:
        self._of_an_order([Kind.SHIP], books, row, units)

    def restock(self, books: Ledger, row: int, units: int) -> None:
        self._of_an_order([Kind.RESTOCK], books, row, units)

    def lose(self, books: Ledger, row: int, units: int) -> None:
        self._of_an_order([Kind.RESTOCK, Kind.ADJUST], books, row, units)

    def _of_an_order(self, kinds: list[Kind], books: Ledger, row: int, units: int) -> None:
        """What happens to an order's units takes what it has ordered: at least one."""
        if units >= 1:
            stock_id = books.stock[row]
            deltas = [ledger.DELTAS[kind] for kind in kinds]
            entries = [
                ledger.Entry(stock_id, kind, on_hand * units, reserved * units, "order", None, "why")
                for kind, (on_hand, reserved) in zip(kinds, deltas, strict=True)
            ]
            books.expect(
                [Step(kind, row, -units if kind == Kind.ADJUST else units) for kind in kinds],
                lambda: transact(lambda: ledger.post(lock_stock([stock_id]), entries)),
            )
