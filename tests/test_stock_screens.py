"""Receive, adjust, move between options: a form, a preview, a change of exactly what was looked at."""

from collections import Counter

import pytest
from django.contrib.admin.models import LogEntry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from inventory import ledger
from inventory.errors import InsufficientStock, InvalidMovement, StockMoved
from inventory.models import MAX_UNITS, Movement, Stock
from tests.support.concurrency import in_processes
from tests.support.desk import buttons, change_stock, said, signed_in, staff, text, url
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.races import buy, goes_wrong, nothing_locked

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_receiving_shows_before_and_after_and_then_adds_units_with_their_reason(option, operator):
    desk, address = signed_in(operator), url(Stock, "receive", option.stock.pk)
    assert buttons(desk, option.stock) == {"receive", "adjust", "transfer", "count"}
    assert option.sku in desk.get(address).content.decode()
    form = {"quantity": 5, "reason": "Autumn delivery", "reference": "DN-7"}
    preview = desk.post(address, form)
    assert "+5 10 → 15 0 → 0 10 → 15" in text(preview)
    assert stock_of(option) == (10, 0)
    page = desk.post(address, form | {"seen": preview.context["seen"], "confirm": "1"}, follow=True)
    assert said(page) == [f"{option.sku}: +5. 15 on hand, 15 available now."]
    movement = Movement.objects.order_by("-id").first()
    assert (movement.kind, movement.reason, movement.reference) == ("receive", "Autumn delivery", "DN-7")
    assert movement.actor == operator
    assert LogEntry.objects.filter(user=operator, object_id=option.stock.pk).exists()
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_adjusting_cannot_take_promised_units_and_keeps_what_was_typed(option, operator, buyer):
    make_order(buyer, (option, 7))
    desk = signed_in(operator)
    page = change_stock(desk, "adjust", option.stock, delta=-4, reason="damaged", note="Water in aisle 3")
    assert page.status_code == 200
    said_there = "At most 3 can be taken away: 7 of the 10 on hand are reserved."
    assert said_there in text(page)
    assert 'value="Water in aisle 3"' in page.content.decode()
    assert 'value="-4"' in page.content.decode()
    assert stock_of(option) == (10, 7)
    page = change_stock(desk, "adjust", option.stock, delta=-3, reason="damaged", note="Water in aisle 3")
    assert said(page) == [f"{option.sku}: -3. 7 on hand, 0 available now."]
    assert Movement.objects.order_by("-id").first().reason == "damaged: Water in aisle 3"
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_units_are_moved_between_options_by_two_movements_that_name_each_other(operator, buyer):
    small, large = make_options([10, 2])
    make_order(buyer, (small, 4))
    desk = signed_in(operator)
    form = {"to": large.sku, "quantity": 6, "reason": "Wrong label"}
    assert "fewer" not in text(desk.get(url(Stock, "transfer", small.stock.pk)))
    too_many = change_stock(desk, "transfer", small.stock, **(form | {"quantity": 7}))
    assert list(too_many.context["form"].errors) == ["quantity"]
    preview = desk.post(url(Stock, "transfer", small.stock.pk), form)
    assert "-6 10 → 4 4 → 4 6 → 0" in text(preview)
    assert "+6 2 → 8 0 → 0 2 → 8" in text(preview)
    change_stock(desk, "transfer", small.stock, **form)
    assert (stock_of(small), stock_of(large)) == ((4, 4), (8, 0))
    out, into = Movement.objects.order_by("-id")[:2][::-1]
    assert (out.delta_on_hand, into.delta_on_hand) == (-6, 6)
    assert out.reference == into.reference
    assert Movement.objects.filter(reference=out.reference).count() == 2
    assert out.reason == into.reason == f"{small.sku} → {large.sku}: Wrong label"
    assert_books_balance()


