"""Counting: differences against what was on hand when counting began, whatever is sold meanwhile."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from inventory import documents, ledger
from inventory.errors import DocumentRefused
from inventory.models import MAX_UNITS, Movement, Stock, Stocktake, StocktakeLine
from orders.lifecycle import cancel_order, ship_order
from orders.payments.services import confirm_transfer
from tests.support.concurrency import in_processes
from tests.support.desk import act, said, staff, text, url
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.races import buy, goes_wrong, nothing_locked
from yousinsa.errors import Invalid

pytestmark = pytest.mark.django_db(transaction=True)


def begin(operator, *options) -> Stocktake:
    return documents.begin_stocktake(stock_ids=[o.stock.pk for o in options], actor_id=operator.pk)


def count(stocktake, counted) -> Stocktake:
    """Write counts (option -> units) down; the stocktake as it is then."""
    documents.record_counts(stocktake_id=stocktake.pk, counted={o.stock.pk: n for o, n in counted.items()})
    stocktake.refresh_from_db()
    return stocktake


def apply(stocktake, operator) -> int:
    return documents.apply_stocktake(
        stocktake_id=stocktake.pk, version=stocktake.version, actor_id=operator.pk
    )


def entries(page) -> dict[str, int]:
    return {f"counted-{row['stock'].pk}": row["value"] for row in page.context["rows"]}


def test_an_option_is_counted_on_its_page_while_it_is_being_sold(desk, operator, buyer):
    (option,) = make_options([10])
    started = desk.post(url(Stock, "count", option.stock.pk), follow=True)
    stocktake = Stocktake.objects.get()
    assert (stocktake.created_by, stocktake.status) == (operator, "draft")
    assert entries(started) == {f"counted-{option.stock.pk}": ""}

    order = make_order(buyer, (option, 3))
    confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=operator.pk)
    form = {f"counted-{option.stock.pk}": "8", "preview": "1"}
    preview = desk.post(url(Stocktake, "change", stocktake.pk), form, follow=True)
    assert "10 8 -2 7 → 5 0 → 0 7 → 5" in text(preview)
    assert stock_of(option) == (7, 0)

    stocktake.refresh_from_db()
    page = desk.post(url(Stocktake, "apply", stocktake.pk), {"version": stocktake.version}, follow=True)
    assert said(page)[-1] == f"{stocktake.reference}: applied. 1 option changed."
    assert stock_of(option) == (5, 0)
    movement = Movement.objects.order_by("-id").first()
    assert (movement.kind, movement.delta_on_hand, movement.actor) == ("adjust", -2, operator)
    assert movement.reference == stocktake.reference
    assert movement.reason == "Stocktake: 8 counted, 10 on record when counting began"
    assert_books_balance()


def test_it_is_applied_once_and_a_count_that_was_changed_since_is_looked_at_again(desk, operator):
    (option,) = make_options([10])
    stocktake = count(begin(operator, option), {option: 9})
    address, seen = url(Stocktake, "apply", stocktake.pk), {"version": stocktake.version}
    count(stocktake, {option: 8})
    assert said(desk.post(address, seen, follow=True)) == [
        "It was changed meanwhile. Nothing was applied: look at it again."
    ]
    assert stock_of(option) == (10, 0)
    for version in ("", "x", "9" * 20):
        desk.post(address, {"version": version})
    assert desk.get(address).status_code == 302
    assert stock_of(option) == (10, 0)
    for _ in range(2):
        page = desk.post(address, {"version": stocktake.version}, follow=True)
    assert said(page)[-1] == "It has been applied or discarded already. Nothing was changed."
    assert stock_of(option) == (8, 0)
    with pytest.raises(DocumentRefused):
        count(stocktake, {option: 1})
    assert desk.get(url(Stocktake, "change", stocktake.pk)).status_code == 200
    assert_books_balance()


def test_a_count_below_what_is_promised_refuses_all_and_names_option_and_numbers(desk, operator, buyer):
    fine, promised = make_options([10, 10])
    stocktake = begin(operator, fine, promised)
    order = make_order(buyer, (promised, 6))
    count(stocktake, {fine: 9, promised: 5})
    preview = desk.get(url(Stocktake, "preview", stocktake.pk))
    told = (
        f"{promised.sku}: -5 cannot be taken from 10 on hand now, as 6 of them are reserved and "
        "only 4 available. Cancel orders for it, or count again."
    )
    assert told in text(preview)
    assert url(Stocktake, "apply", stocktake.pk) not in preview.content.decode()
    page = desk.post(url(Stocktake, "apply", stocktake.pk), {"version": stocktake.version}, follow=True)
    assert said(page) == [told]
    assert (stock_of(fine), stock_of(promised)) == ((10, 0), (10, 6))
    cancel_order(order_id=order.pk, actor_id=operator.pk)
    assert apply(stocktake, operator) == 2
    assert (stock_of(fine), stock_of(promised)) == ((9, 0), (5, 0))
    assert_books_balance()


def test_lines_that_were_not_counted_or_are_right_stay_as_they_are(desk, operator):
    right, missing, fewer = make_options([5, 5, 5])
    stocktake = count(begin(operator, right, missing, fewer), {right: 5, fewer: 4})
    preview = desk.get(url(Stocktake, "preview", stocktake.pk))
    assert "1 line was counted as it is on record." in text(preview)
    assert "1 line is not counted: it stays as it is." in text(preview)
    assert [row["option"] for row in preview.context["rows"]] == [fewer]
    assert apply(stocktake, operator) == 1
    assert [stock_of(option)[0] for option in (right, missing, fewer)] == [5, 5, 4]


def test_an_option_is_counted_by_one_stocktake_at_a_time(desk, operator):
    one, two = make_options([5, 5])
    first = begin(operator, one)
    page = act(desk, "count_selected", one.stock, two.stock)
    assert said(page) == [
        f"{one.sku} is being counted already, in {first.reference}: apply or discard that one first."
    ]
    assert Stocktake.objects.count() == 1
    assert "This cannot be undone." in text(desk.get(url(Stocktake, "discard", first.pk)))
    page = desk.post(url(Stocktake, "discard", first.pk), follow=True)
    assert said(page) == [f"{first.reference}: discarded. Nothing was changed."]
    assert act(desk, "count_selected", one.stock, two.stock).status_code == 200
    assert StocktakeLine.objects.filter(live=True).count() == 2
    with pytest.raises(DocumentRefused):
        apply(first, operator)


def test_counts_that_make_no_sense_stay_in_their_fields(desk, operator):
    one, two = make_options([5, 5])
    stocktake = begin(operator, one, two)
    address = url(Stocktake, "change", stocktake.pk)
    for wrong in ("-1", "many", str(MAX_UNITS + 1)):
        page = desk.post(address, {f"counted-{one.stock.pk}": wrong, f"counted-{two.stock.pk}": "4"})
        assert said(page) == ["Nothing was saved: look at the marked lines."]
        assert entries(page) == {f"counted-{one.stock.pk}": wrong, f"counted-{two.stock.pk}": "4"}
    assert not StocktakeLine.objects.exclude(counted=None).exists()
    desk.post(address, {f"counted-{one.stock.pk}": "0", f"counted-{two.stock.pk}": ""})
    assert entries(desk.get(address)) == {f"counted-{one.stock.pk}": 0, f"counted-{two.stock.pk}": ""}
    with pytest.raises(Invalid):
        count(stocktake, {one: -1})
    with pytest.raises(Invalid):
        documents.begin_stocktake(stock_ids=[], actor_id=operator.pk)


def test_a_long_stocktake_has_pages(desk, operator, monkeypatch):
    from inventory.admin.documents import base as pages

    monkeypatch.setattr(pages, "LINES_PAGE", 2)
    monkeypatch.setattr(documents, "BATCH", 2)
    options = make_options([5] * 5)
    stocktake = begin(operator, *options)
    address, seen = url(Stocktake, "change", stocktake.pk), []
    for _ in range(3):
        page = desk.get(address)
        seen += [row["option"] for row in page.context["rows"]]
        fields = dict.fromkeys(entries(page), "4")
        answer = desk.post(address, fields)
        address = url(Stocktake, "change", stocktake.pk) + (page.context["next"] or "")
        assert answer.status_code == 302
    assert seen == options
    stocktake.refresh_from_db()
    assert apply(stocktake, operator) == 5
    assert {stock_of(option) for option in options} == {(4, 0)}
    assert_books_balance()


def test_who_may_look_at_stock_may_look_but_not_count(operator):
    (option,) = make_options([5])
    stocktake = count(begin(operator, option), {option: 4})
    clerk = staff("inventory.view_stock")
    for page in ("change", "preview"):
        html = clerk.get(url(Stocktake, page, stocktake.pk)).content.decode()
        assert "<form" not in html.partition('id="content-main"')[2].partition("</main>")[0]
    for page in ("apply", "discard", "counts"):
        assert clerk.post(url(Stocktake, page, stocktake.pk), {"version": 1}).status_code == 403
    assert clerk.post(url(Stocktake, "import")).status_code == 403
    clerk.post(url(Stocktake, "change", stocktake.pk), {f"counted-{option.stock.pk}": "1"})
    act(clerk, "count_selected", option.stock)
    assert StocktakeLine.objects.get().counted == 4
    stranger = staff("shop.view_product")
    assert stranger.get(url(Stocktake, "change", stocktake.pk)).status_code == 403
    assert stranger.get(url(StocktakeLine)).status_code == 403
    counter = staff("inventory.count_stock")
    assert counter.post(url(Stocktake, "apply", stocktake.pk), {"version": 1}).status_code == 302
    assert stock_of(option) == (4, 0)
    assert counter.get(url(Stocktake, "change", 42)).status_code == 302


class Counting(TestCase):
    """Sales, receipts and cancellations while counting: the result is the count, plus what happened since."""

    happenings = st.lists(
        st.one_of(
            st.tuples(st.just("buy"), st.integers(1, 4)),
            st.tuples(st.just("receive"), st.integers(1, 4)),
            st.tuples(st.just("cancel"), st.just(0)),
            st.tuples(st.just("ship"), st.just(0)),
        ),
        max_size=6,
    )

    @settings(max_examples=40, deadline=None)
    @given(happenings, happenings, st.integers(0, 14))
    def test_what_happens_meanwhile_stays_right(self, before, after, counted):
        (option,) = make_options([10])
        clerk, buyer, orders = make_user(staff=True), make_user(address=True), []

        def happen(todo) -> int:
            """Do it; by how much it moved what is on hand."""
            moved = 0
            for what, units in todo:
                on_hand, reserved = stock_of(option)
                if what == "buy" and units <= on_hand - reserved:
                    orders.append((make_order(buyer, (option, units)), units))
                elif what == "receive":
                    ledger.receive(option_id=option.pk, quantity=units)
                    moved += units
                elif what in ("cancel", "ship") and orders:
                    order, ordered = orders.pop()
                    if what == "cancel":
                        cancel_order(order_id=order.pk, actor_id=clerk.pk)
                    else:
                        confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
                        ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=clerk.pk)
                        moved -= ordered
            return moved

        happen(before)
        stocktake = begin(clerk, option)
        moved = happen(after)
        count(stocktake, {option: counted})
        was = stock_of(option)
        if counted + moved >= was[1]:
            apply(stocktake, clerk)
            assert stock_of(option) == (counted + moved, was[1])
        else:
            with pytest.raises(DocumentRefused):
                apply(stocktake, clerk)
            assert stock_of(option) == was
        assert_books_balance()


def stock_after_a_stocktake_beside_sales():
    """Two operators apply a count of 27 for 30 while ten buyers buy: stock after it, and what is right."""
    options = make_options([30, 30])
    operators = [make_user(staff=True) for _ in range(2)]
    buyers = [make_user().pk for _ in range(10)]
    stocktake = count(begin(operators[0], *options), dict.fromkeys(options, 27))

    def work(index):
        if index >= 2:
            return [buy(buyers[index - 2], (option.pk, 1)) for option in options for _ in range(2)]
        try:
            return apply(stocktake, operators[index])
        except DocumentRefused:
            return 0

    results = in_processes(work, 12)
    assert sorted(results[:2]) == [0, 2]
    sold = sum(outcome != "insufficient_stock" for each in results[2:] for outcome in each)
    return [stock_of(option) for option in options], [(27, sold // 2)] * 2


@pytest.mark.mariadb
def test_two_operators_apply_one_stocktake_while_buyers_buy():
    """One of them applies it; nobody's units are counted twice, and no sale is lost."""
    stock, right = stock_after_a_stocktake_beside_sales()
    assert stock == right
    assert_books_balance()


@pytest.mark.mariadb
def test_control_without_the_lock_a_stocktake_and_sales_undo_each_other(monkeypatch):
    with nothing_locked(monkeypatch):
        goes_wrong(stock_after_a_stocktake_beside_sales, lambda found: found[0] == found[1])
