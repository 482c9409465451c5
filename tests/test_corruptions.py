"""Ten kinds of damage done by raw SQL, each alone and all at once: found exactly, and mended once."""

import json

import pytest

from inventory import ledger
from inventory.models import Difference, Kind, Movement, ReconciliationRun, Stock
from orders.models import Status
from tests.support.commands import reconcile
from tests.support.corruption import (
    CORRUPTIONS,
    SHIPPED,
    Corruption,
    counter,
    delete_movement,
    open_shop,
    set_status,
    sql,
)
from tests.support.factories import make_options

pytestmark = pytest.mark.django_db

TEN = {
    "on_hand raised": CORRUPTIONS["on_hand raised"],
    "reserved lowered": CORRUPTIONS["reserved lowered"],
    "movement deleted in the middle": CORRUPTIONS["adjustment deleted"],
    "movement deleted at the end": CORRUPTIONS["last movement deleted"],
    "movement's delta altered": CORRUPTIONS["reservation altered"],
    "movement's balance altered": CORRUPTIONS["balance altered"],
    "order cancelled while still holding": CORRUPTIONS["pending order cancelled by hand"],
    "shipped order without its movement": CORRUPTIONS["shipment deleted"],
    "order line altered": CORRUPTIONS["order line altered"],
    "pending order deleted": CORRUPTIONS["order deleted"],
    "expired hold never released": CORRUPTIONS["pending order expired by hand"],
}


def found_by(*arguments):
    """What the command says as JSON: {option: [(kind, expected, found, cause)]}, and its exit status."""
    code, out, _err = reconcile("--json", *arguments)
    told: dict[int, list] = {}
    for d in json.loads(out)["differences"]:
        told.setdefault(d["option"], []).append((d["kind"], d["expected"], d["found"], d["cause"]))
    return told, code


def test_damage_in_many_places_at_once_is_found_exactly_and_mended_once():
    """A shop for each kind of damage; beside them one that nobody touched, which must never be named."""
    expected = {}
    shops = [open_shop() for _ in range(len(TEN) + 1)]
    for shop, damage in zip(shops, TEN.values(), strict=False):
        damage.corrupt(shop)
        expected[shop.option.pk] = list(damage.expected)
    assert len(expected) == len(TEN) >= 10
    assert found_by() == (expected, 1)

    assert found_by("--fix") == (expected, 1)
    run = ReconciliationRun.objects.latest("pk")
    assert (run.found, run.fixed) == (sum(map(len, expected.values())), len(expected))
    mended = Difference.objects.filter(run=run)
    assert {d.fixed_by.kind for d in mended} == {Kind.CORRECT}
    assert {d.fixed_by.stock_id for d in mended} == {d.stock_id for d in mended}
    corrections = Movement.objects.filter(kind=Kind.CORRECT)
    assert sorted(corrections.values_list("stock__option", flat=True)) == sorted(expected)
    assert all(reason for reason in corrections.values_list("reason", flat=True))

    after = dict(Stock.objects.values_list("pk", "sequence"))
    assert found_by("--fix") == ({}, 0)
    assert dict(Stock.objects.values_list("pk", "sequence")) == after, "a second --fix changes nothing"


@pytest.mark.parametrize("name", TEN)
def test_the_likely_cause_is_on_record_with_the_run(name):
    damage: Corruption = TEN[name]
    shop = open_shop()
    damage.corrupt(shop)
    reconcile()
    rows = Difference.objects.filter(run=ReconciliationRun.objects.latest("pk")).order_by("pk")
    assert list(rows.values_list("kind", "expected", "found", "cause")) == damage.expected
    assert set(rows.values_list("stock", "option", "sku")) == {
        (shop.stock.pk, shop.option.pk, shop.option.sku)
    }


def test_the_order_at_fault_is_named_where_it_is_one():
    shop = open_shop()
    set_status(Status.PENDING, Status.CANCELLED)(shop)
    reconcile()
    assert Difference.objects.get().order_number == shop.orders[Status.PENDING].number


def test_damage_is_found_since_a_day_only_where_something_moved():
    """What --since can see and what it cannot, as its help says."""
    quiet, moved = (make_options([5])[0] for _ in range(2))
    sql("UPDATE inventory_movement SET created_at = '2020-01-01' WHERE stock_id = %s",
        Stock.objects.get(option=quiet).pk)  # fmt: skip
    ledger.receive(option_id=moved.pk, quantity=1)
    sql("UPDATE inventory_stock SET on_hand = on_hand + 1 WHERE option_id = %s", quiet.pk)
    assert found_by("--since", "2021-01-01") == ({}, 0)
    sql("UPDATE inventory_stock SET on_hand = on_hand + 1 WHERE option_id = %s", moved.pk)
    assert list(found_by("--since", "2021-01-01")[0]) == [moved.pk]
    assert list(found_by()[0]) == [quiet.pk, moved.pk]
    assert json.loads(reconcile("--json", "--since", "2021-01-01")[1])["checked"] == 1


def test_two_faults_of_one_option_are_both_told():
    shop = open_shop()
    counter("on_hand", 3)(shop)
    set_status(Status.PENDING, Status.CANCELLED)(shop)
    assert found_by()[0] == {
        shop.option.pk: [
            ("on_hand", 14, 17, "counter without movement"),
            ("reserved", 2, 3, "closed order still holding"),
        ]
    }


@pytest.mark.parametrize("damage", ["last movement deleted", "adjustment altered"])
def test_a_mended_ledger_breaks_again_visibly(damage):
    shop = open_shop()
    CORRUPTIONS[damage].corrupt(shop)
    reconcile("--fix")
    delete_movement(Kind.SHIP, Status.SHIPPED)(shop)
    assert {cause for *_figures, cause in found_by()[0][shop.option.pk]} == {SHIPPED}
