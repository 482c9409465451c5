"""Many buyers at once: processes and threads that start together; and waiting for what nobody tells."""

import multiprocessing
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")
_fork = multiprocessing.get_context("fork")
LIMIT_SECONDS = 120


class ChildFailed(AssertionError):
    """A child process raised; the message is its traceback."""


def in_processes(work: Callable[[int], T], count: int) -> list[T]:
    """Run `work(0)` to `work(count - 1)` in as many processes at the same moment; their results, in order.

    Raises `ChildFailed` with the first traceback. No child outlives the call.
    """
    connections.close_all()  # a connection that is shared over a fork is a broken one
    barrier = _fork.Barrier(count)
    children, pipes = [], []
    for index in range(count):
        receiver, sender = _fork.Pipe(duplex=False)
        child = _fork.Process(target=_child, args=(work, index, barrier, sender), daemon=True)
        child.start()
        sender.close()
        children.append(child)
        pipes.append(receiver)
    results: dict[int, Any] = {}
    try:
        _collect(pipes, results)
    finally:
        for child in children:
            child.join(timeout=5)
            if child.is_alive():
                child.kill()
                child.join()
    failed = [value for ok, value in results.values() if not ok]
    if failed:
        raise ChildFailed(failed[0])
    return [results[index][1] for index in range(count)]


def _collect(pipes: list[Connection], results: dict[int, Any]) -> None:
    waiting = dict(enumerate(pipes))
    while waiting:
        ready = wait(list(waiting.values()), timeout=LIMIT_SECONDS)
        if not ready:
            raise ChildFailed(f"{len(waiting)} processes gave no result within {LIMIT_SECONDS} s")
        for index, pipe in list(waiting.items()):
            if pipe in ready:
                try:
                    results[index] = pickle.loads(pipe.recv_bytes())  # noqa: S301
                except EOFError:
                    results[index] = (False, f"process {index} died")
                del waiting[index]


def _child(work: Callable[[int], Any], index: int, barrier: Any, sender: Connection) -> None:
    connections.close_all()
    try:
        barrier.wait(timeout=60)
        result = (True, work(index))
    except BaseException:
        result = (False, traceback.format_exc())
    sender.send_bytes(pickle.dumps(result))
    sender.close()
    connections.close_all()


def in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """The same in threads of this process: for what they share, such as the group commit's queue."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            barrier.wait(timeout=60)
            results[index] = (True, work(index))
        except BaseException:
            results[index] = (False, traceback.format_exc())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=LIMIT_SECONDS)
    if unfinished := [i for i, result in enumerate(results) if result is None]:
        raise ChildFailed(f"threads {unfinished} gave no result within {LIMIT_SECONDS} s")
    failed = [value for ok, value in results if not ok]
    if failed:
        raise ChildFailed(failed[0])
    return [value for _ok, value in results]


def until(true: Callable[[], object], *, seconds: float = 30, why: Callable[[], str] = str) -> None:
    """Wait until `true()`, for what no event tells: another process, another server. Asked again and again.

    Raises AssertionError, with what `why()` says, if it does not come true in time.
    """
    give_up_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_at, f"not within {seconds} s. {why()}"
        time.sleep(0.01)
