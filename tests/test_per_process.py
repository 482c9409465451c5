"""What a process makes once, and a forked child anew."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from yousinsa.process.once import PerProcess

pytestmark = pytest.mark.sqlite


def in_child(ask):
    """What `ask()` says in a forked child, as text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(ask()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as answer:
        return answer.read()


def test_it_is_made_at_the_first_call_and_then_the_same_for_each_key():
    made = []

    @PerProcess
    def thing(a: int, b: str) -> list[object]:
        made.append((a, b))
        return [a, b]

    assert made == []
    assert thing(1, "x") is thing(1, "x")
    assert thing(2, "x") is not thing(1, "x")
    assert made == [(1, "x"), (2, "x")]


def test_threads_that_come_first_together_get_the_same():
    start = threading.Barrier(8)
    made = []

    def slowly():
        made.append(1)
        threading.Event().wait(0.05)
        return object()

    thing = PerProcess(slowly)

    def ask(_i):
        start.wait()
        return id(thing())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(made) == 1


def test_what_could_not_be_made_is_tried_again():
    outcomes = [OSError("away"), None]

    def make():
        if outcome := outcomes.pop(0):
            raise outcome
        return "here"

    thing = PerProcess(make)
    with pytest.raises(OSError, match="away"):
        thing()
    assert thing() == "here"


def test_a_child_makes_its_own_and_the_parent_keeps_what_it_had():
    thing = PerProcess(os.getpid)
    mine = thing()
    child = in_child(thing)
    assert child not in ("", str(mine))
    assert thing() == mine


def test_a_child_leaves_what_it_inherits_alone():
    class Connection:
        def __del__(self):
            os.write(log, b"closed")

    read, log = os.pipe()
    os.set_blocking(read, False)
    thing = PerProcess(Connection)
    thing()
    assert in_child(lambda: id(thing()) != 0) == "True"
    with pytest.raises(BlockingIOError):
        os.read(read, 10)
    thing.forget()
    assert os.read(read, 10) == b"closed"


def test_a_child_does_not_wait_for_a_thread_that_is_not_there():
    let_go = threading.Event()
    being_made = threading.Event()

    def make():
        being_made.set()
        let_go.wait(10)
        return "made"

    thing = PerProcess(make)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(thing)
        assert being_made.wait(10)

        def ask():
            let_go.set()  # the child's own copy
            return thing()

        assert in_child(ask) == "made"
        let_go.set()


def test_what_nobody_refers_to_any_more_is_not_kept():
    from yousinsa.process import once

    before = len(once._all)
    thing = PerProcess(object)
    assert len(once._all) == before + 1
    del thing
    assert len(once._all) == before
