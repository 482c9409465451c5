"""reconcile_stock: finds what differs and nothing else, says why, and sets it right while orders flow."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory import ledger
from inventory.errors import InsufficientStock, InvalidMovement
from inventory.locks import lock_stock
from inventory.management.commands import reconcile_stock
from inventory.management.commands.reconcile_stock import ORDERS
from inventory.models import Kind, Movement, Stock
from inventory.reconciliation import OrderBook, Reconciliation, Uncorrectable, comparison, correct
from orders.models import Order, OrderLine, Status
from orders.payments.services import pay
from orders.placement.numbers import new_number, new_order_id
from orders.selectors import order_units
from orders.services import cancel_order, deliver_order, expire_due, return_order, ship_order
from shop.models import Option, User
from tests.factories import ADDRESS, make_options, make_order, make_store, make_user, stock_of
from yousinsa.db import transact

pytestmark = pytest.mark.django_db


def differences(**scope):
    return [difference[3:] for difference in Reconciliation(ORDERS, **scope)]


def reconcile(*arguments):
    """Run the command: (exit status, stdout, stderr)."""
    out, err = StringIO(), StringIO()
    try:
        call_command("reconcile_stock", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        return ended.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def sql(statement, *values):
    """What no service would do. One row must be hit, lest a corruption corrupt nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount == 1, statement


@dataclass
class Shop:
    """An option with an order in every state: 14 on hand, 3 reserved; and one that must never be named."""

    buyer: User
    option: Option
    stock: Stock
    orders: dict[str, Order]

    def order(self, units: int, status: str) -> Order:
        """An order that lived up to `status`."""
        order = make_order(self.buyer, (self.option, units))
        if status == Status.EXPIRED:
            expire_due(now=timezone.now() + timedelta(days=1))
        elif status == Status.CANCELLED:
            cancel_order(order_id=order.pk, actor_id=self.buyer.pk)
        elif status != Status.PENDING:
            pay(
                order_id=order.pk, provider="sandbox", token="tok-approve", shipping=ADDRESS,
                actor_id=self.buyer.pk,
            )  # fmt: skip
        if status in (Status.SHIPPED, Status.DELIVERED):
            ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
        if status == Status.DELIVERED:
            deliver_order(order_id=order.pk, actor_id=None)
        return order

    def movement(self, kind: str, order: str = "", **having: Any) -> Movement:
        """The only movement of this kind (of this order)."""
        if order:
            having["reference"] = self.orders[order].number
        return Movement.objects.get(stock=self.stock, kind=kind, **having)


@pytest.fixture
def shop() -> Shop:
    option, other = make_options([20, 20])
    buyer = make_user(address=True)
    make_order(buyer, (other, 3))
    shop = Shop(buyer, option, Stock.objects.get(option=option), {})
    for status, units in ((Status.EXPIRED, 1), (Status.CANCELLED, 1), (Status.PENDING, 1), (Status.PAID, 2)):
        shop.orders[status] = shop.order(units, status)
    ledger.adjust(option_id=option.pk, delta=4, reason="counted")
    for status, units in ((Status.SHIPPED, 3), (Status.DELIVERED, 4)):
        shop.orders[status] = shop.order(units, status)
    shop.orders["back"] = shop.order(5, Status.DELIVERED)
    return_order(order_id=shop.orders["back"].pk, units={option.pk: 2}, actor_id=buyer.pk)
    assert stock_of(option) == (14, 3)
    return shop


# --- Nothing to find ------------------------------------------------------------------------------------


def test_a_shop_that_only_used_the_services_is_clean(shop):
    assert differences() == []
    assert reconcile()[0] == 0
    code, out, err = reconcile("--json")
    assert (code, json.loads(out), err) == (0, {"checked": 2, "differences": []}, "")


def test_an_empty_shop_is_clean():
    assert reconcile("--json")[:2] == (0, '{"checked": 0, "differences": []}\n')


def test_options_that_never_moved_are_clean():
    make_options([0, 0, 0])
    assert json.loads(reconcile("--json", "--chunk", "2")[1]) == {"checked": 3, "differences": []}


def test_an_order_that_was_paid_after_its_hold_expired_is_clean(shop):
    late = make_order(shop.buyer, (shop.option, 2))
    expire_due(now=timezone.now() + timedelta(days=1))
    transact(lambda: ledger.reserve(lock_stock([shop.stock.pk]), [(shop.stock.pk, 2)], reference=late.number))
    Order.objects.filter(pk=late.pk).update(status=Status.PAID)
    assert differences() == []


