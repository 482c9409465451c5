"""What each process makes for itself, at its first use: threads, connections, random bits.

None of them survives a fork: a child makes its own, at its own first use.
"""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar, TypeVarTuple

T = TypeVar("T")
Key = TypeVarTuple("Key")


class PerProcess(Generic[T, *Key]):
    """`make(*key)`, called once a process for each key (most have none). Also serves as a decorator.

    Threads that come first together wait for one and the same; what `make` raises is raised, and the next
    call tries again. `make` must not call what it is making. To ask again costs a look into a dictionary:
    100 ns where `os.getpid()` alone takes 160, since the fork itself puts away what the parent made.
    """

    __slots__ = ("__weakref__", "_inherited", "_lock", "_made", "_make")

    def __init__(self, make: Callable[[*Key], T]) -> None:
        self._make = make
        self._made: dict[tuple[*Key], T] = {}
        self._lock = threading.Lock()
        self._inherited: list[object] = []
        _all.add(self)

    def __call__(self, *key: *Key) -> T:
        try:
            return self._made[key]
        except KeyError:
            pass
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(*key)
            return self._made[key]

    def forget(self) -> None:
        """Let the next calls make everything anew."""
        with self._lock:
            self._made = {}

    def _leave_behind(self) -> None:
        """In a child. What it inherits stays alive, unused: closing it would speak on the parent's socket."""
        self._inherited.append(self._made)
        self._made = {}
        self._lock = threading.Lock()  # one of the parent's threads may have held it


_all: weakref.WeakSet[PerProcess[Any, *tuple[Any, ...]]] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one._leave_behind()


os.register_at_fork(after_in_child=_after_fork)