@pytest.mark.parametrize(
    ("change", "form", "field"),
    [
        ("receive", {"quantity": "0", "reason": "x"}, "quantity"),
        ("receive", {"quantity": "999999999999", "reason": "x"}, "quantity"),
        ("receive", {"quantity": str(MAX_UNITS), "reason": "x"}, "quantity"),
        ("receive", {"quantity": "many", "reason": "x"}, "quantity"),
        ("receive", {"quantity": "5", "reason": "  "}, "reason"),
        ("adjust", {"delta": "0", "reason": "counted"}, "delta"),
        ("adjust", {"delta": "3", "reason": ""}, "reason"),
        ("adjust", {"delta": "3", "reason": "because"}, "reason"),
        ("adjust", {"delta": "3", "reason": "other", "note": " "}, "note"),
        ("adjust", {"delta": "1000000000", "reason": "counted"}, "delta"),
        ("adjust", {"delta": "-11", "reason": "counted"}, "delta"),
        ("transfer", {"to": "no-such-sku", "quantity": "1", "reason": "x"}, "to"),
        ("transfer", {"to": "{own}", "quantity": "1", "reason": "x"}, "to"),
        ("transfer", {"to": "{other}", "quantity": "0", "reason": "x"}, "quantity"),
        ("transfer", {"to": "{other}", "quantity": "11", "reason": "x"}, "quantity"),
        ("transfer", {"to": "{other}", "quantity": "1", "reason": ""}, "reason"),
    ],
)
def test_a_form_that_makes_no_sense_is_shown_again(desk, option, change, form, field):
    (other,) = make_options([3])
    form = {name: value.format(own=option.sku, other=other.sku) for name, value in form.items()}
    page = change_stock(desk, change, option.stock, **form)
    assert page.status_code == 200
    assert list(page.context["form"].errors) == [field]
    assert "Nothing was done." in page.content.decode()
    assert stock_of(option) == (10, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("change", "form"),
    [
        ("receive", {"quantity": 5, "reason": "Delivery"}),
        ("adjust", {"delta": -5, "reason": "lost"}),
        ("transfer", {"to": "{other}", "quantity": 5, "reason": "Wrong label"}),
    ],
)
def test_a_stale_form_is_refused_with_the_present_numbers(option, operator, buyer, change, form):
    (other,) = make_options([0])
    form = {name: str(value).format(other=other.sku) for name, value in form.items()}
    desk, address = signed_in(operator), url(Stock, change, option.stock.pk)
    seen = desk.post(address, form).context["seen"]
    make_order(buyer, (option, 2))
    page = desk.post(address, form | {"seen": seen, "confirm": "1"})
    assert "the stock has moved since you looked" in text(page)
    assert "2 → 2" in text(page)
    assert stock_of(option) == (10, 2)
    fresh = page.context["seen"]
    assert fresh != seen
    assert desk.post(address, form | {"seen": fresh, "confirm": "1"}).status_code == 302
    assert stock_of(option)[0] == (15 if change == "receive" else 5)
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_a_move_is_refused_when_the_other_option_has_moved(operator):
    small, large = make_options([5, 5])
    desk, address = signed_in(operator), url(Stock, "transfer", small.stock.pk)
    form = {"to": large.sku, "quantity": 2, "reason": "Wrong label"}
    seen = desk.post(address, form).context["seen"]
    ledger.receive(option_id=large.pk, quantity=1)
    assert "has moved since" in text(desk.post(address, form | {"seen": seen, "confirm": "1"}))
    assert (stock_of(small), stock_of(large)) == ((5, 0), (6, 0))


@pytest.mark.django_db(transaction=True)
def test_what_was_sold_since_the_preview_takes_a_change_back_to_its_form(option, operator, buyer):
    desk, address = signed_in(operator), url(Stock, "adjust", option.stock.pk)
    form = {"delta": -5, "reason": "lost"}
    seen = desk.post(address, form).context["seen"]
    make_order(buyer, (option, 8))
    page = desk.post(address, form | {"seen": seen, "confirm": "1"})
    assert list(page.context["form"].errors) == ["delta"]
    assert "At most 2 can be taken away" in text(page)
    assert stock_of(option) == (10, 8)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("change", "form"), [
    ("receive", {"quantity": 5, "reason": "Delivery"}), ("adjust", {"delta": 5, "reason": "found"}),
])  # fmt: skip
def test_a_form_that_is_sent_twice_is_done_once(option, operator, change, form):
    desk, address = signed_in(operator), url(Stock, change, option.stock.pk)
    confirmed = form | {"seen": desk.post(address, form).context["seen"], "confirm": "1"}
    desk.post(address, confirmed)
    second = desk.post(address, confirmed, follow=True)
    assert said(second)[-1] == "This form was sent twice; the second time did nothing."
    assert stock_of(option) == (15, 0)
    # Somebody else's form of the same moment is told that the stock has moved.
    other = signed_in(make_user(staff=True))
    assert "has moved since" in text(other.post(address, confirmed))
    assert stock_of(option) == (15, 0)


def test_confirming_without_a_preview_shows_one_and_going_back_keeps_what_was_typed(desk, option):
    address, form = url(Stock, "receive", option.stock.pk), {"quantity": 5, "reason": "Delivery"}
    for seen in ("", "x", "1,2", "9" * 30):
        assert "10 → 15" in text(desk.post(address, form | {"seen": seen, "confirm": "1"}))
    back = desk.post(address, form | {"seen": "1", "again": "1"})
    assert 'value="Delivery"' in back.content.decode()
    assert stock_of(option) == (10, 0)


@pytest.mark.parametrize("change", ["receive", "adjust", "transfer", "count"])
def test_each_screen_has_its_own_permission(option, change):
    allowed = staff("inventory.view_stock", f"inventory.{change}_stock")
    assert buttons(allowed, option.stock) == {change}
    refused = staff("inventory.view_stock", "inventory.change_stock")
    assert buttons(refused, option.stock) == set()
    address = url(Stock, change, option.stock.pk)
    listed = [address in client.get(url(Stock)).content.decode() for client in (allowed, refused)]
    assert listed == [change != "count", False]  # counting begins by the list's action
    form = {"quantity": 1, "delta": 1, "reason": "x", "confirm": "1", "seen": "1"}
    assert refused.post(url(Stock, change, option.stock.pk), form).status_code == 403
    assert allowed.get(url(Stock, change, option.stock.pk)).status_code == 200
    assert allowed.get(url(Stock, change, 42)).status_code == 302
    assert staff(f"inventory.{change}_stock").get(url(Stock, change, option.stock.pk)).status_code == 403
    assert stock_of(option) == (10, 0)


