"""Stock at the operators' desk: receiving, adjusting, and counters that nobody types over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import Movement, Stock
from shop.models import Option, User
from tests.desk import buttons, said, signed_in, url
from tests.factories import make_options, make_order, make_user, stock_of
from tests.invariants import assert_books_balance

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(db: None) -> User:
    return make_user("operator@example.com", staff=True)


@pytest.fixture
def desk(operator: User) -> Client:
    return signed_in(operator)


@pytest.fixture
def option(db: None) -> Option:
    return make_options([10], price=10_000)[0]


@pytest.mark.django_db(transaction=True)
def test_receiving_adds_units_with_their_reason(option, operator):
    desk, address = signed_in(operator), url(Stock, "receive", option.stock.pk)
    assert buttons(desk, option.stock) == {"receive", "adjust"}
    assert option.sku in desk.get(address).content.decode()
    page = desk.post(address, {"quantity": 5, "reason": "Autumn delivery", "reference": "DN-7"}, follow=True)
    assert said(page) == [f"{option.sku}: +5. 15 on hand, 15 available now."]
    movement = Movement.objects.order_by("-id").first()
    assert (movement.kind, movement.reason, movement.reference) == ("receive", "Autumn delivery", "DN-7")
    assert movement.actor == operator
    timeline = page.content.decode()
    assert f"{timezone.localtime(movement.created_at):%Y-%m-%d %H:%M:%S}" in timeline
    assert "15 (+5)" in timeline
    assert "Autumn delivery" in timeline
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_adjusting_cannot_take_promised_units_and_keeps_what_was_typed(option, operator, buyer):
    make_order(buyer, (option, 7))
    desk, address = signed_in(operator), url(Stock, "adjust", option.stock.pk)
    page = desk.post(address, {"delta": -4, "reason": "Water damage in aisle 3"})
    assert page.status_code == 200
    html = page.content.decode()
    assert "At most 3 can be taken away: the other units are promised to orders." in html
    assert 'value="Water damage in aisle 3"' in html
    assert 'value="-4"' in html
    assert stock_of(option) == (10, 7)
    page = desk.post(address, {"delta": -3, "reason": "Water damage in aisle 3"}, follow=True)
    assert said(page) == [f"{option.sku}: -3. 7 on hand, 0 available now."]
    assert_books_balance()


@pytest.mark.parametrize(
    ("operation", "form", "field"),
    [
        ("receive", {"quantity": "0", "reason": "x"}, "quantity"),
        ("receive", {"quantity": "999999999999", "reason": "x"}, "quantity"),
        ("receive", {"quantity": "many", "reason": "x"}, "quantity"),
        ("receive", {"quantity": "5", "reason": "  "}, "reason"),
        ("adjust", {"delta": "0", "reason": "Counted"}, "delta"),
        ("adjust", {"delta": "3", "reason": ""}, "reason"),
        ("adjust", {"delta": "1000000000", "reason": "Counted"}, None),
    ],
)
def test_a_form_that_makes_no_sense_is_shown_again(desk, option, operation, form, field):
    page = desk.post(url(Stock, operation, option.stock.pk), form)
    assert page.status_code == 200
    assert list(page.context["form"].errors) == [field or "__all__"]
    assert "Nothing was done." in page.content.decode()
    assert stock_of(option) == (10, 0)


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
    desk, address = signed_in(operator), url(Stock, "receive", option.stock.pk)
    with locked_by_somebody_else(option.stock):
        page = desk.post(address, {"quantity": 5, "reason": "Autumn delivery", "once": "1"})
    assert page.status_code == 200
    assert "Nothing was changed: try again." in page.content.decode()
    assert 'value="Autumn delivery"' in page.content.decode()
    desk.post(address, {"quantity": 5, "reason": "Autumn delivery", "once": "1"})
    assert stock_of(option) == (15, 0)


def test_a_form_that_is_sent_twice_is_done_once(desk, option):
    address = url(Stock, "receive", option.stock.pk)
    form = {"quantity": 5, "reason": "Delivery", "once": desk.get(address).context["once"]}
    desk.post(address, form)
    second = desk.post(address, form, follow=True)
    assert said(second)[-1] == "This form was sent twice; the second time did nothing."
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
