"""How a worker repeats its jobs: paces, failures, and the end."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, OperationalError
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError

from yousinsa.errors import Busy
from yousinsa.process import loop
from yousinsa.process.loop import Job, Stop, run_job, run_jobs, stop_on_signals

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]


class Clock(Stop):
    """Time that passes only where somebody waits; the end comes after so many waits."""

    def __init__(self, waits):
        super().__init__()
        self.left = waits
        self.waited = []

    def wait(self, seconds=-1):
        self.waited.append(seconds)
        self.left -= 1
        if not self.left:
            self.set()
        return self.is_set()


def failing(*outcomes):
    """A job's `run` that raises or returns these one after another, the last one for ever."""
    left = list(outcomes)

    def run():
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return run


def failures_of(name):
    return REGISTRY.get_sample_value("yousinsa_job_failures_total", {"job": name}) or 0


# --- One job ----------------------------------------------------------------------------------------------


def test_a_job_runs_at_once_and_then_at_its_pace():
    clock = Clock(3)
    runs = []
    run_job(Job("a", 7, lambda: runs.append(1) or 0), clock)
    assert (clock.waited, len(runs)) == ([7, 7, 7], 3)


def test_an_eager_job_goes_on_while_it_finds_something():
    clock = Clock(2)
    run = failing(500, 500, 3, 0, 1, 0)
    run_job(Job("a", 0.05, run, eager=True), clock)
    assert clock.waited == [0.05, 0.05]


def test_a_job_that_found_something_waits_if_it_is_not_eager():
    clock = Clock(2)
    run_job(Job("a", 5, failing(3)), clock)
    assert clock.waited == [5, 5]


@pytest.mark.parametrize(
    "outage", [OperationalError(2006, "gone"), RedisConnectionError("refused"), Busy()], ids=repr
)
def test_an_outage_is_tried_again_soon_with_a_line_that_says_so(caplog, outage):
    clock = Clock(6)
    before = failures_of("payments")
    run_job(Job("payments", 30, failing(outage, outage, outage, outage, outage, 0)), clock)
    assert clock.waited == [0.5, 1, 2, 4, 5, 30]
    assert failures_of("payments") == before + 5
    assert caplog.messages[0] == f"payments failed, trying again in 0.5 s: {outage}"
    assert not any(record.exc_info for record in caplog.records)


def test_what_nobody_foresaw_is_logged_with_its_traceback_and_tried_again_ever_later(caplog):
    clock = Clock(9)
    run_job(Job("payments", 1, failing(IntegrityError("no such row"))), clock)
    assert clock.waited == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert all(record.levelname == "ERROR" and record.exc_info for record in caplog.records)


def test_after_a_success_patience_is_as_it_was():
    clock = Clock(4)
    run_job(Job("a", 9, failing(KeyError(), KeyError(), 0, KeyError())), clock)
    assert clock.waited == [0.5, 1, 9, 0.5]


def test_what_was_done_is_reported_now_and_then_and_nothing_is_left_out(monkeypatch):
    clock = Clock(6)
    reports = []
    run_job(Job("a", 1, failing(0, 2, 3, 4, 0)), clock, reports.append)
    assert reports == [2, 7]
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0)
    clock, reports = Clock(4), []
    run_job(Job("a", 1, failing(0, 2, 3, 0)), clock, reports.append)
    assert reports == [2, 3]


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_is_told_of_its_end(fails, caplog):
    ended = []

    def end():
        ended.append(1)
        if fails:
            raise ConnectionError("away")

    run_job(Job("a", 1, failing(KeyError()), end=end), Clock(1))
    assert ended == [1]
    assert ("a failed, it did not end cleanly" in caplog.messages) == fails


# --- Several ----------------------------------------------------------------------------------------------


def test_one_that_fails_or_hangs_keeps_no_other(caplog):
    stop, hang, runs = Stop(), threading.Event(), threading.Semaphore(0)
    jobs = [
        Job("fails", 0.01, failing(ZeroDivisionError())),
        Job("hangs", 0.01, lambda: hang.wait(30) and 0),
        Job("works", 0.01, lambda: runs.release() or 1),
    ]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_jobs, jobs, stop, patience=0.2)
        assert all(runs.acquire(timeout=20) for _ in range(20))
        stop.set()
        assert running.result(timeout=20) == ["hangs"]
        hang.set()
    assert any(message.startswith("fails failed") for message in caplog.messages)


def test_every_job_has_a_series_before_it_fails():
    stop = Stop()
    stop.set()
    run_jobs([Job("never yet", 1, failing(0))], stop)
    assert failures_of("never yet") == 0
    assert REGISTRY.get_sample_value("yousinsa_job_failures_total", {"job": "never yet"}) == 0


# --- The end ----------------------------------------------------------------------------------------------


def test_everybody_who_waits_hears_of_the_end():
    stop = Stop()
    assert not stop.wait(0.01)
    with ThreadPoolExecutor(20) as pool:
        waits = [pool.submit(stop.wait, 30) for _ in range(20)]
        stop.set()
        stop.set()
        assert all(wait.result(timeout=20) for wait in waits)
    assert stop.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_and_the_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(20)
    assert signal.getsignal(number) is before


def test_signals_that_hail_while_it_waits_do_not_lock_it_up():
    with stop_on_signals() as stop:
        for _ in range(200):
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait(0.001)
        assert stop.wait(20)
