"""An outcome that is not known yet, for those who wait for it in a thread and for those who do not."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Promise(Generic[T]):
    """Decided once, by whoever finds out. `lock` is shared by those that are decided together."""

    __slots__ = ("_callback", "_lock", "outcome")

    def __init__(self, lock: threading.Lock) -> None:
        self.outcome: T | None = None
        self._lock = lock
        self._callback: Callable[[], None] | None = None

    @property
    def decided(self) -> bool:
        return self.outcome is not None

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once the outcome is there, in the thread that decided it; now, if it is there already.

        One callback a promise; it must be quick and must not raise: others wait behind it.
        """
        with self._lock:
            if self.outcome is None:
                self._callback = callback
                return
        callback()

    def decide(self, outcome: T) -> Callable[[], None] | None:
        """Set the outcome, under the lock; returns what to call after it."""
        self.outcome = outcome
        return self._callback

    def wait(self) -> T:
        """The outcome, once it is there."""
        while (outcome := self.outcome) is None:
            decided = threading.Lock()
            decided.acquire()
            self.then(decided.release)
            decided.acquire()
        return outcome
