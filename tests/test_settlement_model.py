"""Whatever happens in whatever order, each won is in one place: settlements against a simple model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from orders.models import OrderLine, Settlement, SettlementEntry
from orders.models.settlements import Frozen
from orders.settlements.services import approve, settle
from shop.models import Product, Store
from tests.support.factories import make_options, make_store, make_user
from tests.support.invariants import assert_stores_are_owed_what_buyers_keep
from tests.support.orders import delivered, give_back
from yousinsa.errors import Conflict

pytestmark = pytest.mark.django_db
BEGIN = date(2020, 3, 1)
PERIODS = [
    (date(2020, 3, 1), date(2020, 3, 15)), (date(2020, 3, 16), date(2020, 3, 31)),
    (date(2020, 3, 1), date(2020, 3, 31)), (date(2020, 4, 1), date(2020, 4, 30)),
    (date(2020, 4, 20), date(2020, 5, 10)), (date(2020, 5, 1), date(2020, 5, 31)),
]  # fmt: skip
# What is settled at the end, when nothing more can happen: it takes in whatever is left.
REST = (date(2020, 6, 1), date(2020, 6, 30))
DAYS = st.integers(0, 91)


@dataclass
class Line:
    order: Any
    option: Any
    store: int
    rate: int
    quantity: int
    price: int
    returned: int = 0

    def share(self) -> int:
        """The shop's, of the units that are out: to the nearest won, to the even one between two."""
        return round_half_even(self.price * (self.quantity - self.returned) * self.rate, 10_000)


def round_half_even(amount: int, by: int) -> int:
    return int((Decimal(amount) / by).quantize(Decimal(1), ROUND_HALF_EVEN))


@dataclass
class Entry:
    store: int
    day: date
    sold: tuple[int, int]
    back: tuple[int, int]
    share: int
    rate: int
    settlement: int | None = None


@dataclass
class Expected:
    store: int
    days: tuple[date, date]
    approved: bool = False
    figures: tuple[int, ...] = field(default=())