def test_what_is_set_aside_for_drops_counts_as_reserved(shop):
    entry = ledger.Entry(shop.stock.pk, Kind.ALLOT, 0, 5, "drop 1")
    transact(lambda: ledger.post(lock_stock([shop.stock.pk]), [entry]))
    assert differences() == [("reserved", 3, 8, "movement without order")]
    with_drops = OrderBook(ORDERS.units, ORDERS.lines, escrow=lambda ids: {shop.option.pk: 5})
    assert list(Reconciliation(with_drops)) == []


def test_a_chunk_costs_the_same_queries_however_many_stock_rows(django_assert_num_queries):
    make_options([5] * 30)
    with django_assert_num_queries(8):  # a savepoint and its release stand for each snapshot here
        assert differences() == []


# --- Each corruption ------------------------------------------------------------------------------------


def counter(column, delta):
    def corrupt(shop):
        sql(f"UPDATE inventory_stock SET {column} = {column} + %s WHERE id = %s", delta, shop.stock.pk)

    return corrupt


def delete_movement(kind, order="", **having):
    def corrupt(shop):
        sql("DELETE FROM inventory_movement WHERE id = %s", shop.movement(kind, order, **having).pk)

    return corrupt


def alter_movement(kind, column, delta, order=""):
    def corrupt(shop):
        statement = f"UPDATE inventory_movement SET {column} = {column} + %s WHERE id = %s"
        sql(statement, delta, shop.movement(kind, order).pk)

    return corrupt


def set_status(order, status):
    def corrupt(shop):
        sql("UPDATE orders_order SET status = %s WHERE id = %s", status, shop.orders[order].pk)

    return corrupt


def return_by_hand(shop):
    set_status(Status.DELIVERED, Status.RETURNED)(shop)
    line = OrderLine.objects.get(order=shop.orders[Status.DELIVERED])
    sql("UPDATE orders_orderline SET returned = quantity WHERE id = %s", line.pk)


def delete_order(shop):
    order_id = shop.orders[Status.PENDING].pk
    sql("DELETE FROM orders_orderline WHERE order_id = %s", order_id)
    sql("DELETE FROM orders_order WHERE id = %s", order_id)


def insert_order(shop, units=2):
    now = timezone.now()
    order = Order.objects.create(
        id=new_order_id(), number=new_number(), buyer=shop.buyer, total=0, expires_at=now
    )
    OrderLine.objects.create(
        order=order, option=shop.option, product_name="by hand", quantity=units, unit_price=0
    )


def insert_movement(shop):
    last = Movement.objects.filter(stock=shop.stock).latest("sequence")
    Movement.objects.create(
        stock=shop.stock, sequence=last.sequence + 1, kind=Kind.RECEIVE, delta_on_hand=5, delta_reserved=0,
        on_hand_after=last.on_hand_after + 5, reserved_after=last.reserved_after,
    )  # fmt: skip


def delete_reserve_and_release(shop):
    delete_movement(Kind.RESERVE, Status.CANCELLED)(shop)
    delete_movement(Kind.RELEASE, Status.CANCELLED)(shop)


def move_the_counter_and_go_on_selling(shop):
    counter("on_hand", 3)(shop)
    cancel_order(order_id=make_order(shop.buyer, (shop.option, 1)).pk, actor_id=None)


def delete_the_last_movement(shop):
    ledger.receive(option_id=shop.option.pk, quantity=6)
    delete_movement(Kind.RECEIVE, delta_on_hand=6)(shop)


