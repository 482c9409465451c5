"""How a worker repeats its jobs until it is stopped: each at its own pace, none held up by another's failure.

A job says how much it did. It is run again after its interval, or at once where it is `eager` and did
something. What it raises is logged and counted, and the job is tried again a little later each time.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, connection
from prometheus_client import Counter
from redis.exceptions import RedisError

from yousinsa.errors import Busy

logger = logging.getLogger(__name__)

FAILURES = Counter("yousinsa_job_failures", "Rounds of a worker's job that ended in an error.", ["job"])

# An outage ends at any moment, and nobody should wait long then; what nobody foresaw will not mend itself.
OUTAGE = (OperationalError, InterfaceError, RedisError, Busy)
FIRST_RETRY_SECONDS = 0.5
RETRY_AFTER_OUTAGE_SECONDS = 5.0
RETRY_SECONDS = 60.0
# A connection is not kept through a longer wait than this, nor is anything reported more often than that.
KEEP_CONNECTION_SECONDS = 1.0
REPORT_SECONDS = 10.0
# How long jobs may go on with what they are at when they are told to stop.
PATIENCE_SECONDS = 25.0


class Stop:
    """A request to end, which a signal handler may make.

    `threading.Event` may not be set there: its lock could be held by the very thread that was interrupted.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        with suppress(RuntimeError):  # it was open already
            self._gate.release()

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float = -1) -> bool:
        """Wait for it, at most so long; returns whether it came."""
        if not self._is_set and self._gate.acquire(timeout=seconds):
            self.set()  # for the next one who waits
        return self._is_set


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A `Stop` that SIGTERM and SIGINT set. For the main thread."""
    stop = Stop()
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is to be done again and again, by any number of workers at once.

    `run` does what is due now and returns how much that was; it may raise anything. `eager`: when it found
    something there may be more, so it is asked again at once. `end` is called once, after the last run.
    """

    name: str
    every_seconds: float
    run: Callable[[], int]
    eager: bool = False
    end: Callable[[], None] | None = None


def run_job(job: Job, stop: Stop, report: Callable[[int], None] | None = None) -> None:
    """Run one job in this thread until `stop`; `report` hears now and then how much was done since."""
    failures = done = 0
    reported_at = float("-inf")
    while not stop.is_set():
        found, wait = 0, job.every_seconds
        try:
            found = job.run()
        except Exception as exc:
            failures += 1
            wait = _retry_seconds(exc, failures)
            _note(job, exc, f"trying again in {wait:g} s")
            connection.close()
        else:
            failures = 0
        done += found
        if report and done and time.monotonic() - reported_at >= REPORT_SECONDS:
            report(done)
            done, reported_at = 0, time.monotonic()
        if job.eager and found:
            continue
        if wait > KEEP_CONNECTION_SECONDS:
            connection.close()
        stop.wait(wait)
    if report and done:
        report(done)
    if job.end:
        try:
            job.end()
        except Exception as exc:
            _note(job, exc, "it did not end cleanly")


def _retry_seconds(exc: Exception, failures: int) -> float:
    longest = RETRY_AFTER_OUTAGE_SECONDS if isinstance(exc, OUTAGE) else RETRY_SECONDS
    return min(longest, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 16))


def _note(job: Job, exc: Exception, consequence: str) -> None:
    FAILURES.labels(job.name).inc()
    if isinstance(exc, OUTAGE):
        logger.warning("%s failed, %s: %s", job.name, consequence, exc)
    else:
        logger.error("%s failed, %s", job.name, consequence, exc_info=exc)


def run_jobs(jobs: Sequence[Job], stop: Stop, *, patience: float = PATIENCE_SECONDS) -> list[str]:
    """Run each job in a thread of its own until `stop`.

    Returns the names of those that were still at it after `patience` seconds. Their threads end with the
    process, in the middle of what they do: a job must bear that, as it must bear a power cut.
    """
    for job in jobs:
        FAILURES.labels(job.name)  # a series that appears with the first failure shows no increase
    threads = [
        threading.Thread(target=_run, args=[job, stop], name=f"job-{job.name}", daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    give_up_at = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, give_up_at - time.monotonic()))
    return [job.name for job, thread in zip(jobs, threads, strict=True) if thread.is_alive()]


def _run(job: Job, stop: Stop) -> None:
    try:
        run_job(job, stop, lambda done: logger.info("%s: %s", job.name, f"{done:,}"))
    finally:
        connection.close()