# --- The ledger's move ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_ledger_refuses_a_move_that_makes_no_sense_or_has_become_stale(option):
    (other,) = make_options([1])
    move = {"from_option_id": option.pk, "to_option_id": other.pk, "quantity": 1, "reason": "x"}
    for wrong in ({"quantity": 0}, {"reason": " "}, {"to_option_id": option.pk}):
        with pytest.raises(InvalidMovement):
            ledger.transfer(**(move | wrong))
    with pytest.raises(InsufficientStock):
        ledger.transfer(**(move | {"quantity": 11}))
    with pytest.raises(StockMoved) as stale:
        ledger.transfer(**move, seen=(1, 2))
    assert stale.value.row.option_id == other.pk
    assert (stock_of(option), stock_of(other)) == ((10, 0), (1, 0))


class Moves(TestCase):
    """Whatever is moved between three options: no unit appears or is lost, and no promise is broken."""

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 12)), max_size=8),
        st.integers(0, 5),
    )
    def test_units_are_neither_made_nor_lost(self, moves, promised):
        options = make_options([5, 8, 0])
        if promised:
            make_order(make_user(), (options[0], promised))
        for source, target, units in moves:
            before = [stock_of(option) for option in options]
            move = {"from_option_id": options[source].pk, "to_option_id": options[target].pk}
            on_hand, reserved = before[source]
            fits = source != target and 1 <= units <= on_hand - reserved
            if fits:
                ledger.transfer(**move, quantity=units, reason="moved")
            else:
                with pytest.raises((InvalidMovement, InsufficientStock)):
                    ledger.transfer(**move, quantity=units, reason="moved")
                assert [stock_of(option) for option in options] == before
        assert sum(stock_of(option)[0] for option in options) == 13
        assert_books_balance()


# --- Everybody at once ------------------------------------------------------------------------------


CHANGES = [("receive", {"quantity": 3, "reason": "Delivery"}), ("adjust", {"delta": -1, "reason": "damaged"})]


def operators_beside_buyers(operators, buyers):
    """Operators work through the screens of one option while buyers buy three each.

    Returns its stock, what is right, and the buyers' and operators' changes that there should be.
    """
    option, spare = make_options([40, 0])
    todo = [*CHANGES, ("transfer", {"to": spare.sku, "quantity": 2, "reason": "Wrong label"})] * 3

    def work(index):
        if index >= len(operators):
            return [buy(buyers[index - len(operators)], (option.pk, 1)) for _ in range(3)]
        desk, done = signed_in(operators[index]), []
        for change, form in todo:
            for _ in range(500):  # a stale form, a lock that was not had, or too few units: look again
                page = change_stock(desk, change, option.stock, **form)
                if getattr(page, "redirect_chain", None):
                    done.append(change)
                    break
        return done

    results = in_processes(work, len(operators) + len(buyers))
    done = Counter(change for each in results[: len(operators)] for change in each)
    sold = sum(outcome != "insufficient_stock" for each in results[len(operators) :] for outcome in each)
    on_hand = 40 + 3 * done["receive"] - done["adjust"] - 2 * done["transfer"]
    right = [(on_hand, sold), (2 * done["transfer"], 0)]
    return [stock_of(option), stock_of(spare)], right, option, done, sold


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_two_operators_and_32_buyers_on_one_option():
    """Each operator works through the screens: no update is lost, every movement has who made it."""
    operators = [make_user(staff=True) for _ in range(2)]
    buyers = [make_user().pk for _ in range(32)]
    stock, right, option, done, sold = operators_beside_buyers(operators, buyers)
    assert stock == right
    assert done["receive"] == 6
    of_operators = Movement.objects.filter(kind__in=["receive", "adjust"], stock=option.stock).exclude(
        actor=None
    )
    assert of_operators.count() == sum(done.values())
    assert set(of_operators.values_list("actor", flat=True)) == {operator.pk for operator in operators}
    reserved = Movement.objects.filter(kind="reserve", stock=option.stock)
    assert reserved.count() == sold
    assert set(reserved.values_list("actor", flat=True)) <= set(buyers)
    assert_books_balance()


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_operators_and_sales_undo_each_other(monkeypatch):
    """A form that was made for other figures is refused: that is worth nothing but under the lock."""
    operators = [make_user(staff=True) for _ in range(2)]
    buyers = [make_user().pk for _ in range(4)]
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: operators_beside_buyers(operators, buyers)[:2], lambda found: found[0] == found[1])
