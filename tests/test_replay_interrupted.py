"""A replay that is run again, or was interrupted at any step, does nothing twice and leaves nothing out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from inventory.models import Movement
from inventory.seals.closing import close_month
from orders.models import Order, OrderEvent, Payment, Refund, Status
from orders.order_book import ORDERS
from orders.placement.numbers import placed_at
from orders.replay import calendar, catalogue, returns, sales
from shop.models import Product
from tests.support.commands import verify
from tests.support.corruption import sql
from tests.support.factories import make_options
from tests.support.invariants import assert_books_balance
from tests.support.replay import line, lines_of, order, state

pytestmark = pytest.mark.django_db


EVENTFUL = [
    line(1, "A1", 6, "2.00"), line(1, "B1", 120, "1.00"), line(1, "A1", 1, "3.00"), line(1, "POST", 1, "18"),
    line(2, "A1", 5, "1.00", customer=""),
    line(3, "A1", 5, "1.00"),
    line("C4", "A1", -9, "2.00"), line("C4", "A1", -1, "1.00"), line("C4", "B1", -500, "1.00"),
    line("C5", "B1", -120, "1.00"), line("C5", "A1", -1, "1.00"), line("C5", "A1", -50, "1.00"),
]  # fmt: skip


def test_a_second_run_changes_nothing(replay: Callable[..., str]) -> None:
    said = replay(*EVENTFUL)
    assert "12 lines of 3 invoices and 2 cancellations: 5 sold, 4 returned, 3 skipped" in said
    before = state()
    again = replay(*EVENTFUL)
    assert state() == before
    assert again.splitlines()[-1].startswith("Nothing changed: 4 orders and 4 returns were there already")
    assert "5 sold, 4 returned, 3 skipped" in again
    # Nor does one at another rate; it tells that the orders were placed at the first one.
    other_rate = replay(*EVENTFUL, rate=Decimal(900))
    assert state() == before
    assert "3 invoices cost another sum than in the file: placed at another rate" in other_rate


STEPS = [(catalogue, "list_in_bulk"), (catalogue, "transact"), (sales, "transact"), (returns, "transact")]


@contextmanager
def undone() -> Iterator[None]:
    """Take back what the block did to the database (a savepoint: services refuse to run below `atomic`)."""
    point = transaction.savepoint()
    yield
    transaction.savepoint_rollback(point)


@contextmanager
def interrupted(at: int | str, *, after: bool) -> Iterator[list[str]]:
    """Ctrl-C just before (or after) a step, named by number or name; yields the steps that were called."""
    called: list[str] = []

    def interruptible(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            mine = at in (len(called) - 1, name)
            if mine and not after:
                raise KeyboardInterrupt
            result = step(*args, **kwargs)
            if mine:
                raise KeyboardInterrupt
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in STEPS:
            patch.setattr(module, name, interruptible(name, getattr(module, name)))
        yield called


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_replay_interrupted_at_any_step_goes_on(
    replay: Callable[..., str], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "CHUNK_LINES", 2)
    with undone(), interrupted(-1, after=after) as called:
        replay(*EVENTFUL)
        expected = state()
    steps = Counter(called)
    assert steps.keys() == {name for _, name in STEPS}
    assert steps["transact"] >= 5
    for at, step in enumerate(called):
        with undone():
            with (
                interrupted(at, after=after),
                pytest.raises(CommandError, match=r"Interrupted.*goes on here") as stopped,
            ):
                replay(*EVENTFUL)
            assert stopped.value.returncode == 130
            replay(*EVENTFUL)
            assert state() == expected, f"call {at}, {step}"
            assert_books_balance()


def test_an_order_that_somebody_took_in_hand_stays_as_it_is(replay: Callable[..., str]) -> None:
    replay(line(1, "A1", 6))
    Order.objects.update(status=Status.CANCELLED)
    said = replay(line(1, "A1", 6))
    assert "skipped 1: its order is cancelled: somebody else has taken it in hand (row 2" in said
    assert order("1").status == Status.CANCELLED
    assert Payment.objects.count() == 1


# --- What cannot be written -----------------------------------------------------------------------------


def test_an_order_that_cannot_be_written_is_left_out_alone(replay: Callable[..., str]) -> None:
    lines = [line(n, f"A{n}", n) for n in range(1, 10)]
    replay(lines[4])
    # The number of its article's next movement is taken.
    sql("UPDATE inventory_stock SET sequence = sequence - 1")
    said = replay(*lines, line(10, "A5", 1), line(11, "A1", 1, "9.99"))
    assert re.search(r"skipped 1: it cannot be written: .*(sequence|Duplicate).* \(row 11: 10 A5 ", said)
    assert "11 lines of 11 invoices and 0 cancellations: 10 sold, 0 returned, 1 skipped" in said
    assert "9 orders placed and delivered" in said
    keys = set(Order.objects.values_list("idempotency_key", flat=True))
    assert keys == {f"replay:{n}" for n in [*range(1, 10), 11]}
    # The price is that of the last order, also where its neighbours were written in several transactions.
    prices = dict(Product.objects.values_list("source_id", "price"))
    assert (prices["replay:A1"], prices["replay:A5"]) == (17982, 4590)
    # Once it is mended, another run brings what was left out.
    sql("UPDATE inventory_stock SET sequence = sequence + 1 WHERE option_id IN (SELECT id FROM shop_option"
        " WHERE sku = %s)", "REPLAY-A5")  # fmt: skip
    assert "1 order placed and delivered" in replay(*lines, line(10, "A5", 1), line(11, "A1", 1, "9.99"))
    assert order("10").status == Status.DELIVERED
    assert_books_balance()


def test_a_price_that_comes_back_within_a_halved_chunk_is_kept(replay: Callable[..., str]) -> None:
    replay(line(1, "A1", price="1.00"), line(2, "B1"))
    sql("UPDATE inventory_stock SET sequence = sequence - 1 WHERE option_id IN (SELECT id FROM shop_option"
        " WHERE sku = %s)", "REPLAY-B1")  # fmt: skip
    replay(
        line(3, "A1", price="2.00"), line(4, "B1"), line(5, "C1"), line(6, "A1", price="1.00"),
    )  # fmt: skip
    assert Product.objects.get(source_id="replay:A1").price == 1800


def test_a_cancellation_that_cannot_be_written_is_left_out_alone(replay: Callable[..., str]) -> None:
    replay(*(line(n, f"A{n}", 5) for n in range(1, 6)))
    sql("UPDATE inventory_stock SET sequence = sequence - 1 WHERE option_id IN (SELECT id FROM shop_option"
        " WHERE sku = %s)", "REPLAY-A3")  # fmt: skip
    said = replay(*(line(f"C{n + 5}", f"A{n}", -n) for n in range(1, 6)))
    assert re.search(r"skipped 1: it cannot be written: .* \(row 4: C8 A3 ", said)
    assert "0 sold, 4 returned, 1 skipped" in said
    assert [lines_of(str(n))[0][3] for n in range(1, 6)] == [1, 2, 0, 4, 5]
    assert not Refund.objects.filter(reason="replay:C8").exists()


# --- Time ----------------------------------------------------------------------------------------------

YEARS_AGO = [
    line(1, "A1", 6, date="2010-12-30 08:26:00"),
    line(2, "A1", 3, date="2010-12-30 08:26:00"),
    line("C3", "A1", -2, date="2010-12-31 23:59:00"),
    line(4, "A1", 5, date="2011-01-01 00:00:00"),
    line(5, "B1", 1, date="2010-12-31 10:00:00"),
    line("C6", "A1", -5, date="2011-02-03 10:00:00"),
]


def test_years_come_in_their_own_time_and_months_can_be_closed(replay: Callable[..., str]) -> None:
    said = replay(*YEARS_AGO)
    assert "1 invoice dated with the one ahead in the file, which is later" in said
    assert "dated now" not in said
    for rows in (Movement.objects.order_by("id"), OrderEvent.objects.order_by("id")):
        times = list(rows.values_list("created_at", flat=True))
        assert times == sorted(times)
    ids = list(Order.objects.order_by("created_at", "number").values_list("id", flat=True))
    assert sorted(ids) == sorted(set(ids))
    for placed in Order.objects.all():
        assert placed_at(placed.pk) == placed.created_at
    back = Movement.objects.filter(kind="restock").order_by("id")
    assert [timezone.localtime(row.created_at).day for row in back] == [31, 3]
    assert [
        timezone.localtime(at).day for at in Refund.objects.order_by("id").values_list("done_at", flat=True)
    ]
    assert_books_balance()
    sealed = [close_month(month, ORDERS).movements for month in (date(2010, 12, 1), date(2011, 1, 1))]
    december, january = sealed
    assert (december, january) == (2 + 2 + 1 + 1, 2 + 3)
    assert verify()[1]["differences"] == []
    before = state()
    assert "Nothing changed: 4 orders and 2 returns were there already" in replay(*YEARS_AGO)
    assert state() == before


def test_orders_of_one_moment_have_ids_of_their_own_also_in_a_later_run(replay: Callable[..., str]) -> None:
    replay(line(1, "A1"), line(2, "A1"))
    replay(line(1, "A1"), line(2, "A1"), line(3, "A1"))
    first = min(Order.objects.values_list("id", flat=True))
    assert sorted(Order.objects.values_list("id", flat=True)) == [first, first + 1, first + 2]


@pytest.mark.parametrize("closed", [False, True], ids=["moved since", "month closed"])
def test_where_the_books_have_gone_on_the_past_is_dated_now(replay: Callable[..., str], closed: bool) -> None:
    if closed:
        replay(line(1, "A1", 6))
        close_month(date(2010, 12, 1), ORDERS)
    else:
        make_options([5])
    began = timezone.now()
    said = replay(line(1, "A1", 6), line(2, "A1", 3), line("C3", "A1", -1))
    late = 2 if closed else 3
    assert f"{late} of the orders and returns are dated now: the shop has moved since, or has closed" in said
    assert order("2").created_at >= began
    assert placed_at(order("2").pk) > began - timedelta(seconds=1)
    assert Movement.objects.latest("id").created_at >= began
    assert order("2").note == "Invoice 2 of 2010-12-01 08:26"
    assert_books_balance()
    assert verify()[1]["differences"] == []


@pytest.mark.parametrize("when", ["9999-12-31 23:59:59", "0001-01-01 00:00:00", "2999-01-01 00:00:00"])
def test_a_date_that_cannot_have_been_is_skipped(replay: Callable[..., str], when: str) -> None:
    said = replay(line(1, "A1", date=when), line(2, "A1"))
    assert (
        "skipped 1: an InvoiceDate that cannot have been: in the future, or before 1970 (row 2: 1 A1" in said
    )
    assert list(Order.objects.values_list("idempotency_key", flat=True)) == ["replay:2"]
