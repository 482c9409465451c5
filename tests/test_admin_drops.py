"""Drops on the operators' desk."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orders.drops.redis.connections import client as redis
from orders.drops.redis.keys import keys_of
from orders.models.drops import DeadLetter, Drop, DropItem, DropStatus, DropTally, Lane
from tests.support.desk import act, buttons, said, staff, url
from tests.support.drops import drain_all, item_of, make_drop
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance

pytestmark = pytest.mark.django_db(transaction=True)


def plan(option, **changes):
    """What the form of a drop posts."""
    opens = timezone.localtime() + timedelta(hours=1)
    form = {
        "name": "Air",
        "lane": Lane.GROUP_COMMIT,
        "opens_at_0": f"{opens:%Y-%m-%d}",
        "opens_at_1": f"{opens:%H:%M:%S}",
        "closes_at_0": "",
        "closes_at_1": "",
        "limit_per_customer": 1,
        "admission_rate": "",
        "items-TOTAL_FORMS": 1,
        "items-INITIAL_FORMS": 0,
        "items-0-option": option.pk,
        "items-0-price": 7_000,
        "items-0-allotted": 4,
    }
    return form | changes


def buy(shopper, drop, option):
    return shopper.post("orders/", {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]})


def test_a_drop_is_planned_changed_and_run_from_the_desk(desk, api):
    (option,) = make_options([10])
    assert desk.post(url(Drop, "add"), plan(option)).status_code == 302
    drop = Drop.objects.get()
    item = DropItem.objects.get(drop=drop)
    assert (item.price, item.allotted, drop.status) == (7_000, 4, DropStatus.SCHEDULED)
    change = plan(option, **{"items-INITIAL_FORMS": 1, "items-0-id": item.pk, "items-0-allotted": 5})
    assert desk.post(url(Drop, "change", drop.pk), change).status_code == 302
    assert item_of(drop) == (5, 0, 0)

    assert buttons(desk, drop) == {"open", "close", "delete"} - {"delete"}
    assert desk.post(url(Drop, "open", drop.pk)).status_code == 302
    assert stock_of(option) == (10, 5)
    assert buttons(desk, drop) == {"pause", "close"}
    assert buy(api(make_user()), drop, option).status_code == 201
    desk.post(url(Drop, "pause", drop.pk))
    assert buy(api(make_user()), drop, option).status_code == 409
    assert buttons(desk, drop) == {"resume", "close"}
    desk.post(url(Drop, "resume", drop.pk))
    assert "4" in desk.get(url(Drop, "close", drop.pk)).content.decode()
    desk.post(url(Drop, "close", drop.pk))
    assert (item_of(drop), stock_of(option), buttons(desk, drop)) == ((5, 1, 4), (10, 1), set())
    assert_books_balance()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"items-0-allotted": 0}, "greater than or equal to 1"),
        ({"items-TOTAL_FORMS": 0}, "at least 1"),
        ({"limit_per_customer": 0}, "greater than or equal to 1"),
        ({"closes_at_0": "2020-01-01", "closes_at_1": "00:00"}, "later than the opening"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_words(desk, changes, complaint):
    (option,) = make_options([10])
    page = desk.post(url(Drop, "add"), plan(option, **changes))
    assert complaint in page.content.decode()
    assert not Drop.objects.exists()


def test_an_open_drop_is_not_edited_or_deleted(desk):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=Lane.GROUP_COMMIT)
    item = DropItem.objects.get()
    change = plan(option, **{"items-INITIAL_FORMS": 1, "items-0-id": item.pk, "items-0-allotted": 9})
    desk.post(url(Drop, "change", drop.pk), change | {"name": "Other"})
    drop.refresh_from_db()
    assert (drop.name, item_of(drop)) == ("Air", (4, 0, 0))
    assert desk.post(url(Drop, "delete", drop.pk), {"post": "yes"}).status_code == 403


def test_what_cannot_be_opened_is_told(desk):
    (option,) = make_options([3])
    drop = make_drop((option, 4), lane=Lane.GROUP_COMMIT, opened=False)
    page = desk.post(url(Drop, "open", drop.pk)).content.decode()
    assert "4 asked for, 3 available" in page
    assert said(act(desk, "close", drop, apply=1)) == ["1 drop closed."]
    assert stock_of(option) == (3, 0)


def test_the_live_numbers(desk, api, on_redis):
    (option,) = make_options([10])
    drop = make_drop((option, 4), limit=1)
    first, second = api(make_user()), api(make_user())
    buy(first, drop, option)
    drain_all()
    buy(second, drop, option)
    DropTally.objects.create(drop=drop, process="p", refused=17, queued=3)
    DeadLetter.objects.create(drop=drop, number="N", code="c", reason="r", entry="")
    numbers = desk.get(url(Drop, "numbers", drop.pk)).json()
    assert numbers == {
        "status": "open", "problem": "", "sold": "1", "pending": "1", "remaining": "2", "refused": "17",
        "queued": "3", "waiting": "0", "lag": "1", "dead_letters": "1", "unaccounted": "0", "redis": "open",
    }  # fmt: skip
    page = desk.get(url(Drop, "change", drop.pk)).content.decode()
    assert url(Drop, "numbers", drop.pk) in page
    assert "drop_numbers.js" in page
    assert buttons(desk, drop) == {"pause", "close", "rebuild"}
    redis().delete(keys_of(drop.pk).gate)
    numbers = desk.get(url(Drop, "numbers", drop.pk)).json()
    assert (numbers["remaining"], numbers["redis"], numbers["lag"]) == ("–", "lost", "1")
    assert (
        "2 units left. 0 units unaccounted for"
        in desk.post(url(Drop, "rebuild", drop.pk), follow=True).content.decode()
    )


def test_a_redis_that_is_away_is_shown_not_raised(desk, on_redis, settings):
    (option,) = make_options([10])
    drop = make_drop((option, 4))
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert desk.get(url(Drop, "numbers", drop.pk)).json()["redis"] == "away"
    assert desk.get(url(Drop, "change", drop.pk)).status_code == 200
    assert "Redis does not answer" in desk.post(url(Drop, "close", drop.pk)).content.decode()


def test_dead_letters_are_found_by_drop_and_by_number(desk):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=Lane.GROUP_COMMIT, opened=False)
    for number in ("01ABC-1", "01ABD-2"):
        DeadLetter.objects.create(drop=drop, number=number, code="c", reason="buyer is gone", entry="{}")
    assert desk.get(url(DeadLetter), {"q": str(drop.pk)}).context["cl"].result_count == 2
    page = desk.get(url(DeadLetter), {"q": "01abd"})
    assert page.context["cl"].result_count == 1
    assert "buyer is gone" in page.content.decode()


def test_who_may_only_look_runs_nothing(api):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=Lane.GROUP_COMMIT)
    clerk = staff("orders.view_drop")
    assert clerk.get(url(Drop, "numbers", drop.pk)).status_code == 200
    assert buttons(clerk, drop) == set()
    assert clerk.post(url(Drop, "close", drop.pk)).status_code == 403
    assert staff("orders.view_order").get(url(Drop, "numbers", drop.pk)).status_code == 403
