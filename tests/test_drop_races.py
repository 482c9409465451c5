"""Thirty units, or a limit of thirty: no lane of a drop sells more, unless what keeps it is taken away.

The lane of the Lua script has nothing to take away: Redis runs a script to its end before it hears another.
"""

from collections import Counter

import pytest

from orders.drops.admission import redis_transaction
from orders.drops.admission.door import buy as buy_from_drop
from orders.models.drops import Lane
from tests.support.concurrency import in_processes, in_threads
from tests.support.drops import make_drop
from tests.support.factories import make_options, make_user
from tests.support.races import buy, goes_wrong, nothing_locked

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


def sold_of(units, *, lane, limit=100, buyers=4):
    """How many units of a drop are sold, and what the others are told, when four processes buy at once."""
    (option,) = make_options([1_000])
    drop = make_drop((option, units), lane=lane, limit=limit)
    shoppers = [make_user().pk for _ in range(buyers)]

    def process(i):
        def thread(_t):
            buyer = shoppers[i % buyers]
            return [buy(buyer, (option.pk, 1), drop_id=drop.pk, lane=buy_from_drop) for _ in range(5)]

        outcomes = in_threads(thread, 4)
        codes = ("insufficient_stock", "purchase_limit")
        return Counter(o if o in codes else "sold" for each in outcomes for o in each)

    return sum(in_processes(process, 4), Counter())["sold"]


def watch_nothing(monkeypatch):
    """Whatever is changed between reading and EXEC, Redis carries EXEC out."""
    call = redis_transaction.call

    def careless(connection, command, *arguments):
        return None if command == "WATCH" else call(connection, command, *arguments)

    monkeypatch.setattr(redis_transaction, "call", careless)


@pytest.fixture(params=[{"units": 30}, {"units": 900, "limit": 30, "buyers": 1}], ids=["units", "limit"])
def race(request):
    """More is asked for than there is, or than one buyer may have: thirty."""
    return request.param


@pytest.mark.parametrize("lane", Lane.values)
def test_just_as_much_is_sold_as_may_be(on_redis, lane, race):
    assert sold_of(lane=lane, **race) == 30


def test_control_without_the_databases_locks_more_is_sold(monkeypatch, race):
    with nothing_locked(monkeypatch):
        goes_wrong(lambda: sold_of(lane=Lane.GROUP_COMMIT, **race), lambda sold: sold == 30)


def test_control_without_watch_more_is_admitted(monkeypatch, on_redis, race):
    watch_nothing(monkeypatch)
    goes_wrong(lambda: sold_of(lane=Lane.REDIS_TRANSACTION, **race), lambda sold: sold == 30)
