"""The pool of database connections serves threads in the order in which they came."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.concurrency import until
from yousinsa.db.mysql.base import FairSemaphore

pytestmark = pytest.mark.sqlite


def test_who_waited_longest_is_next():
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(timeout=1)
    served = []

    def wait(i):
        assert semaphore.acquire(timeout=30)
        served.append(i)
        semaphore.release()

    with ThreadPoolExecutor(8) as pool:
        waits = []
        for i in range(8):
            waits.append(pool.submit(wait, i))
            until(lambda n=i: len(semaphore._waiting) > n)  # nothing tells that a thread has begun to wait
        assert not semaphore.acquire(timeout=0)  # no newcomer overtakes
        semaphore.release()
        for waited in waits:
            waited.result(timeout=30)
    assert served == list(range(8))
    assert semaphore.acquire(timeout=0)


def test_who_gave_up_takes_no_permit():
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(timeout=0)
    assert not semaphore.acquire(timeout=0.01)
    semaphore.release()
    assert semaphore.acquire(timeout=0)


def test_permits_are_neither_lost_nor_made_when_waiting_ends_at_the_last_moment():
    semaphore = FairSemaphore(3)
    held, most = 0, 0
    lock = threading.Lock()

    def hurry(_i):
        nonlocal held, most
        for _ in range(300):
            if semaphore.acquire(timeout=0.0001):
                with lock:
                    held += 1
                    most = max(most, held)
                with lock:
                    held -= 1
                semaphore.release()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hurry, range(16)))
    assert most <= 3
    assert [semaphore.acquire(timeout=0) for _ in range(4)] == [True, True, True, False]
