"""Closed months: what they hold, that no change of them goes unnoticed, and reconciliation from there on."""

from datetime import date, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory import ledger
from inventory.errors import InsufficientStock
from inventory.models import Kind, MonthSeal, Movement, SealedBalance, Stock
from inventory.reconciliation.sources import last_seal, read_sums
from inventory.seals import chain, closing
from inventory.seals.closing import CannotClose, close_month
from inventory.seals.verification import Verification
from orders.order_book import ORDERS
from tests.support.commands import reconcile, verify
from tests.support.corruption import differences, open_shop, sql
from tests.support.factories import make_options, make_order, make_user
from tests.support.orders import date_what_is_new
from yousinsa.errors import Invalid

pytestmark = pytest.mark.django_db
FEBRUARY, MARCH, APRIL = date(2020, 2, 1), date(2020, 3, 1), date(2020, 4, 1)


def found():
    """Each (stock, number, what) that is not as it was sealed."""
    return [tampering[1:] for tampering in Verification()]


@pytest.fixture
def shop():
    """Two closed months and an open one: a full life in February, two receipts in March, one since."""
    shop = open_shop()
    date_what_is_new("2020-02-10 03:00:00.123456")
    close_month(FEBRUARY, ORDERS)
    ledger.receive(option_id=shop.option.pk, quantity=5)
    ledger.receive(option_id=shop.option.pk, quantity=6, reason="late")
    date_what_is_new("2020-03-10 03:00:00")
    close_month(MARCH, ORDERS)
    ledger.receive(option_id=shop.option.pk, quantity=7)
    return shop


# --- Closing --------------------------------------------------------------------------------------------


def test_a_month_is_sealed_with_its_balances(shop):
    february, march = MonthSeal.objects.order_by("month")
    assert (february.movements, march.movements) == (17, 2)
    assert (march.previous, march.previous_hash) == (february, february.hash)
    first = SealedBalance.objects.get(seal=february, stock=shop.stock)
    assert (first.opening_on_hand, first.closing_on_hand, first.closing_reserved) == (0, 14, 3)
    assert (first.first_sequence, first.last_sequence, first.shipped, first.restocked) == (1, 15, 12, 2)
    second = SealedBalance.objects.get(seal=march, stock=shop.stock)
    assert (second.opening_on_hand, second.closing_on_hand, second.closing_reserved) == (14, 25, 3)
    assert (second.first_sequence, second.last_sequence) == (16, 17)
    assert march.balances.count() == 2, "a stock row that did not move has its balance all the same"


def test_closing_again_changes_nothing(shop):
    before = list(MonthSeal.objects.values())
    out = StringIO()
    call_command("close_month", "2020-03", stdout=out)
    assert MonthSeal.objects.get(month=MARCH).hash in out.getvalue()
    assert list(MonthSeal.objects.values()) == before


@pytest.mark.parametrize(
    ("month", "complaint"),
    [
        ("2020-05", "2020-04 comes next, not 2020-05"),
        ("2020-01", "sealed with it"),
        ("2999-01", "can be closed from 2999-02-01 00:10 on"),
    ],
)
def test_months_are_closed_in_order_and_once_they_are_over(shop, month, complaint):
    with pytest.raises(CommandError, match=complaint):
        call_command("close_month", month)


def test_the_present_month_is_not_closed_nor_the_last_one_in_its_first_minutes(monkeypatch):
    make_options([5])
    today = timezone.localdate()
    with pytest.raises(CannotClose, match="can be closed from"):
        close_month(today.replace(day=1), ORDERS)
    with pytest.raises(Invalid):
        close_month(today.replace(day=2), ORDERS)
    with pytest.raises(CommandError, match="month such as"):
        call_command("close_month", "March")


def test_a_month_before_anything_moved_is_not_closed():
    make_options([5])
    with pytest.raises(CannotClose, match="Nothing had moved"):
        close_month(MARCH, ORDERS)