class Settling(RuleBasedStateMachine):
    lines = Bundle("lines")
    drafts = Bundle("drafts")

    @initialize()
    def open_shop(self) -> None:
        SettlementEntry.objects.all().delete()  # of the example before
        Settlement.objects.all().delete()
        self.buyer = make_user(address=True)
        self.stores = [make_store().pk for _ in range(2)]
        self.options = [
            make_options([10_000], store=Store.objects.get(pk=store), price=price)[0]
            for store, price in zip([*self.stores, self.stores[0]], (15, 9_999, 10_005), strict=True)
        ]
        self.seller = {option.pk: option.product.store_id for option in self.options}
        self.rates = dict.fromkeys(self.stores, 1_000)
        self.entries: list[Entry] = []
        self.expected: dict[int, Expected] = {}

    def teardown(self) -> None:
        if hasattr(self, "expected"):
            self.settle_the_rest()

    # --- What happens in the shop ---------------------------------------------------------------------

    @rule(target=lines, which=st.integers(0, 2), units=st.integers(1, 4), day=DAYS)
    def sell(self, which, units, day):
        """Delivered at that day, which may have been settled already: then it was committed late."""
        option = self.options[which]
        at = BEGIN + timedelta(days=day)
        order = delivered(self.buyer, (option, units), at=f"{at} 03:00:00")
        store = self.seller[option.pk]
        line = Line(order, option, store, self.rates[store], units, option.product.price)
        won = units * line.price
        self.entries.append(Entry(store, at, (units, won), (0, 0), line.share(), line.rate))
        return line

    @rule(line=lines, units=st.integers(1, 4), day=DAYS)
    def send_back(self, line, units, day):
        units = min(units, line.quantity - line.returned)
        if not units:
            return
        at = BEGIN + timedelta(days=day)
        give_back(line.order, {line.option.pk: units}, f"{at} 04:00:00")
        before = line.share()
        line.returned += units
        self.entries.append(
            Entry(line.store, at, (0, 0), (units, units * line.price), line.share() - before, line.rate)
        )

    @rule(which=st.integers(0, 1), rate=st.sampled_from([0, 300, 1_000, 3_333, 10_000]))
    def change_the_rate(self, which, rate):
        self.rates[self.stores[which]] = rate
        Store.objects.filter(pk=self.stores[which]).update(commission_rate=rate)

    @rule(which=st.integers(0, 2), to=st.integers(0, 1))
    def move_the_product(self, which, to):
        option = self.options[which]
        Product.objects.filter(pk=option.product_id).update(store=self.stores[to])
        self.seller[option.pk] = self.stores[to]

    # --- What the desk does ---------------------------------------------------------------------------

    @rule(target=drafts, days=st.sampled_from(PERIODS))
    def settle_with_everybody(self, days):
        settled = settle(*days)
        return multiple(*self.compare(days, self.stores, settled))

    @rule(target=drafts, days=st.sampled_from(PERIODS), which=st.integers(0, 1))
    def settle_with_one(self, days, which):
        store = self.stores[which]
        if self.in_the_way(store, days):
            with pytest.raises(Conflict, match="overlaps"):
                settle(*days, store_id=store)
            return multiple()
        return multiple(*self.compare(days, [store], settle(*days, store_id=store)))

    @rule(draft=drafts)
    def approve_it(self, draft):
        row = self.expected.get(draft)
        if row is None:
            return
        if row.approved:
            with pytest.raises(Frozen):
                approve(draft, actor_id=self.buyer.pk)
        else:
            approve(draft, actor_id=self.buyer.pk)
            row.approved = True

    @rule(draft=consumes(drafts))
    def delete_it(self, draft):
        row = self.expected.get(draft)
        if row is None:
            return
        if row.approved:
            with pytest.raises(Frozen):
                Settlement.objects.get(pk=draft).delete()
            return
        Settlement.objects.get(pk=draft).delete()
        del self.expected[draft]
        for entry in self.entries:
            if entry.settlement == draft:
                entry.settlement = None

    # --- The model --------------------------------------------------------------------------------------

    def in_the_way(self, store, days):
        return any(
            row.store == store and row.days != days and row.days[0] <= days[1] and days[0] <= row.days[1]
            for row in self.expected.values()
        )

    def claimable(self, store, days) -> Iterator[Entry]:
        closed = [row.days for row in self.expected.values() if row.store == store and row.approved]
        for entry in self.entries:
            if entry.store == store and entry.settlement is None:
                late = any(first <= entry.day <= last < days[0] for first, last in closed)
                if days[0] <= entry.day <= days[1] or late:
                    yield entry

    def compare(self, days, stores, settled) -> list[int]:
        """Do in the model what `settle` did; the settlements that it wrote."""
        written = {row.store_id: row for row in settled.written}
        frozen = {row.store_id: row for row in settled.frozen}
        refused = {store for store, _reason in settled.refused}
        for store in stores:
            there = next(
                (k for k, row in self.expected.items() if row.store == store and row.days == days), None
            )
            mine = list(self.claimable(store, days))
            if self.in_the_way(store, days):
                unsettled = [e for e in self.entries if e.store == store and e.settlement is None]
                assert (store in refused) == any(entry.day <= days[1] for entry in unsettled)
                assert store not in written.keys() | frozen.keys()
                continue
            assert store not in refused
            if there is not None and self.expected[there].approved:
                assert frozen[store].pk == there
                continue
            if there is None and not mine:
                assert store not in written
                continue
            row = written.pop(store)
            assert there in (None, row.pk)
            self.expected.setdefault(row.pk, Expected(store, days))
            for entry in mine:
                entry.settlement = row.pk
            self.expected[row.pk].figures = self.figures(row.pk)
        assert not written
        return [row.pk for row in settled.written]

    def figures(self, key) -> tuple[int, ...]:
        mine = [entry for entry in self.entries if entry.settlement == key]
        gross, refunds = sum(e.sold[1] for e in mine), sum(e.back[1] for e in mine)
        share = sum(e.share for e in mine)
        late = [e for e in mine if e.day < self.expected[key].days[0]]
        return (
            sum(e.sold[0] for e in mine), gross, sum(e.back[0] for e in mine), refunds, share,
            gross - refunds - share, len(late), sum(e.sold[1] - e.back[1] - e.share for e in late),
        )  # fmt: skip

    @invariant()
    def settlements_say_what_the_model_says(self):
        if not hasattr(self, "expected"):
            return
        said = {
            pk: tuple(figures)
            for pk, *figures in Settlement.objects.filter(store__in=self.stores).values_list(
                "pk", "units", "gross", "returned_units", "refunds", "commission", "payable", "late_entries",
                "late_payable",
            )
        }  # fmt: skip
        assert said == {key: row.figures for key, row in self.expected.items()}

    def settle_the_rest(self):
        """Approve what there is and settle each store up to the end: each is owed what buyers keep."""
        for key, row in self.expected.items():
            if not row.approved:
                settle(*row.days, store_id=row.store)
                approve(key, actor_id=self.buyer.pk)
        for store in self.stores:
            for day in sorted({e.day for e in self.entries if e.store == store}):
                if not self.in_the_way(store, (day, day)):
                    for row in settle(day, day, store_id=store).written:
                        approve(row.pk, actor_id=self.buyer.pk)
            for row in settle(*REST, store_id=store).written:
                approve(row.pk, actor_id=self.buyer.pk)
        mine = SettlementEntry.objects.filter(store__in=self.stores)
        assert not mine.exclude(settlement__status="approved").exists()
        assert_stores_are_owed_what_buyers_keep(OrderLine.objects.filter(store__in=self.stores))
        for store in self.stores:
            rows = Settlement.objects.filter(store=store)
            entries = [e for e in self.entries if e.store == store]
            assert sum(row.gross - row.refunds for row in rows) == sum(e.sold[1] - e.back[1] for e in entries)
            assert sum(row.commission for row in rows) == sum(e.share for e in entries)


def test_each_won_is_in_exactly_one_place(db):
    run_state_machine_as_test(
        Settling,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
