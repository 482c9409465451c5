"""The queue of a drop: fair, one place a shopper, no ticket but one's own."""

import pytest

from orders.drops.admission import waiting_room
from orders.drops.definitions import definitions
from orders.drops.redis.connections import client
from orders.drops.redis.keys import keys_of
from orders.models import Order
from tests.support.drops import REDIS_LANES, drain_all, make_drop
from tests.support.factories import make_options, make_user
from tests.support.problems import problem

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_redis")]


class Queue:
    """A drop that lets so many in a second, and shoppers as they come."""

    def __init__(self, api, lane, rate):
        (self.option,) = make_options([100])
        self.drop = make_drop((self.option, 50), lane=lane, limit=5, admission_rate=rate)
        self.names = keys_of(self.drop.pk)
        self.api = api

    def shopper(self):
        return self.api(make_user())

    def ask(self, shopper, ticket=None):
        body = {"drop": self.drop.pk, "lines": [{"option": self.option.pk, "quantity": 1}]}
        return shopper.post("orders/", body, **({"Queue_Ticket": ticket} if ticket else {}))

    def turn_back(self, ms):
        """As if so much time had passed for those who wait."""
        for buyer, slot in client().zrange(self.names.queue, 0, -1, withscores=True):
            client().zadd(self.names.queue, {buyer: slot - ms})
        slot = float(client().hget(self.names.gate, "slot"))
        client().hset(self.names.gate, "slot", slot - ms)


@pytest.fixture(params=REDIS_LANES)
def queue(request, api):
    return Queue(api, request.param, rate=1)


def test_without_a_rate_nobody_waits(api):
    queue = Queue(api, REDIS_LANES[0], rate=None)
    assert [queue.ask(queue.shopper()).status_code for _ in range(10)] == [202] * 10
    assert client().zcard(queue.names.queue) == 0


def test_who_comes_beyond_the_rate_gets_a_place_and_is_let_in_at_its_time(queue):
    first, *others = (queue.shopper() for _ in range(5))
    assert queue.ask(first).status_code == 202
    answers = [queue.ask(other) for other in others]
    places = [problem(answer, 429, "queued") for answer in answers]
    assert [place["position"] for place in places] == [1, 2, 3, 4]
    waits = [place["wait_seconds"] for place in places]
    assert waits == sorted(waits)
    assert all(0 < wait <= 5 for wait in waits)
    assert [int(answer["Retry-After"]) for answer in answers] == [max(1, round(wait)) for wait in waits]
    # Who asks again has the place that he had, with the ticket or without.
    assert problem(queue.ask(others[2]), 429, "queued")["position"] == 3
    assert problem(queue.ask(others[3], places[3]["ticket"]), 429, "queued")["position"] == 4
    queue.turn_back(2_500)
    assert [queue.ask(other).status_code for other in others[:2]] == [202, 202]
    assert problem(queue.ask(others[3]), 429, "queued")["position"] <= 2
    drain_all()
    assert Order.objects.count() == 3


def test_a_place_is_good_for_several_attempts(queue):
    shopper = queue.shopper()
    assert [queue.ask(shopper).status_code for _ in range(3)] == [202] * 3


def test_a_ticket_cannot_be_forged_shared_or_used_for_another_drop(queue):
    queue.ask(queue.shopper())
    holder, thief = queue.shopper(), queue.shopper()
    ticket = problem(queue.ask(holder), 429, "queued")["ticket"]
    drop_id, buyer_id = queue.drop.pk, thief.user.pk
    for bad in (
        ticket,  # another's
        waiting_room.issue(drop_id=drop_id + 1, buyer_id=buyer_id, slot="1"),
        f"{drop_id}.{buyer_id}.1:{ticket.rpartition(':')[2]}",
        ticket.replace(".", ".0", 1),
        "nonsense",
    ):
        problem(queue.ask(thief, bad), 400, "invalid", waiting_room.HEADER)
    assert client().zscore(queue.names.queue, buyer_id) is None


def test_a_used_ticket_is_worth_nothing_later(queue):
    shopper = queue.shopper()
    queue.ask(queue.shopper())
    ticket = problem(queue.ask(shopper), 429, "queued")["ticket"]
    queue.turn_back(1_500)
    assert queue.ask(shopper, ticket).status_code == 202
    queue.turn_back(61_000)
    old = waiting_room.issue(drop_id=queue.drop.pk, buyer_id=shopper.user.pk, slot="1700000000000")
    queue.ask(queue.shopper())
    assert problem(queue.ask(shopper, old), 429, "queued")["position"] >= 1


def test_the_queue_survives_the_app_and_a_ticket_survives_the_queue(queue):
    queue.ask(queue.shopper())
    waiting = [queue.shopper() for _ in range(3)]
    tickets = [problem(queue.ask(shopper), 429, "queued")["ticket"] for shopper in waiting]
    definitions.clear()  # a new process knows nothing
    assert problem(queue.ask(waiting[2]), 429, "queued")["position"] == 3
    client().delete(queue.names.queue)
    client().hdel(queue.names.gate, "slot")
    assert problem(queue.ask(waiting[2], tickets[2]), 429, "queued")["position"] == 1
    assert problem(queue.ask(waiting[1], tickets[1]), 429, "queued")["position"] == 1
    assert problem(queue.ask(waiting[2], tickets[2]), 429, "queued")["position"] == 2


def test_who_is_refused_anyway_does_not_queue(queue):
    shopper, late = queue.shopper(), queue.shopper()
    for _ in range(5):
        assert queue.ask(shopper).status_code == 202
    problem(queue.ask(shopper), 409, "purchase_limit")
    client().hset(queue.names.gate, f"left:{queue.option.pk}", 0)
    problem(queue.ask(late), 409, "insufficient_stock")
    assert client().zscore(queue.names.queue, late.user.pk) is None
