"""reconcile_stock: finds what differs and nothing else, says why, and sets it right."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from inventory import ledger
from inventory.errors import InvalidMovement
from inventory.locks import lock_stock
from inventory.models import Kind, Movement, Stock
from inventory.reconciliation import OrderBook, Reconciliation, Uncorrectable, comparison, correct
from orders import order_book
from orders.lifecycle import expire_due, return_order
from orders.models import Order, Status
from orders.order_book import ORDERS
from shop.models import Option
from tests.support.commands import reconcile
from tests.support.corruption import (
    CORRUPTIONS,
    SHIPPED,
    Shop,
    counter,
    delete_movement,
    differences,
    insert_order,
    open_shop,
    set_status,
    sql,
)
from tests.support.factories import make_options, make_order, make_store, stock_of
from yousinsa.db.transactions import transact

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop() -> Shop:
    return open_shop()


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
    promise = ledger.Entry(shop.stock.pk, Kind.RESERVE, 0, 2, late.number)
    transact(lambda: ledger.post(lock_stock([shop.stock.pk]), [promise]))
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
    with django_assert_num_queries(10):  # a savepoint and its release stand for each snapshot here
        assert differences() == []


# --- Each corruption ------------------------------------------------------------------------------------


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
    assert out.endswith("1 stock row corrected, 0 left as they are\n")
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
    CORRUPTIONS[corruption].corrupt(shop)
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
    monkeypatch.setattr(order_book, "LINES_AT_A_TIME", 3)
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
    assert "Orders were promised 23 units, but the ledger adds up to 14. Receive 9 units" in out
    assert out.endswith("0 stock rows corrected, 1 left as it is\n")
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
    assert [d[:7] for d in Reconciliation(ORDERS, chunk=1)] == [
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