def test_open_differences_stand_in_the_way_unless_forced(shop):
    date_what_is_new("2020-04-10 03:00:00")
    from inventory.models import ReconciliationRun

    ReconciliationRun.objects.all().delete()
    sql("UPDATE inventory_stock SET on_hand = on_hand + 1 WHERE id = %s", shop.stock.pk)
    with pytest.raises(CannotClose, match="found 1 difference: fix it first"):
        close_month(APRIL, ORDERS)
    assert not MonthSeal.objects.filter(month=APRIL).exists()
    assert close_month(APRIL, ORDERS, force=True).forced
    assert found() == []


def test_what_was_interrupted_goes_on_and_comes_to_the_same(shop, monkeypatch):
    date_what_is_new("2020-04-10 03:00:00")
    monkeypatch.setattr(chain, "STOCKS_AT_A_TIME", 1)

    def stop(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        close_month(APRIL, ORDERS, advance=stop)
    begun = MonthSeal.objects.get(month=APRIL)
    assert (begun.sealed_at, begun.balances.count()) == (None, 1)
    assert last_seal().seal_id != begun.pk, "a seal in the making is not started from"
    assert found() == []
    sealed = close_month(APRIL, ORDERS)
    assert (sealed.pk, sealed.movements, sealed.balances.count()) == (begun.pk, 1, 2)
    assert found() == []


def test_a_second_process_takes_over_and_the_first_one_stops(shop, monkeypatch):
    date_what_is_new("2020-04-10 03:00:00")
    monkeypatch.setattr(chain, "STOCKS_AT_A_TIME", 1)
    others = []

    def another(number):
        if not others:
            others.append(None)
            others.append(close_month(APRIL, ORDERS))

    with pytest.raises(CannotClose, match="Somebody else"):
        close_month(APRIL, ORDERS, advance=another)
    assert MonthSeal.objects.get(month=APRIL).hash == others[1].hash
    assert found() == []


def test_what_is_posted_late_belongs_to_the_next_month_whatever_its_clock_says(shop):
    """The cut is a number: a movement that carries an old time after the seal is not part of it."""
    ledger.receive(option_id=shop.option.pk, quantity=1)
    sql("UPDATE inventory_movement SET created_at = '2020-03-31 23:00:00' WHERE sequence = 19")
    date_what_is_new("2020-04-10 03:00:00")
    assert found() == []
    april = close_month(APRIL, ORDERS)
    balance = april.balances.get(stock=shop.stock)
    assert (balance.first_sequence, balance.last_sequence) == (18, 19)


def test_a_month_ends_before_the_first_movement_of_the_next(shop):
    """Seoul's midnight, and a clock that ran back: the number counts."""
    for _ in range(3):
        ledger.receive(option_id=shop.option.pk, quantity=1)
    times = {18: "2020-04-30 14:59:59.999999", 19: "2020-04-30 15:00:00", 20: "2020-04-30 14:00:00"}
    for sequence, at in (*times.items(), (21, "2020-05-02 00:00:00")):
        sql("UPDATE inventory_movement SET created_at = %s WHERE sequence = %s", at, sequence)
    april = close_month(APRIL, ORDERS)
    assert april.balances.get(stock=shop.stock).last_sequence == 18
    may = close_month(date(2020, 5, 1), ORDERS)
    assert may.balances.get(stock=shop.stock).last_sequence == 21
    assert found() == []


# --- Verifying ------------------------------------------------------------------------------------------


def test_a_ledger_that_nobody_touched_is_as_it_was_sealed(shop):
    code, report = verify()
    last = MonthSeal.objects.get(month=MARCH)
    assert code == 0
    assert report == {
        "checked": 19, "seals": 2, "last": {"month": "2020-03", "hash": last.hash}, "differences": [],
    }  # fmt: skip


def test_nothing_is_wrong_where_no_month_was_closed():
    make_options([5])
    assert verify() == (0, {"checked": 0, "seals": 0, "last": None, "differences": []})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "receive"), ("delta_on_hand", 3), ("delta_reserved", 1), ("on_hand_after", 25),
        ("reserved_after", 2), ("reference", "other"), ("actor_id", 1), ("reason", "recounted"),
        ("created_at", "2020-02-10 03:00:00.123457"),
    ],
)  # fmt: skip
def test_any_column_of_an_old_movement_that_is_changed_is_named(shop, column, value):
    row = shop.movement(Kind.ADJUST)
    if column == "delta_reserved":
        sql("UPDATE inventory_movement SET kind = 'correct', delta_reserved = 1 WHERE id = %s", row.pk)
    else:
        sql(f"UPDATE inventory_movement SET {column} = %s WHERE id = %s", value, row.pk)
    assert found() == [(shop.stock.pk, row.sequence, "altered")]
    code, report = verify()
    assert code == 1
    assert report["differences"] == [
        {"month": "2020-02", "stock": shop.stock.pk, "sequence": row.sequence, "what": "altered"}
    ]


