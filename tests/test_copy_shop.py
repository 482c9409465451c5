"""A shop moves from one database to another, there and back, and its books say the same as before."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import connection

from inventory import ledger
from inventory.documents import begin_stocktake, record_counts
from inventory.models import MonthSeal, Movement
from inventory.seals.closing import close_month
from orders.models.drops import Lane
from orders.order_book import ORDERS
from tests.support.books import make_settlement
from tests.support.commands import run
from tests.support.corruption import open_shop
from tests.support.drops import make_drop
from tests.support.environment import DATABASE, mariadb_server
from tests.support.factories import make_options, make_order, make_store, make_user
from tests.support.orders import MARCH, date_what_is_new
from tests.support.server import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


def manage(database: str, *arguments: str, status: int = 0) -> str:
    """What a command says, run in a process of its own on this database."""
    environment = {**os.environ, "DATABASE_URL": database}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, text=True, capture_output=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def here() -> str:
    """The address of this test's own database."""
    place = connection.settings_dict
    if DATABASE == "sqlite":
        return f"sqlite:///{place['NAME']}"
    return mariadb_server().url_of(place["NAME"])


@pytest.fixture
def new_database(tmp_path: Path) -> Callable[[str], str]:
    """`new_database("mariadb")` is the address of a new one after `migrate`."""

    def make(kind: str) -> str:
        url = f"sqlite:///{tmp_path / 'moved.sqlite3'}"
        if kind == "mariadb":
            with suppress(Exception), mariadb_server().root() as root:
                root.cursor().execute("DROP DATABASE yousinsa_moved")
            url = mariadb_server().create_database("yousinsa_moved")
        manage(url, "migrate", "--noinput", "--verbosity", "0")
        return url

    return make


def live_a_life() -> None:
    """Every state of an order, a closed month, an open drop, a settlement, a stocktake half way."""
    shop = open_shop()
    date_what_is_new("2020-03-10 03:00:00.123456")
    close_month(MARCH[0], ORDERS)
    counted, dropped = make_options([30, 30])
    ledger.receive(option_id=counted.pk, quantity=5, reason="손님이 돌려준 것 ' \" \\ % 😀")
    clerk = make_user(staff=True)
    stocktake = begin_stocktake(stock_ids=[counted.stock.pk], actor_id=clerk.pk)
    record_counts(stocktake_id=stocktake.pk, counted={counted.stock.pk: 34})
    make_settlement(make_store(name="Cheongdam").pk, approved_by=clerk)
    make_drop((dropped, 7), lane=Lane.GROUP_COMMIT)
    make_order(shop.buyer, (shop.option, 1))


def books(database: str) -> list[Any]:
    """What `verify_ledger` and `reconcile_stock` say of a database; both are clean."""
    verified = json.loads(manage(database, "verify_ledger", "--json"))
    reconciled = json.loads(manage(database, "reconcile_stock", "--full", "--json"))
    assert verified["differences"] == reconciled["differences"] == []
    return [verified, reconciled]


def digests(said: str) -> list[str]:
    return [line for line in said.splitlines()[:-1] if not line.startswith("inventory_reconciliationrun")]


@pytest.mark.timeout(600)  # a dozen processes, each of which starts Django
def test_a_shop_moves_there_and_back_to_the_last_microsecond(new_database: Callable[[str], str]) -> None:
    live_a_life()
    assert {moved.created_at.microsecond for moved in Movement.objects.all()} - {0, 123_000, 123_456}
    before = books(here())
    assert before[0]["last"]["hash"] == MonthSeal.objects.get().hash
    assert before[0]["checked"] > 10
    other = new_database("sqlite")
    said = manage(other, "copy_shop", "--from", here())
    assert "inventory_movement: " in said
    assert books(other) == before
    if DATABASE == "mariadb":  # and the other way round
        back = new_database("mariadb")
        again = manage(back, "copy_shop", "--from", other)
        # Every table has the digest that it had, but for the run that looked at it meanwhile.
        assert digests(again) == digests(said)
        assert books(back) == before
        other = back
    # It goes on there: new rows get new keys.
    manage(other, "seed_demo", "--products", "1", "--buyers", "1", "--stock", "3", "--orders", "1")
    refused = manage(other, "copy_shop", "--from", here(), status=1)
    assert "The target is in use: there are rows in " in refused
    assert "Name a new database" in refused


def test_a_row_that_did_not_arrive_as_it_was_is_found_and_nothing_stays(
    new_database: Callable[[str], str],
) -> None:
    make_order(make_user(), (make_options([5])[0], 1))
    with connection.cursor() as cursor:
        if DATABASE == "sqlite":
            cursor.execute("PRAGMA foreign_keys = OFF")
        else:
            cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("DELETE FROM shop_user")
    other = new_database("sqlite")
    assert "points to one that is not there" in manage(other, "copy_shop", "--from", here(), status=1)
    # It is as it was: another attempt is not refused for what this one left behind.
    assert "points to one that is not there" in manage(other, "copy_shop", "--from", here(), status=1)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("postgres://a:b@c/d", "must be sqlite:///… or mysql://"),
        ("rubbish", "must be sqlite:///… or mysql://"),
        ("", "must be sqlite:///… or mysql://"),
        ("sqlite:////nowhere/shop.sqlite3", "There is no file /nowhere/shop.sqlite3"),
        ("mysql://a:b@127.0.0.1:port/shop", "must be sqlite:///… or mysql://"),
    ],
)
def test_a_source_that_cannot_be_is_named(source: str, complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        run("copy_shop", "--from", source)


def test_a_shop_is_not_copied_onto_itself() -> None:
    with pytest.raises(CommandError, match="the same database"):
        run("copy_shop", "--from", here())
    assert not Movement.objects.exists()


def test_databases_of_two_versions_are_refused(tmp_path: Path) -> None:
    old = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    manage(old, "migrate", "--noinput", "--verbosity", "0", "shop", "0001")
    refused = manage(here(), "copy_shop", "--from", old, status=1)
    assert re.search(r"different versions \(.*Run `manage.py migrate` on both", refused)


def test_a_source_that_does_not_answer_is_named() -> None:
    refused = manage(here(), "copy_shop", "--from", "mysql://a:b@127.0.0.1:9/shop", status=1)
    assert "Nothing was copied. The source does not answer" in refused
    assert "Traceback" not in refused
