"""Drops as shoppers and commands meet them: lists, countdown, every answer described, a real cluster."""

import re
from collections import Counter
from datetime import datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from inventory import ledger
from orders.drops import escrow
from orders.drops.admission.door import begin, buy
from orders.drops.admission.group_commit import place_in_drops
from orders.drops.admission.tallies import tallies
from orders.drops.errors import PurchaseLimit
from orders.drops.metrics import BY_ANSWER
from orders.drops.redis.answers import Answer
from orders.drops.redis.connections import client
from orders.drops.redis.keys import keys_of
from orders.drops.redis.scripts import LUA, WORDS
from orders.drops.services import close_drop
from orders.models import Order
from orders.models.drops import Drop, DropItem, DropStatus, DropTally, Lane
from orders.placement.requests import Placed, PlaceRequest
from tests.support.concurrency import in_processes, until
from tests.support.described import Checked
from tests.support.drops import (
    REDIS_LANES,
    assert_all_adds_up,
    drain_all,
    item_of,
    left_in_redis,
    make_drop,
    use_redis,
)
from tests.support.factories import make_options, make_user, stock_of
from tests.support.problems import problem
from tests.support.services import Redis
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db(transaction=True)


def create(*arguments):
    out = StringIO()
    call_command("create_drop", *arguments, stdout=out)
    return Drop.objects.get(pk=int(out.getvalue()))


# --- What is shown -----------------------------------------------------------------------------------------


def test_the_list_shows_open_and_coming_drops_and_what_remains(on_redis, api):
    first, second = make_options([10, 10])
    opens = timezone.now() + timedelta(minutes=5)
    coming = make_drop((first, 3), opened=False, opens_at=opens)
    running = make_drop((first, 4), (second, 2), limit=2)
    over = make_drop((second, 1))
    close_drop(over.pk)
    body = {"drop": running.pk, "lines": [{"option": first.pk, "quantity": 1}]}
    assert api(make_user()).post("orders/", body).status_code == 202

    shown = api().get("drops/").json()
    assert [drop["id"] for drop in shown["results"]] == [running.pk, coming.pk]
    drop, later = shown["results"]
    assert (drop["status"], drop["remaining"], drop["opens_in_seconds"]) == ("open", 5, 0)
    assert [(o["option"], o["allotment"], o["remaining"]) for o in drop["options"]] == [
        (first.pk, 4, 3),
        (second.pk, 2, 2),
    ]
    now = datetime.fromisoformat(later["server_time"])
    countdown = timedelta(seconds=later["opens_in_seconds"])
    assert abs(datetime.fromisoformat(later["opens_at"]) - now - countdown) < timedelta(seconds=0.1)
    assert (later["status"], later["remaining"]) == ("scheduled", 3)

    settled = api().get(f"drops/{over.pk}/").json()
    assert (settled["status"], settled["remaining"]) == ("settled", 0)
    problem(api().get("drops/987654321/"), 404, "not_found")


def test_with_no_drop_the_list_is_empty(api):
    shown = api().get("drops/").json()
    assert shown["results"] == []
    assert datetime.fromisoformat(shown["server_time"]).tzinfo


def test_what_remains_is_nothing_while_redis_is_not_to_be_believed(on_redis, api, settings):
    (option,) = make_options([10])
    drop = make_drop((option, 4))
    client().delete(keys_of(drop.pk).gate)
    assert api().get(f"drops/{drop.pk}/").json()["remaining"] == 0
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert api().get("drops/").json()["results"][0]["remaining"] == 0


@pytest.mark.parametrize("lane", [Lane.REDIS_LUA, Lane.GROUP_COMMIT])
def test_every_answer_is_described(on_redis, schema, lane):
    (option,) = make_options([10])
    rate = 1000 if lane == Lane.REDIS_LUA else None
    drop = make_drop((option, 2), lane=lane, limit=1, admission_rate=rate)
    stranger, minji, other = Checked(schema), *(Checked(schema, make_user()) for _ in range(2))
    stranger.get("drops/")
    stranger.get(f"drops/{drop.pk}/")
    stranger.get("drops/987654321/")
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]}
    number = minji.post("orders/", body, Idempotency_Key="k").json()["number"]
    minji.post("orders/", body, Idempotency_Key="k")
    minji.post("orders/", body)
    minji.get(f"orders/{number}/")
    minji.post(f"orders/{number}/cancel/", {})
    drain_all()
    minji.get(f"orders/{number}/")
    minji.get("orders/")
    if rate:
        client().hset(keys_of(drop.pk).gate, "rate", "0.001")
    other.post("orders/", body)
    Checked(schema, make_user()).post("orders/", body)
    other.post("orders/", {**body, "drop": 0})
    other.post("orders/", {**body, "drop": 987654321})
    close_drop(drop.pk)
    other.post("orders/", body)


# --- Commands ----------------------------------------------------------------------------------------------