def test_a_missing_movement_is_named_wherever_it_was(shop):
    numbers = [1, 7, 15, 16, 17]
    for sequence in numbers:
        sql("DELETE FROM inventory_movement WHERE stock_id = %s AND sequence = %s", shop.stock.pk, sequence)
    assert found() == [(shop.stock.pk, sequence, "missing") for sequence in numbers]


def test_an_added_movement_is_named(shop):
    other = open_shop()
    lost = other.movement(Kind.ADJUST)
    gap = lost.sequence
    sql("DELETE FROM inventory_movement WHERE id = %s", lost.pk)
    reconcile("--fix")
    date_what_is_new("2020-04-10 03:00:00")
    close_month(APRIL, ORDERS)
    assert found() == [], "a gap that was there when the month was closed is no difference"
    names = ("kind", "delta_on_hand", "delta_reserved", "on_hand_after", "reserved_after", "reason")
    forged = {name: getattr(lost, name) for name in names}
    Movement.objects.create(stock=other.stock, sequence=gap, **forged)
    Movement.objects.create(stock=other.stock, sequence=-1, **forged)
    assert found() == [(other.stock.pk, -1, "added"), (other.stock.pk, gap, "added")]


def test_a_seal_or_a_balance_that_is_changed_is_found(shop):
    march = MonthSeal.objects.get(month=MARCH)
    sql("UPDATE inventory_sealedbalance SET closing_on_hand = 24 WHERE seal_id = %s AND stock_id = %s",
        march.pk, shop.stock.pk)  # fmt: skip
    assert (None, None, "altered") in found()
    sql("UPDATE inventory_sealedbalance SET closing_on_hand = 25 WHERE seal_id = %s AND stock_id = %s",
        march.pk, shop.stock.pk)  # fmt: skip
    assert found() == []
    february = MonthSeal.objects.get(month=FEBRUARY)
    sql("UPDATE inventory_monthseal SET hash = %s WHERE id = %s", "f" * 64, february.pk)
    assert found() == [(None, None, "altered"), (None, None, "altered")], "its own hash, and the next one's"


def test_the_command_says_it_in_words(shop):
    row = shop.movement(Kind.ADJUST)
    sql("DELETE FROM inventory_movement WHERE id = %s", row.pk)
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_ledger", stdout=out)
    assert (
        f"2020-02: stock {shop.stock.pk} ({shop.option.sku}): movement {row.sequence} is missing"
        in out.getvalue()
    )


def test_a_row_with_too_many_movements_is_sealed_as_a_whole(monkeypatch):
    monkeypatch.setattr(chain, "MARKED", 2)
    (option,) = make_options([5])
    for _ in range(3):
        ledger.receive(option_id=option.pk, quantity=1)
    date_what_is_new("2020-02-10 03:00:00")
    close_month(FEBRUARY, ORDERS)
    assert found() == []
    sql("UPDATE inventory_movement SET reason = 'x' WHERE sequence = 2")
    assert found() == [(Stock.objects.get().pk, None, "altered")]


def test_memory_is_bounded_by_pages_whatever_the_number_of_movements(shop, monkeypatch):
    whole = [list(chain.movements(1, 2**31, before=0)), MonthSeal.objects.get(month=FEBRUARY).hash]
    monkeypatch.setattr(chain, "MOVEMENTS_AT_A_TIME", 2)
    monkeypatch.setattr(chain, "STOCKS_AT_A_TIME", 1)
    assert found() == []
    with CaptureQueriesContext(connection) as captured:
        paged = list(chain.movements(shop.stock.pk, shop.stock.pk, before=0))
    assert paged == [entry for entry in whole[0] if entry.stock_id == shop.stock.pk]
    assert len(captured) == 10, "eighteen movements, two at a time, and one look that finds no more"
    assert list(chain.groups([(1, 1), (2, 1), (3, 5), (4, 0), (7, 2)])) == [(1, 2), (3, 3), (4, 7)]


