"""Reconciliation beside living orders: no false alarm, whatever happens; and what is off is found."""

import multiprocessing
import sys
import threading
from contextlib import nullcontext

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory import ledger
from inventory.errors import InsufficientStock
from inventory.models import Stock
from inventory.reconciliation import OrderBook, Reconciliation, correct
from orders.lifecycle import cancel_order, deliver_order, return_order, ship_order
from orders.models import Order, OrderLine
from orders.order_book import ORDERS, order_units
from orders.payments.services import pay
from shop.models import Option, User
from tests.support.corruption import differences, sql
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.races import goes_wrong, nothing_locked
from yousinsa.db.transactions import transact


def in_another_thread(work):
    def run():
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("protected", [True, False])
def test_an_order_between_two_reads_raises_no_alarm_thanks_to_the_snapshot(monkeypatch, protected):
    """The control, without the snapshot, must raise it: else this test would prove nothing."""
    (option,) = make_options([10])
    buyer = make_user()

    def units(option_ids):  # the orders are read after stock row and ledger
        in_another_thread(lambda: make_order(buyer, (option, 2)))
        return order_units(option_ids)

    if not protected:
        monkeypatch.setattr("inventory.reconciliation.runs.snapshot", nullcontext)
    alarms = [d[3:6] for d in Reconciliation(OrderBook(units, ORDERS.lines))]
    assert alarms == ([] if protected else [("reserved", 2, 0)])
    assert (stock_of(option), differences()) == ((10, 2), [])


@pytest.mark.django_db(transaction=True)
def test_a_correction_computes_anew_what_changed_since_it_was_found():
    (option,) = make_options([10])
    buyer = make_user()
    sql("UPDATE inventory_stock SET on_hand = 12 WHERE option_id = %s", option.pk)
    (found,) = Reconciliation(ORDERS)
    make_order(buyer, (option, 3))
    correct(found.stock, ORDERS)
    assert (stock_of(option), differences()) == ((10, 3), [])


@pytest.mark.django_db(transaction=True)
def test_snapshot_refuses_to_run_inside_a_transaction():
    with transaction.atomic(), pytest.raises(RuntimeError):
        list(Reconciliation(ORDERS))


def _buy_and_cancel(buyer_id, option_ids, rounds):
    buyer = User.objects.get(pk=buyer_id)
    options = list(Option.objects.filter(pk__in=option_ids))
    for number in range(rounds):
        picked = [(option, 1 + number % 2) for option in options[number % 2 :]]
        order = make_order(buyer, *picked)
        if number % 3:
            cancel_order(order_id=order.pk, actor_id=buyer.pk)


def found_beside_writers(rounds=60):
    """What runs find while two processes sell and cancel, and afterwards; a counter is moved now and then.

    Returns the false alarms, what a correction left behind, and the number of runs.
    """
    options = make_options([5_000] * 3)
    ids, buyer = [option.pk for option in options], make_user()
    connections.close_all()
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=_buy_and_cancel, args=(buyer.pk, ids, rounds), daemon=True) for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    alarms, runs = [], 0
    try:
        while any(writer.is_alive() for writer in writers):
            alarms += differences()
            if runs % 5 == 0 and not alarms:
                alarms += _move_a_counter_and_have_it_put_back(ids[0])
            runs += 1
    finally:
        for writer in writers:
            if sys.exception():
                writer.kill()
            writer.join()
    # A promise that was lost cannot be taken back: then the writer whose it was fails.
    left = differences() + [f"a writer ended with {w.exitcode}" for w in writers if w.exitcode]
    assert left or Order.objects.filter(buyer=buyer).count() == 2 * rounds
    return alarms, left, runs


def _move_a_counter_and_have_it_put_back(option_id):
    """What a run finds beside the counter that was moved, before it is put back."""
    transact(lambda: sql("UPDATE inventory_stock SET on_hand = on_hand + 7 WHERE option_id = %s", option_id))
    found = differences()
    correct(Stock.objects.get(option_id=option_id).pk, ORDERS)
    return [d for d in found if (d[0], d[2] - d[1]) != ("on_hand", 7)]


@pytest.mark.django_db(transaction=True)
def test_runs_and_corrections_beside_writing_processes_find_only_what_is_off():
    alarms, left, runs = found_beside_writers()
    assert (alarms, left) == ([], [])
    assert runs > 3


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_snapshot_sales_raise_alarms(monkeypatch):
    monkeypatch.setattr("inventory.reconciliation.runs.snapshot", nullcontext)
    goes_wrong(lambda: found_beside_writers(20)[0], lambda alarms: alarms == [])


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_corrections_and_sales_undo_each_other(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: found_beside_writers(20)[1], lambda left: left == [])


# --- Whatever happens -----------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "adjust", "reserve", "cancel", "ship", "return"]), st.integers(1, 6)
    ),
    max_size=12,
)


def _live(option, buyer, steps):
    orders = {"reserve": [], "ship": []}
    for step, n in steps:
        if step == "receive":
            ledger.receive(option_id=option.pk, quantity=n)
        elif step == "adjust":
            try:
                ledger.adjust(option_id=option.pk, delta=n - 4 or 1, reason="counted")
            except InsufficientStock:
                continue
        elif step == "reserve":
            try:
                orders["reserve"].append(make_order(buyer, (option, n)).pk)
            except InsufficientStock:
                continue
        elif step == "cancel" and orders["reserve"]:
            cancel_order(order_id=orders["reserve"].pop(), actor_id=None)
        elif step == "ship" and orders["reserve"]:
            order_id = orders["reserve"].pop(0)
            pay(order_id=order_id, provider="sandbox", token="tok-approve", actor_id=buyer.pk)
            ship_order(order_id=order_id, carrier="CJ", tracking_number="1", actor_id=None)
            deliver_order(order_id=order_id, actor_id=None)
            orders["ship"].append(order_id)
        elif step == "return" and orders["ship"]:
            line = OrderLine.objects.get(order_id=orders["ship"][0])
            out = line.quantity - line.returned
            return_order(order_id=line.order_id, units={option.pk: min(n, out)}, actor_id=buyer.pk)
            if n >= out:
                orders["ship"].pop(0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=STEPS, after=STEPS, on_hand=st.integers(0, 60), reserved=st.integers(0, 60))
def test_any_life_is_clean_and_any_moved_counter_is_found_and_put_back(db, before, after, on_hand, reserved):
    (option,) = make_options([8])
    buyer = make_user(address=True)
    _live(option, buyer, before)
    assert differences(option_id=option.pk) == []

    true = dict(zip(("on_hand", "reserved"), stock_of(option), strict=True))
    wrong = {"on_hand": max(on_hand, reserved), "reserved": reserved}
    Stock.objects.filter(option=option).update(**wrong)
    expected = [
        (kind, true[kind], wrong[kind], "counter without movement")
        for kind in true
        if true[kind] != wrong[kind]
    ]
    assert differences(option_id=option.pk) == expected
    done = correct(Stock.objects.get(option=option).pk, ORDERS)
    assert stock_of(option) == tuple(true.values())
    if expected:
        assert (done.delta_on_hand, done.delta_reserved) == (0, 0)
    assert differences(option_id=option.pk) == []
    _live(option, buyer, after)
    assert differences(option_id=option.pk) == []
