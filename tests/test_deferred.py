"""What is not decided yet: waited for in threads, called back, and made into something else, once."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from yousinsa.http.deferred import Deferred

pytestmark = pytest.mark.sqlite


class Refused(Exception):
    pass


def test_the_result_can_be_asked_for_any_number_of_times():
    deferred = Deferred[int]()
    assert not deferred.decided
    deferred.decide(7)
    assert deferred.decided
    assert [deferred.result() for _ in range(3)] == [7, 7, 7]
    assert Deferred.of(None).result() is None


def test_an_exception_is_raised_each_time():
    deferred = Deferred[int]()
    refusal = Refused()
    deferred.decide(refusal)
    for _ in range(2):
        with pytest.raises(Refused) as raised:
            deferred.result()
        assert raised.value is refusal


def test_it_is_decided_once():
    deferred = Deferred[int]()
    deferred.decide(1)
    with pytest.raises(RuntimeError):
        deferred.decide(2)
    with pytest.raises(RuntimeError):
        Deferred[int]().map(str).decide("1")
    assert deferred.result() == 1


def test_threads_wait_for_it():
    deferred = Deferred[int]()
    doubled = deferred.map(lambda value: 2 * value)
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(asked.result) for asked in [deferred, doubled] * 4]
        deferred.decide(7)
        assert [result.result(30) for result in results] == [7, 14] * 4


def test_callbacks_are_called_by_who_decides_or_at_once():
    called = []
    deferred = Deferred[int]()
    for asked in (deferred, deferred.map(str)):
        asked.then(lambda: called.append(threading.current_thread()))
    assert not called
    decider = threading.Thread(target=deferred.decide, args=(1,))
    decider.start()
    decider.join()
    assert called == [decider, decider]
    deferred.then(lambda: called.append(threading.current_thread()))
    assert called[2:] == [threading.current_thread()]


def test_a_callback_that_fails_keeps_nobody_from_the_next(caplog):
    called = []
    deferred = Deferred[int]()
    for callback in (lambda: called.append(1), lambda: 1 / 0, lambda: called.append(2)):
        deferred.then(callback)
    deferred.decide(1)
    assert sorted(called) == [1, 2]
    assert "a callback failed" in caplog.text


def test_each_callback_is_called_once_however_threads_meet():
    rounds, each = 300, 4
    with ThreadPoolExecutor(3) as threads:
        for _ in range(rounds):
            deferred, calls = Deferred[int](), []
            meet = threading.Barrier(3)

            def add(deferred=deferred, calls=calls, meet=meet):
                meet.wait(30)
                for nth in range(each):
                    deferred.then(lambda nth=nth: calls.append(nth))

            def decide(deferred=deferred, meet=meet):
                meet.wait(30)
                deferred.decide(1)

            for done in [threads.submit(add), threads.submit(decide), threads.submit(add)]:
                done.result(30)
            assert sorted(calls) == sorted([*range(each), *range(each)])


def test_what_is_made_of_it_is_made_once_and_by_who_asks():
    made = []

    def make(value):
        made.append(threading.current_thread())
        return value + 1

    deferred = Deferred[int]()
    mapped = deferred.map(make)
    deferred.decide(1)
    assert mapped.decided
    assert not made
    with ThreadPoolExecutor(8) as threads:
        assert [done.result(30) for done in [threads.submit(mapped.result) for _ in range(8)]] == [2] * 8
    assert len(made) == 1
    assert made != [threading.current_thread()]


def test_exceptions_go_through():
    deferred = Deferred[int]()
    text = deferred.map(lambda value: value + 1).map(str)
    handled = deferred.map(str, lambda exc: f"no: {exc}")
    broken = handled.map(lambda value: 1 / 0)
    deferred.decide(Refused("why"))
    with pytest.raises(Refused, match="why"):
        text.result()
    assert handled.result() == "no: why"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            broken.result()


def test_an_exception_that_is_returned_is_raised_by_the_result_alone():
    refused = Deferred.of(1).map(lambda value: Refused("why"))
    assert refused.map(str, lambda exc: f"no: {exc}").result() == "no: why"
    with pytest.raises(Refused, match="why"):
        refused.map(str).result()
    reworded = refused.map(str, lambda exc: KeyError())
    with pytest.raises(KeyError):
        reworded.result()


def test_a_handler_is_not_asked_about_what_is_made_beside_it():
    deferred = Deferred.of(0)
    with pytest.raises(ZeroDivisionError):
        deferred.map(lambda value: 1 // value, lambda exc: 7).result()


def test_whether_the_rest_takes_long_survives_what_is_made_of_it():
    deferred = Deferred[int]()
    slow = deferred.map(str, takes_long=lambda outcome: isinstance(outcome, Exception) or outcome > 5)
    quick = deferred.map(str)
    answers = [slow, slow.map(len), quick, quick.map(len), deferred]
    assert all(answer.takes_long for answer in answers)
    deferred.decide(6)
    assert [answer.takes_long for answer in answers] == [True, True, False, False, False]
    assert slow.map(len).result() == 1
    assert not slow.takes_long

    for outcome, takes_long in ((5, False), (Refused(), True)):
        deferred = Deferred[int]()
        slow = deferred.map(
            str, lambda exc: "", takes_long=lambda outcome: isinstance(outcome, Exception) or outcome > 5
        )
        deferred.decide(outcome)
        assert slow.map(len).takes_long is takes_long


def test_a_refusal_leaves_nothing_to_the_garbage_collector():
    def refused():
        deferred = Deferred[int]()
        deferred.decide(Refused())
        return deferred

    def alive():
        return sum(isinstance(found, Deferred) for found in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        for _ in range(2):
            with suppress(Refused):
                refused().map(str).map(len).result()
            Deferred.of(1).map(lambda _: Refused()).map(str, lambda exc: "").result()
        assert alive() == before
    finally:
        gc.enable()


# --- Operations one after the other -------------------------------------------------------------------------


def test_a_chain_goes_on_where_the_first_is_decided_and_ends_with_the_second():
    first, second, threads = Deferred[int](), Deferred[str](), []

    def go_on(value):
        threads.append((value, threading.current_thread()))
        return second

    chained = first.chain(go_on)
    assert not chained.decided
    assert not threads
    decider = threading.Thread(target=first.decide, args=(7,))
    decider.start()
    decider.join()
    assert threads == [(7, decider)]
    assert not chained.decided
    second.decide("done")
    assert [chained.result() for _ in range(2)] == ["done", "done"]


def test_a_chain_of_what_is_decided_already_is_decided_at_once():
    chained = (
        Deferred.of(1).chain(lambda value: Deferred.of(value + 1)).chain(lambda value: Deferred.of([value]))
    )
    assert chained.decided
    assert chained.result() == [2]


def test_a_chain_ends_at_the_first_that_fails():
    first, called = Deferred[int](), []
    chained = first.chain(lambda value: Deferred.of(called.append(value)))
    first.decide(Refused("why"))
    with pytest.raises(Refused, match="why"):
        chained.result()
    assert not called

    second = Deferred[int]()
    chained = Deferred.of(1).chain(lambda _: second)
    second.decide(Refused("later"))
    with pytest.raises(Refused, match="later"):
        chained.result()
    with pytest.raises(ZeroDivisionError):
        Deferred.of(0).chain(lambda value: Deferred.of(1 // value)).result()


def test_a_chain_goes_on_where_it_is_told_to():
    threads = []

    def go_on(value):
        threads.append(threading.current_thread())
        return Deferred.of(value)

    first = Deferred[int]()
    with ThreadPoolExecutor(1, thread_name_prefix="elsewhere") as pool:
        chained = first.chain(go_on, run=pool.submit)
        first.decide(3)
        assert chained.result() == 3
    assert [thread.name for thread in threads] == ["elsewhere_0"]


def test_what_is_made_of_a_chain_makes_what_the_second_is_made_of():
    """A chained outcome that is itself made of another one is made once, and its refusal is a refusal."""
    made = []
    chained = Deferred.of(1).chain(lambda value: Deferred.of(value).map(lambda v: made.append(v) or v + 1))
    assert chained.map(str).result() == "2"
    assert made == [1]
    refused = Deferred.of(1).chain(lambda value: Deferred.of(value).map(lambda _: Refused("why")))
    assert refused.map(str, lambda exc: f"no: {exc}").result() == "no: why"
