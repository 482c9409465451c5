"""Stock at the operators' desk: its lists, its locks, and counters that nobody types over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import Movement, Stock
from tests.support.desk import change_stock, signed_in, url
from tests.support.factories import make_options, make_order, stock_of

pytestmark = pytest.mark.django_db


@contextmanager
def locked_by_somebody_else(stock: Stock) -> Iterator[None]:
    """Another connection holds the row; this one waits for it a moment only."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            lock_stock([stock.pk])
            held.set()
            done.wait(60)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(30)
        patience = {
            "sqlite": "PRAGMA busy_timeout = 100",
            "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
        }[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(patience)
        yield
    finally:
        done.set()
        holder.join()
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_is_not_had_in_time_is_told_in_words(option, operator, settings):
    settings.LOCK_WAIT_SECONDS = 0.1
    desk = signed_in(operator)
    desk.get("/admin/")  # the first page notes in the session that somebody is there
    with locked_by_somebody_else(option.stock):
        page = change_stock(desk, "receive", option.stock, quantity=5, reason="Autumn delivery")
    assert page.status_code == 200
    assert "Nothing was changed: try again." in page.content.decode()
    assert 'value="Autumn delivery"' in page.content.decode()
    change_stock(desk, "receive", option.stock, quantity=5, reason="Autumn delivery")
    assert stock_of(option) == (15, 0)


def test_counters_are_not_typed_over(desk, option):
    stock = option.stock
    for page, form in (("change", {"on_hand": 99}), ("delete", {"post": "yes"})):
        assert desk.post(url(Stock, page, stock.pk), form).status_code == 403
    assert desk.get(url(Stock, "add")).status_code == 403
    movement = stock.movements.get()
    for page in ("change", "delete"):
        assert desk.post(url(Movement, page, movement.pk), {"post": "yes"}).status_code == 403
    assert stock_of(option) == (10, 0)


def test_stock_is_told_apart_by_availability(desk, buyer):
    plenty, sold_out, tampered, empty = make_options([5, 5, 5, 0])
    make_order(buyer, (sold_out, 5))
    Stock.objects.filter(option=tampered).update(on_hand=6)

    def listed(availability: str) -> set[int]:
        page = desk.get(url(Stock), {"availability": availability})
        return {stock.option_id for stock in page.context["cl"].result_list}

    assert listed("available") == {plenty.pk, tampered.pk}
    assert listed("sold-out") == {sold_out.pk, empty.pk}
    assert listed("differs") == {tampered.pk}


def test_the_timeline_shows_the_newest_movements_only(desk, option):
    for _ in range(55):
        ledger.receive(option_id=option.pk, quantity=1)
    page = desk.get(url(Stock, "change", option.stock.pk))
    (movements,) = page.context["inline_admin_formsets"]
    shown = [form.original.sequence for form in movements]
    assert shown == list(range(56, 6, -1))