# --- Reconciling from a seal ----------------------------------------------------------------------------


def test_reconciliation_starts_at_the_last_seal_and_sees_what_happened_since(shop):
    assert differences() == differences(full=True) == []
    full = read_sums([shop.stock.pk])[shop.stock.pk]
    sealed = read_sums([shop.stock.pk], last_seal())[shop.stock.pk]
    assert sealed[:7] == full[:7]
    assert sealed.whole
    assert full.whole
    sql("UPDATE inventory_stock SET on_hand = on_hand + 2 WHERE id = %s", shop.stock.pk)
    assert differences() == [("on_hand", 32, 34, "counter without movement")]


def test_a_change_behind_the_seal_is_left_to_verify_ledger_and_to_a_full_run(shop):
    sql("UPDATE inventory_movement SET on_hand_after = on_hand_after + 1 WHERE id = %s",
        shop.movement(Kind.ADJUST).pk)  # fmt: skip
    assert differences() == []
    assert differences(full=True) == [("ledger_balance", 24, 25, "movement altered")]
    assert reconcile("--full")[0] == 1
    assert verify()[0] == 1


def test_a_new_option_after_a_seal_is_read_from_its_beginning(shop):
    (new,) = make_options([9])
    make_order(make_user(), (new, 2))
    assert differences() == []


# --- Whatever happens -----------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 9).filter(bool)), max_size=8)


def _move(stocks, steps):
    for which, delta in steps:
        try:
            ledger.adjust(option_id=stocks[which].option_id, delta=delta, reason="counted")
        except InsufficientStock:
            continue


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(months=st.lists(STEPS, min_size=1, max_size=3), since=STEPS, data=st.data())
def test_any_ledger_verifies_until_any_of_its_sealed_rows_is_touched(db, months, since, data):
    MonthSeal.objects.update(previous=None)
    MonthSeal.objects.all().delete()
    Movement.objects.all().delete()
    Stock.objects.update(on_hand=0, reserved=0, sequence=0)
    options = make_options([3, 4])
    stocks = [Stock.objects.get(option=option) for option in options]
    for number, steps in enumerate(months):
        _move(stocks, steps)
        month = date(2020, 1 + number, 1)
        date_what_is_new(f"{month + timedelta(days=9)} 03:00:00")
        close_month(month, ORDERS)
    _move(stocks, since)
    assert found() == []
    assert differences() == differences(full=True) == []

    sealed = SealedBalance.objects.filter(seal=MonthSeal.objects.latest("month"))
    last = dict(sealed.values_list("stock_id", "last_sequence"))
    rows = [m for m in Movement.objects.order_by("pk") if m.sequence <= last.get(m.stock_id, 0)]
    touched = data.draw(st.sets(st.sampled_from(rows), min_size=1, max_size=3))
    expected = set()
    for row in touched:
        if data.draw(st.booleans()):
            Movement.objects.filter(pk=row.pk).delete()
            expected.add((row.stock_id, row.sequence, "missing"))
        else:
            Movement.objects.filter(pk=row.pk).update(reason="forged")
            expected.add((row.stock_id, row.sequence, "altered"))
    assert set(found()) == expected


def test_closing_locks_no_stock_row(shop):
    date_what_is_new("2020-04-10 03:00:00")
    with CaptureQueriesContext(connection) as captured:
        close_month(APRIL, ORDERS)
    assert not [q["sql"] for q in captured if "FOR UPDATE" in q["sql"] and "inventory_stock" in q["sql"]]
    assert not [q["sql"] for q in captured if q["sql"].startswith("UPDATE") and "inventory_stock" in q["sql"]]
    assert timedelta(minutes=1) < closing.GRACE