def test_a_drop_is_created_open_or_for_later(on_redis):
    first, second = make_options([10, 10], price=9_000)
    drop = create("--name", "Air", "--option", str(first.pk), "--allotment", "4", "--limit", "1")
    assert (drop.status, drop.lane, item_of(drop)) == (DropStatus.OPEN, Lane.REDIS_LUA, (4, 0, 0))
    assert (stock_of(first), left_in_redis(drop, first)) == ((10, 4), 4)
    later = create(
        "--name", "Max", "--limit", "2", "--lane", "group_commit", "--opens", "2099-12-24T20:00:00+09:00",
        "--closes", "2099-12-24T21:00:00+09:00",
        "--option", str(first.pk), "--allotment", "1", "--price", "100",
        "--option", str(second.pk), "--allotment", "2", "--price", "200",
    )  # fmt: skip
    assert (later.status, later.closes_at.isoformat()) == (DropStatus.SCHEDULED, "2099-12-24T12:00:00+00:00")
    items = DropItem.objects.filter(drop=later).values_list("option", "allotted", "price")
    assert list(items) == [(first.pk, 1, 100), (second.pk, 2, 200)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--allotment", "11", "--limit", "1"], "11 asked for, 10 available"),
        (["--allotment", "0", "--limit", "1"], "allotment"),
        (["--allotment", "1", "--limit", "0"], "limit"),
        (["--allotment", "1", "--allotment", "1", "--limit", "1"], "once for each --option"),
        (["--allotment", "1", "--limit", "1", "--opens", "tomorrow"], "must be a time"),
        (["--allotment", "1", "--limit", "1", "--lane", "fax"], "invalid choice"),
    ],
)
def test_what_cannot_be_created_leaves_nothing_behind(on_redis, arguments, complaint):
    (option,) = make_options([10])
    with pytest.raises(CommandError) as refused:
        create("--name", "Air", "--option", str(option.pk), *arguments)
    assert complaint in str(refused.value)
    assert (Drop.objects.count(), stock_of(option)) == (0, (10, 0))


def test_run_drops_says_what_it_moved(on_redis):
    (option,) = make_options([10])
    make_drop((option, 4), opened=False)
    for expected in ("1 drops moved", "0 drops moved"):
        out = StringIO()
        call_command("run_drops", "--once", stdout=out)
        assert out.getvalue().strip() == expected


# --- Rules of the script -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", REDIS_LANES)
def test_the_same_number_is_admitted_once(on_redis, lane):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=lane, limit=4)
    request = PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)], drop_id=drop.pk)
    numbers = {buy(request).order.number for _ in range(3)}
    assert (numbers, left_in_redis(drop, option), client().xlen(keys_of(drop.pk).stream)) == (
        {request.number},
        3,
        1,
    )


@pytest.mark.parametrize("lane", [*REDIS_LANES, Lane.GROUP_COMMIT])
def test_an_attempt_counts_once_however_often_its_result_is_asked_for(on_redis, lane):
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=lane, limit=1)
    buyer_id, before = make_user().pk, counts()

    def attempt(key=None):
        lines = [(option.pk, 1)]
        return begin(PlaceRequest.build(buyer_id=buyer_id, lines=lines, drop_id=drop.pk, idempotency_key=key))

    bought = attempt("k")
    assert bought.result() is bought.result()
    refused, again = attempt(), attempt("k")
    for _ in range(2):
        with pytest.raises(PurchaseLimit):
            refused.result()
        assert again.result().order.number == bought.result().order.number
    written = Answer.PLACED if lane == Lane.GROUP_COMMIT else Answer.ACCEPTED
    assert counts() - before == {written: 1, Answer.LIMIT: 1, Answer.REPLAYED: 1}
    tallies().flush()
    tally = DropTally.objects.get(drop=drop)
    assert (tally.acknowledged, tally.refused) == (int(lane != Lane.GROUP_COMMIT), 1)


def counts():
    """Attempts to buy since this process began, by what they were answered."""
    return Counter({answer: int(counted._value.get()) for answer, counted in BY_ANSWER.items()})


def test_the_scripts_say_only_words_that_python_knows():
    scripts = "".join(path.read_text() for path in LUA.glob("*.lua"))
    used = set(re.findall(rf"\b(?:{'|'.join(WORDS)})_\w+", scripts))
    known = {f"{prefix}_{word.name}" for prefix, words in WORDS.items() for word in words}
    assert used <= known
    # Redis does not know, is not asked, or not heard.
    elsewhere = {"ANSWER_STRANGER", "ANSWER_PLACED", "ANSWER_BUSY", "ANSWER_UNKNOWN"}
    assert {word for word in known if not word.startswith("GATE_")} - used == elsewhere


