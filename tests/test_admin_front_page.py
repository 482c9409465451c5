"""The front page of the desk: today's figures, where they lead, what they cost."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from inventory.models import Difference, ReconciliationRun, Stock
from orders.admin.front_page.figures import Figures, about
from orders.lifecycle import cancel_order
from orders.models import Drop, Order, Payment, Refund
from orders.payments.services import confirm_transfer
from shop.desk import bounds
from shop.desk.bounds import bounded_count
from shop.models import Store, User
from tests.support.books import make_books
from tests.support.desk import staff
from tests.support.drop_rows import make_drop_rows
from tests.support.factories import make_options, make_order, make_store

pytestmark = pytest.mark.django_db


def cards(client: Client) -> dict[str, Any]:
    """The panels of the page, by title."""
    return {card["title"]: card for card in client.get(reverse("admin:index")).context["cards"]}


def lines(card: dict[str, Any]) -> dict[str, str]:
    return {text: value for text, value, _link in card["lines"]}


def test_an_empty_shop_has_a_front_page(desk):
    found = cards(desk)
    assert found["Orders placed today"]["value"] == "0"
    assert found["Revenue today"]["value"] == "0 won"
    assert found["Orders per hour, today"]["chart"] is None
    page = desk.get(reverse("admin:index")).content.decode()
    for words in ("No order yet today.", "No application is waiting.", "No order holds any units."):
        assert words in page


def test_todays_orders_are_counted_by_state_and_lead_to_their_lists(desk, operator, buyer):
    (option,) = make_options([50])
    made = [make_order(buyer, (option, 2)) for _number in range(4)]
    for order in made[:2]:
        confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    cancel_order(order_id=made[3].pk, actor_id=operator.pk)
    yesterday = make_order(buyer, (option, 5))
    Order.objects.filter(pk=yesterday.pk).update(created_at=timezone.now() - timedelta(days=1, hours=1))

    found = cards(desk)
    today = found["Orders placed today"]
    assert today["value"] == "4"
    assert lines(today) == {"pending": "1", "paid": "2", "cancelled": "1"}
    for line in today["lines"]:
        listed = desk.get(line[2]).context["cl"]
        assert str(listed.result_count) == line[1], line
    assert found["Open orders"]["value"] == "2"
    assert lines(found["Open orders"]) == {"pending, to be paid": "2", "shipped, on the way": "0"}
    assert found["Units held"]["value"] == "7"
    chart = found["Orders per hour, today"]["chart"]
    assert sum(json.loads(chart[1])["datasets"][0]["data"]) == 4
    for card in found.values():
        for address in [card["link"], *(line[2] for line in card["lines"])]:
            assert not address or desk.get(address).status_code == 200, address


def test_revenue_is_what_was_approved_today(desk, operator, buyer):
    (option,) = make_options([50], price=1_000)
    made = [make_order(buyer, (option, 1)) for _number in range(3)]
    for order in made:
        confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    Payment.objects.filter(order=made[0]).update(decided_at=timezone.now() - timedelta(days=2))
    cancel_order(order_id=made[2].pk, actor_id=operator.pk)
    card = cards(desk)["Revenue today"]
    assert card["value"] == "2,000 won"
    assert lines(card) == {"1 refund is due": "1,000 won"}
    assert Refund.objects.get().status == "due"


def test_holds_say_until_when_and_whether_nobody_ends_them(desk, buyer):
    (option,) = make_options([50])
    first, last = make_order(buyer, (option, 1)), make_order(buyer, (option, 3))
    now = timezone.now()
    Order.objects.filter(pk=last.pk).update(expires_at=now + timedelta(minutes=40))
    card = cards(desk)["Units held"]
    assert card["value"] == "4"
    assert [line[1] for line in card["lines"]] == [
        timezone.localtime(at).strftime("%H:%M") for at in (first.expires_at, now + timedelta(minutes=40))
    ]
    assert not card["warning"]
    Order.objects.filter(pk=first.pk).update(expires_at=now - timedelta(hours=1))
    cache.clear()
    assert "1 hold is over" in cards(desk)["Units held"]["warning"]


def test_what_sells_and_runs_out_is_named(desk, buyer):
    low, gone, plenty = make_options([6, 3, 50])
    (unwanted,) = make_options([2])
    make_order(buyer, (low, 4), (gone, 3), (plenty, 1))
    found = cards(desk)
    assert found["Low stock"]["value"] == "1"
    assert [line[1] for line in found["Low stock"]["lines"]] == ["2 left"]
    assert low.sku in found["Low stock"]["lines"][0][0]
    assert found["Sold out, and in demand"]["value"] == "1"
    assert [line[1] for line in found["Sold out, and in demand"]["lines"]] == ["3 ordered"]
    assert gone.sku in found["Sold out, and in demand"]["lines"][0][0]
    stocks = {row.pk for row in desk.get(found["Low stock"]["link"]).context["cl"].result_list}
    assert stocks == {low.stock.pk, unwanted.stock.pk}
    assert [
        row.pk for row in desk.get(found["Sold out, and in demand"]["link"]).context["cl"].result_list
    ] == [gone.stock.pk]
    top = json.loads(found["Top options, today"]["chart"][1])
    assert top["labels"] == [low.sku, gone.sku, plenty.sku]
    assert top["datasets"][0]["data"] == [4, 3, 1]


def test_stores_that_wait_are_named(desk):
    make_store(name="Waiting", status=Store.Status.REQUESTED)
    make_store(name="Accepted")
    card = cards(desk)["Stores waiting for acceptance"]
    assert (card["value"], list(lines(card))) == ("1", ["Waiting"])


def test_differences_are_those_of_the_last_whole_run_that_are_not_fixed(desk, operator):
    assert not cards(desk)["Open differences"]["value"]
    (option,) = make_options([5])
    make_books(option, operator)  # a run of one option
    clean = ReconciliationRun.objects.create(scope="whole shop", status="clean", finished_at=timezone.now())
    cache.clear()
    assert cards(desk)["Open differences"]["value"] == "0"
    Difference.objects.update(run=clean, fixed_by=None)
    cache.clear()
    card = cards(desk)["Open differences"]
    assert card["value"] == "1"
    assert desk.get(card["link"]).context["cl"].result_count == 1


def test_drops_under_way_come_before_planned_ones(desk):
    make_drop_rows(*make_options([5]))
    Drop.objects.create(
        name="Later", opens_at=timezone.now(), limit_per_customer=1, status="open", paused=True
    )
    card = cards(desk)["Drops"]
    assert list(lines(card)) == ["Later – paused", "Air – scheduled"]
    assert lines(card)["Later – paused"] == "0 of 0 sold"


def test_everybody_sees_the_panels_of_what_they_may_see(operator):
    assert set(cards(staff("inventory.view_stock"))) == {"Low stock", "Sold out, and in demand"}
    assert "Revenue today" not in cards(staff("orders.view_order"))
    nothing = staff().get(reverse("admin:index"))
    assert nothing.status_code == 200
    assert nothing.context["cards"] == []


def test_figures_are_kept_for_a_while_and_the_page_says_of_when_they_are(desk, buyer):
    first = desk.get(reverse("admin:index"))
    assert "renewed every 30 seconds" in first.content.decode()
    (option,) = make_options([5])
    make_order(buyer, (option, 1))
    with CaptureQueriesContext(connection) as asked:
        again = desk.get(reverse("admin:index"))
    assert again.context["refresh"] == first.context["refresh"]
    assert not [query for query in asked if "orders_order" in query["sql"]]


def test_the_page_asks_as_often_for_many_rows_as_for_few(desk, buyer):
    (option,) = make_options([500])

    def queries() -> int:
        cache.clear()
        with CaptureQueriesContext(connection) as asked:
            desk.get(reverse("admin:index"))
        return len(asked)

    make_order(buyer, (option, 1))
    few = queries()
    for stock in (1, 2, 3):
        (low,) = make_options([stock + 1])
        make_order(buyer, (low, stock), (option, 1))
        make_store(status=Store.Status.REQUESTED)
    assert queries() <= few + 2  # the rows of two lists that were empty


def test_no_count_goes_over_a_whole_table(desk, buyer, monkeypatch):
    (option,) = make_options([50])
    for _number in range(4):
        make_order(buyer, (option, 1))
    monkeypatch.setattr(bounds, "COUNT_LIMIT", 2)
    figures = Figures()
    assert str(bounded_count(Order.objects.filter(status="pending"))) == "2+"
    held = figures.held()
    assert (str(held.orders), str(held.units)) == ("2+", "2+")
    assert Stock.objects.count() == 1


def test_hours_are_local_ones(buyer):
    """00:30 in Seoul is 15:30 of the day before in UTC."""
    (option,) = make_options([5])
    order = make_order(buyer, (option, 1))
    now = timezone.localtime().replace(hour=9, minute=0, second=0, microsecond=0)
    Order.objects.filter(pk=order.pk).update(created_at=now.replace(hour=0, minute=30))
    assert Figures(now).by_hour() == [1] + [0] * 9
    assert Figures(now + timedelta(days=1)).by_hour() == [0] * 10


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_how_many_orders_there_are_is_the_databases_estimate(buyer):
    assert about(Order) is not None
    assert isinstance(about(User), int)


@pytest.mark.sqlite
def test_sqlite_keeps_no_estimate_and_the_page_shows_none(desk):
    assert about(Order) is None
    assert "by the database's estimate" not in desk.get(reverse("admin:index")).content.decode()


def test_old_lines_are_not_of_late(buyer):
    (option,) = make_options([5])
    make_order(buyer, (option, 1))
    assert Figures().recent.units == {option.pk: 1}
    later = timezone.now() + timedelta(days=9)
    assert not Figures(later).recent.units
    assert Figures(later).recent.since is None