SHIPPED, RETURNED = "shipped order without movement", "returned order without movement"
CORRUPTIONS = {
    "on_hand raised": (counter("on_hand", 3), [("on_hand", 14, 17, "counter without movement")], (0, 0)),
    "on_hand lowered": (counter("on_hand", -4), [("on_hand", 14, 10, "counter without movement")], (0, 0)),
    "reserved raised": (counter("reserved", 2), [("reserved", 3, 5, "counter without movement")], (0, 0)),
    "reserved lowered": (counter("reserved", -3), [("reserved", 3, 0, "counter without movement")], (0, 0)),
    "counter moved, shop went on": (
        move_the_counter_and_go_on_selling,
        [("on_hand", 14, 17, "counter without movement")],
        (0, 0),
    ),
    "adjustment deleted": (
        delete_movement(Kind.ADJUST),
        [("on_hand", 10, 14, "movement missing")],
        (0, 0),
    ),
    "last movement deleted": (
        delete_the_last_movement,
        [("on_hand", 14, 20, "movement missing")],
        (0, 0),
    ),
    "reservation deleted": (
        delete_movement(Kind.RESERVE, Status.PENDING),
        [("ledger_reserved", 3, 2, "movement missing")],
        (0, 1),
    ),
    "release deleted": (
        delete_movement(Kind.RELEASE, Status.EXPIRED),
        [("ledger_reserved", 3, 4, "movement missing")],
        (0, -1),
    ),
    "shipment deleted": (
        delete_movement(Kind.SHIP, Status.SHIPPED),
        [("ledger_on_hand", 14, 17, SHIPPED), ("ledger_reserved", 3, 6, SHIPPED)],
        (-3, -3),
    ),
    "restock deleted": (
        delete_movement(Kind.RESTOCK),
        [("ledger_on_hand", 14, 12, RETURNED)],
        (2, 0),
    ),
    "pair of movements deleted": (
        delete_reserve_and_release,
        [("ledger_sequence", 15, 13, "movement missing")],
        (0, 0),
    ),
    "adjustment altered": (
        alter_movement(Kind.ADJUST, "delta_on_hand", 2),
        [("on_hand", 16, 14, "movement altered")],
        (0, 0),
    ),
    "reservation altered": (
        alter_movement(Kind.RESERVE, "delta_reserved", 1, Status.PAID),
        [("ledger_reserved", 3, 4, "movement altered")],
        (0, -1),
    ),
    "balance altered": (
        alter_movement(Kind.ADJUST, "on_hand_after", 1),
        [("ledger_balance", 24, 25, "movement altered")],
        (0, 0),
    ),
    "last balance altered": (
        alter_movement(Kind.RESTOCK, "reserved_after", -1),
        [("ledger_balance", 3, 2, "movement altered")],
        (0, 0),
    ),
    "pending order cancelled by hand": (
        set_status(Status.PENDING, Status.CANCELLED),
        [("reserved", 2, 3, "closed order still holding")],
        (0, -1),
    ),
    "cancelled order reopened by hand": (
        set_status(Status.CANCELLED, Status.PAID),
        [("reserved", 4, 3, "order without movement")],
        (0, 1),
    ),
    "paid order shipped by hand": (
        set_status(Status.PAID, Status.SHIPPED),
        [("on_hand", 12, 14, SHIPPED), ("reserved", 1, 3, SHIPPED)],
        (-2, -2),
    ),
    "delivered order returned by hand": (return_by_hand, [("on_hand", 18, 14, RETURNED)], (4, 0)),
    "order deleted": (delete_order, [("reserved", 2, 3, "movement without order")], (0, -1)),
    "order inserted": (insert_order, [("reserved", 5, 3, "order without movement")], (0, 2)),
    "movement inserted": (insert_movement, [("on_hand", 19, 14, "movement without counter")], (0, 0)),
    "sequence raised": (counter("sequence", 7), [("sequence", 15, 22, "counter without movement")], (0, 0)),
    "sequence lowered": (counter("sequence", -7), [("sequence", 15, 8, "movement without counter")], (0, 0)),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_is_found_alone_named_and_corrected_once(shop, corruption):
    corrupt, expected, deltas = CORRUPTIONS[corruption]
    corrupt(shop)
    assert differences() == expected
    assert {d.option for d in Reconciliation(ORDERS)} == {shop.option.pk}
    code, out, _err = reconcile()
    assert code == 1
    for kind, should, found, cause in expected:
        line = f"option {shop.option.pk} ({shop.option.sku}): {kind} is {found}, should be {should} ({cause})"
        assert line in out.splitlines()

    code, out, _err = reconcile("--fix")
    assert code == 1, "a run that found differences says so, corrected or not"
    assert out.endswith("1 stock rows corrected, 0 left as they are\n")
    fixed = Movement.objects.get(kind=Kind.CORRECT)
    assert (fixed.delta_on_hand, fixed.delta_reserved) == deltas
    assert (fixed.on_hand_after, fixed.reserved_after) == stock_of(shop.option)
    assert all(f"{kind} was {found}, is {should} ({cause})" in fixed.reason
               for kind, should, found, cause in expected)  # fmt: skip
    assert differences() == []

    before = Stock.objects.get(pk=shop.stock.pk).sequence
    assert reconcile("--fix")[0] == 0
    assert correct(shop.stock.pk, ORDERS) is None
    assert Stock.objects.get(pk=shop.stock.pk).sequence == before


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_life_goes_on_cleanly_after_a_correction(shop, corruption):
    CORRUPTIONS[corruption][0](shop)
    reconcile("--fix")
    return_order(order_id=shop.orders["back"].pk, units=None, actor_id=shop.buyer.pk)
    ledger.receive(option_id=shop.option.pk, quantity=10)
    later = shop.order(2, Status.DELIVERED)
    assert differences() == []
    # Closed books do not hide what happens afterwards.
    sql("DELETE FROM inventory_movement WHERE reference = %s AND kind = 'ship'", later.number)
    assert [(kind, cause) for kind, _expected, _found, cause in differences()] == [
        ("ledger_on_hand", SHIPPED),
        ("ledger_reserved", SHIPPED),
    ]


def test_a_correction_that_is_lost_is_made_again(shop):
    set_status(Status.PAID, Status.SHIPPED)(shop)
    reconcile("--fix")
    sql("DELETE FROM inventory_movement WHERE kind = 'correct'")
    assert differences() == [("ledger_on_hand", 12, 14, SHIPPED), ("ledger_reserved", 1, 3, SHIPPED)]
    reconcile("--fix")
    assert (differences(), stock_of(shop.option)) == ([], (12, 1))


def test_a_movement_that_comes_back_makes_its_correction_unfounded(shop):
    lost = shop.movement(Kind.RESTOCK)
    ledger.receive(option_id=shop.option.pk, quantity=1)
    delete_movement(Kind.RESTOCK)(shop)
    reconcile("--fix")
    lost.save(force_insert=True)
    assert differences() == [("ledger_on_hand", 15, 17, "correction without cause")]
    reconcile("--fix")
    assert (differences(), stock_of(shop.option)) == ([], (15, 3))


def test_the_order_at_fault_is_named_by_the_correction(shop):
    delete_movement(Kind.SHIP, Status.SHIPPED)(shop)
    done = correct(shop.stock.pk, ORDERS, actor_id=shop.buyer.pk)
    assert (done.delta_on_hand, done.delta_reserved, done.on_hand, done.reserved) == (-3, -3, 14, 3)
    fixed = Movement.objects.get(kind=Kind.CORRECT)
    assert (fixed.reference, fixed.actor_id) == (shop.orders[Status.SHIPPED].number, shop.buyer.pk)


def test_faults_of_several_orders_add_up_and_orders_are_read_in_pages(shop, monkeypatch):
    monkeypatch.setattr(comparison, "ORDERS_AT_A_TIME", 2)
    monkeypatch.setattr(reconcile_stock, "LINES_AT_A_TIME", 3)
    set_status(Status.PAID, Status.SHIPPED)(shop)
    delete_movement(Kind.SHIP, Status.DELIVERED)(shop)
    delete_movement(Kind.RESTOCK)(shop)
    assert differences() == [("on_hand", 12, 14, SHIPPED), ("reserved", 1, 3, SHIPPED)]
    done = correct(shop.stock.pk, ORDERS)
    assert (done.delta_on_hand, done.delta_reserved) == (-4, -6)
    assert (differences(), stock_of(shop.option)) == ([], (12, 1))


def test_an_order_that_is_lost_is_not_hidden_by_another_that_is_missing(shop):
    """The sums of shipped units agree; the gap that the deletion left is why orders are looked at."""
    delete_movement(Kind.SHIP, Status.SHIPPED)(shop)
    same = shop.order(3, Status.SHIPPED)
    sql("UPDATE orders_order SET status = 'cancelled' WHERE id = %s", same.pk)
    assert differences() == [("ledger_on_hand", 11, 14, SHIPPED), ("ledger_reserved", 3, 6, SHIPPED)]


# --- What cannot be corrected ---------------------------------------------------------------------------


def test_promises_beyond_what_is_there_are_left_to_a_person(shop):
    insert_order(shop, units=20)
    code, out, _err = reconcile("--fix")
    assert code == 1
    assert "Orders were promised 23 units, but there are 14. Receive 9 units" in out
    assert out.endswith("0 stock rows corrected, 1 left as they are\n")
    assert stock_of(shop.option) == (14, 3)
    with pytest.raises(Uncorrectable):
        correct(shop.stock.pk, ORDERS)
    ledger.receive(option_id=shop.option.pk, quantity=9)
    reconcile("--fix")
    assert (differences(), stock_of(shop.option)) == ([], (23, 23))


def test_a_promised_option_without_a_stock_row_is_found(shop):
    bare = Option.objects.create(product=shop.option.product, sku="BARE", size="bare")
    assert differences() == []
    make_options([1])
    shop.option = bare
    insert_order(shop)
    assert [tuple(d) for d in Reconciliation(ORDERS, chunk=1)] == [
        (None, bare.pk, "BARE", "reserved", 2, 0, "option without stock row")
    ]
    code, out, _err = reconcile("--fix", "--option", str(bare.pk))
    assert code == 1
    assert "not corrected: it has no stock row" in out


def test_a_correction_needs_a_reason_and_possible_counters(shop):
    def write(**changes):
        values = {"on_hand": 1, "reserved": 0, "deltas": (0, 0), "sequence": 99, "reason": "x"} | changes
        transact(lambda: ledger.correct(lock_stock([shop.stock.pk])[shop.stock.pk], **values))

    for changes in ({"reason": " "}, {"reserved": 2}, {"on_hand": -1, "reserved": -1}):
        with pytest.raises(InvalidMovement):
            write(**changes)
    assert differences() == []


# --- The command ----------------------------------------------------------------------------------------


def test_json_has_exactly_the_promised_shape(shop):
    counter("on_hand", 3)(shop)
    for arguments in (("--json",), ("--json", "--fix")):
        code, out, err = reconcile(*arguments)
        assert code == 1
        assert json.loads(out) == {
            "checked": 2,
            "differences": [
                {
                    "stock": shop.stock.pk, "option": shop.option.pk, "sku": shop.option.sku,
                    "kind": "on_hand", "expected": 14, "found": 17, "cause": "counter without movement",
                }
            ],
        }  # fmt: skip
        assert ("corrected by movement 16 (+0 on hand, +0 reserved)" in err) == ("--fix" in arguments)
    assert reconcile("--json")[0] == 0


def test_a_run_may_be_narrowed_to_an_option_or_a_store(shop):
    counter("on_hand", 3)(shop)
    elsewhere = make_store()
    (clean,) = make_options([1], store=elsewhere)
    assert json.loads(reconcile("--json", "--option", str(clean.pk))[1]) == {"checked": 1, "differences": []}
    assert reconcile("--store", str(elsewhere.pk))[0] == 0
    assert json.loads(reconcile("--json", "--store", str(shop.option.product.store_id))[1])["checked"] == 2
    assert reconcile("--option", str(shop.option.pk))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--option", "999999"], "There is no option 999999."),
        (["--store", "999999"], "There is no store 999999."),
        (["--chunk", "0"], "must be a whole number from 1 to 30,000"),
        (["--option", "1", "--store", "1"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(CommandError, match=message) as refused:
        call_command("reconcile_stock", *arguments)
    if "no" in message.split():
        assert refused.value.returncode == 2


@pytest.mark.parametrize(
    ("database", "arguments", "message"),
    [
        ("sqlite:////nowhere/at/all.sqlite3", [], "The database does not answer"),
        ("sqlite:///{empty}", [], "no such table"),
        ("sqlite:///{empty}", ["--chunk", "none"], "must be a whole number"),
    ],
)
def test_a_run_that_cannot_start_ends_with_2_and_a_clear_line(tmp_path, database, arguments, message):
    url = database.format(empty=tmp_path / "empty.sqlite3")
    ended = subprocess.run(
        [sys.executable, "manage.py", "reconcile_stock", "--json", *arguments],
        cwd=Path(__file__).parent.parent, env=os.environ | {"DATABASE_URL": url},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


# --- While orders flow ----------------------------------------------------------------------------------


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
    from django.db import transaction

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


@pytest.mark.django_db(transaction=True)
def test_runs_and_corrections_beside_writing_processes_find_only_what_is_off():
    options = make_options([5_000] * 3)
    buyer = make_user()
    connections.close_all()
    fork = multiprocessing.get_context("fork")
    ids = [option.pk for option in options]
    writers = [fork.Process(target=_buy_and_cancel, args=(buyer.pk, ids, 60)) for _ in range(2)]
    for writer in writers:
        writer.start()
    runs = 0
    while any(writer.is_alive() for writer in writers):
        assert differences() == []
        if runs % 5 == 0:
            sql("UPDATE inventory_stock SET on_hand = on_hand + 7 WHERE option_id = %s", ids[0])
            ((kind, expected, found, _cause),) = differences()
            assert (kind, found - expected) == ("on_hand", 7)
            correct(Stock.objects.get(option_id=ids[0]).pk, ORDERS)
        runs += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert runs > 3
    assert differences() == []
    assert Order.objects.count() == 120


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