def test_a_full_redis_refuses_and_keeps_nothing_half(on_redis):
    (option,) = make_options([10])
    drop = make_drop((option, 4))
    before = client().hgetall(keys_of(drop.pk).gate)
    client().config_set("maxmemory", "1")
    try:
        with pytest.raises(Exception) as refused:  # noqa: PT011 (its code is asked for below)
            buy(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)], drop_id=drop.pk))
    finally:
        client().config_set("maxmemory", "0")
    assert refused.value.code == "busy"
    assert client().hgetall(keys_of(drop.pk).gate) == before
    assert client().exists(keys_of(drop.pk).stream, keys_of(drop.pk).customers) == 0


def test_every_script_runs_on_a_cluster(settings, monkeypatch):
    """A node that owns all slots refuses a script whose keys are not on one of them, like any cluster."""
    with Redis("no", options=["--cluster-enabled", "yes"]) as server:
        settings.REDIS_URL = server.url
        client().execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: client().execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        use_redis(settings, server)
        from orders.drops.audit import rebuild as rebuild_module
        from orders.lifecycle import cancel_order

        monkeypatch.setattr(rebuild_module, "TALLIES_SECONDS", 0)
        (option,) = make_options([10])
        drop = make_drop((option, 4), admission_rate=100)
        buy(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)], drop_id=drop.pk))
        drain_all()
        cancel_order(order_id=Order.objects.get().pk, actor_id=None)
        assert left_in_redis(drop, option) == 4
        assert rebuild_module.rebuild(drop.pk).left == {option.pk: 4}
        assert close_drop(drop.pk)
        assert item_of(drop) == (4, 0, 4)


# --- The drop's lock, and the control without it -----------------------------------------------------------


def race_for_one(drop, options, buyer_id):
    """Two orders of one customer at once, of different options, which share no stock row."""

    def process(i):
        placed = 0
        for _ in range(40):
            request = PlaceRequest.build(buyer_id=buyer_id, lines=[(options[i].pk, 1)], drop_id=drop.pk)
            (outcome,) = place_in_drops([request])
            placed += isinstance(outcome, Placed)
        return placed

    return sum(in_processes(process, 2))


@pytest.mark.mariadb
def test_the_drops_lock_keeps_the_limit_over_different_options():
    options = make_options([100, 100])
    drop = make_drop(*((option, 90) for option in options), lane=Lane.GROUP_COMMIT, limit=20)
    assert race_for_one(drop, options, make_user().pk) == 20


@pytest.mark.mariadb
def test_without_the_drops_lock_the_limit_does_not_hold(monkeypatch):
    """The control: the same race must go wrong when nothing is locked, else the test above proves nothing."""

    def unlocked(drop_ids):
        found = {}
        for item in DropItem.objects.filter(drop_id__in=drop_ids):
            found.setdefault(item.drop_id, {})[item.option_id] = item
        return found

    monkeypatch.setattr(escrow, "lock_items", unlocked)
    sold = Counter()
    for _ in range(20):
        options = make_options([100, 100])
        drop = make_drop(*((option, 90) for option in options), lane=Lane.GROUP_COMMIT, limit=20)
        sold[race_for_one(drop, options, make_user().pk)] += 1
        if max(sold) > 20:
            return
    pytest.fail(f"the limit held without the lock: {sold}")


def test_ordinary_orders_and_the_drop_share_the_stock_and_never_the_units(on_redis, api):
    (option,) = make_options([5])
    drop = make_drop((option, 4), limit=4)
    shopper = api(make_user())
    line = {"lines": [{"option": option.pk, "quantity": 2}]}
    refused = problem(shopper.post("orders/", line), 409, "insufficient_stock")
    assert refused["lines"][0]["available"] == 1
    assert shopper.post("orders/", {**line, "drop": drop.pk}).status_code == 202
    ledger.adjust(option_id=option.pk, delta=-1, reason="counted")
    drain_all()
    assert stock_of(option) == (4, 4)


@pytest.mark.parametrize("lane", Lane.values)
@pytest.mark.parametrize("first", ["order", "drop", "drop not yet written"])
def test_a_key_that_was_used_elsewhere_is_refused_when_it_is_admitted(lane, first, on_redis):
    (option,) = make_options([20])
    drop, other = (make_drop((option, 5), lane=lane, limit=3) for _ in range(2))
    buyer = make_user()
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    before = body if first == "order" else {**body, "drop": other.pk}
    assert Wire(buyer).post("orders/", before, Idempotency_Key="k").status_code in (201, 202)
    if first == "drop":
        drain_all()
    refused = Wire(buyer).post("orders/", {**body, "drop": drop.pk}, Idempotency_Key="k")
    problem(refused, 422, "idempotency_key_reused")
    drain_all()
    assert Order.objects.count() == 1
    assert_all_adds_up()
    # The units are there for others, and the limit for its buyer; the key still names its order.
    fresh = Wire(buyer).post(
        "orders/", {**body, "drop": drop.pk, "lines": [{"option": option.pk, "quantity": 3}]}
    )
    assert fresh.status_code in (201, 202)
    again = Wire(buyer).post("orders/", before, Idempotency_Key="k")
    assert again["Idempotent-Replayed"] == "true"
