"""Rate limits: never more than was allowed, never less, and nobody else's."""

import pytest
from django.core.cache import cache
from hypothesis import given
from hypothesis import strategies as st

from tests.support.concurrency import in_threads
from tests.support.factories import make_options, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire
from yousinsa.errors import TooManyRequests
from yousinsa.limits import TOLERANCE, Rate, SharedMemory, check, order_rate, seconds_to_wait

RATES = st.builds(
    Rate, count=st.integers(1, 50), seconds=st.sampled_from([1, 60, 3600]), burst=st.integers(1, 30)
)
START = 1_800_000_000.0
memory = SharedMemory()


# --- The algorithm ----------------------------------------------------------------------------------------


@given(rate=RATES, gaps=st.lists(st.floats(0, 4), max_size=60))
def test_in_no_span_of_time_more_conform_than_the_burst_and_what_flows_in(rate, gaps):
    memory.clear()
    now, admitted = START, []
    for gap in gaps:
        now += gap * rate.interval
        if not memory.wait("k", rate, now=now):
            admitted.append(now)
    for i, first in enumerate(admitted):
        for j, last in enumerate(admitted[i:], start=1):
            assert j <= rate.burst + (last - first + 2 * TOLERANCE) / rate.interval


@given(rate=RATES, gaps=st.lists(st.floats(0, 2), max_size=40))
def test_who_waits_as_long_as_told_conforms_and_who_comes_earlier_does_not(rate, gaps):
    memory.clear()
    now = START
    for gap in gaps:
        now += gap * rate.interval
        wait = memory.wait("k", rate, now=now)
        assert wait == 0 or TOLERANCE < wait <= rate.interval + TOLERANCE
        if wait:
            assert memory.wait("k", rate, now=now + wait - 2 * TOLERANCE) or wait < 3 * TOLERANCE
            assert not memory.wait("k", rate, now=now + wait)
            now += wait


@given(rate=RATES)
def test_a_burst_comes_at_once_and_then_no_more(rate):
    memory.clear()
    waits = [memory.wait("k", rate, now=START) for _ in range(rate.burst + 3)]
    assert waits[: rate.burst] == [0] * rate.burst
    assert all(wait == pytest.approx(rate.interval, abs=TOLERANCE) for wait in waits[rate.burst :])
    # The full burst is there again after as long as it takes to flow in, and no bigger than it was.
    later = START + rate.interval * rate.burst * 3
    assert [bool(memory.wait("k", rate, now=later)) for _ in range(rate.burst + 1)] == [
        False
    ] * rate.burst + [True]


@given(rate=RATES, back=st.floats(1, 1e6))
def test_a_clock_that_is_put_back_locks_nobody_out(rate, back):
    memory.clear()
    for _ in range(rate.burst + 1):
        memory.wait("k", rate, now=START)
    now = START - back
    wait = memory.wait("k", rate, now=now)
    assert wait <= rate.interval + TOLERANCE
    assert not memory.wait("k", rate, now=now + wait)


def test_keys_do_not_share_a_budget():
    memory.clear()
    rate = Rate(1, 60, 1)
    assert [bool(memory.wait(key, rate, now=START)) for key in ("a", "b", "a", "b", "c")] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_threads_lose_no_count():
    memory.clear()
    rate = Rate(1, 3600, 100)
    admitted = in_threads(lambda _: sum(not memory.wait("k", rate, now=START) for _ in range(50)), 8)
    assert sum(admitted) == 100


def test_processes_that_map_one_file_share_one_budget(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARED_DIR", str(tmp_path))
    one, two = SharedMemory(), SharedMemory()
    rate = Rate(1, 60, 2)
    waits = [bool(table.wait("k", rate, now=START)) for table in (one, two, one, two)]
    assert waits == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/s", Rate(20, 1, 20)),
        ("10/min", Rate(10, 60, 10)),
        (" 5/hour ", Rate(5, 3600, 5)),
        ("1/day", Rate(1, 86400, 1)),
        ("30/m", Rate(30, 60, 30)),
    ],
)
def test_rates_are_read(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "20", "20/", "/s", "0/s", "-1/s", "1.5/s", "20/fortnight", "20 / s", "s/20"]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="A rate is written like"):
        Rate.parse(text)


def test_twenty_a_second_let_two_hundred_come_at_once():
    assert order_rate("20/s") == Rate(20, 1, 200)


def test_a_used_up_budget_leaves_the_next_one_alone():
    narrow, wide = Rate(1, 3600, 1), Rate(2, 3600, 2)
    check([("narrow", narrow), ("wide", wide)])
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            check([("narrow", narrow), ("wide", wide)])
    check([("other", narrow), ("wide", wide)])
    with pytest.raises(TooManyRequests) as refusal:
        check([("third", narrow), ("wide", wide)])
    assert 1 <= refusal.value.retry_after <= 1800


# --- Where Redis counts for all machines ------------------------------------------------------------------


@pytest.fixture
def over_redis(redis_server, settings):
    settings.REDIS_URL = redis_server.url
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_server.url}}
    cache.clear()
    cache.client.get_client().flushdb()
    yield redis_server
    cache.client.get_client().flushdb()


def test_redis_counts_as_memory_does(over_redis):
    rate = Rate(3, 3600, 5)
    waits = [seconds_to_wait("k", rate, everywhere=True) for _ in range(7)]
    assert waits[:5] == [0] * 5
    assert all(0 < wait <= rate.interval for wait in waits[5:])
    assert seconds_to_wait("other", rate, everywhere=True) == 0
    # Nothing stays behind for ever.
    assert 0 < cache.client.get_client().ttl("limit:k") <= rate.interval * rate.burst
    # This machine's own budget is another one.
    assert seconds_to_wait("k", rate) == 0


def test_without_redis_this_machine_counts(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.REDIS_URL}
    }
    rate = Rate(1, 3600, 2)
    waits = [bool(seconds_to_wait("k", rate, everywhere=True)) for _ in range(4)]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert waits == [False, False, True, True]


# --- Orders -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_buyer_may_place_so_many_orders_and_no_more(buyer, settings):
    settings.ORDER_RATE = "4/h"
    (option,) = make_options([10])
    wire, body = Wire(buyer), {"lines": [{"option": option.pk, "quantity": 1}]}
    assert [wire.post("orders/", body).status_code for _ in range(3)] == [201] * 3
    # What is refused counts too: asking is what costs.
    problem(wire.post("orders/", {}), 400, "invalid")
    with nothing_changes():
        answer = wire.post("orders/", body)
        problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 900
    # Looking, pinging and other buyers have nothing to do with it.
    assert wire.get("orders/").status_code == 200
    assert wire.get("ping/").status_code == 204
    assert Wire(make_user()).post("orders/", body).status_code == 201


@pytest.mark.django_db
def test_two_hundred_at_once_are_let_in(buyer, settings):
    settings.ORDER_RATE = "200/h"  # as many at once as 20/s allow, but none flows in while the test runs
    statuses = [Wire(buyer).post("orders/", {}).status_code for _ in range(202)]
    assert statuses == [400] * 200 + [429] * 2


@pytest.mark.django_db
def test_pings_are_counted_like_orders_on_a_budget_of_their_own(buyer, settings):
    settings.ORDER_RATE = "2/h"
    assert [Wire(buyer).get("ping/").status_code for _ in range(3)] == [204, 204, 429]
    problem(Wire(buyer).post("orders/", {}), 400, "invalid")
