"""Hashing passwords within a budget, so that a storm of sign-ins does not starve everything else.

A hash is meant to cost: tens of milliseconds of a core, and 19 MiB. Each process makes HASH_THREADS at a
time, in threads of their own (argon2 lets go of the interpreter lock), and lets HASH_QUEUE wait; beyond that
it says `Busy`. The API waits without threads (`Deferred`); what waits in a thread, as the desk does, comes in
through `Argon2Hasher`, for which only HASH_WAITING_THREADS threads may be kept.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password, verify_password

from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess

T = TypeVar("T")

# What Django takes for no password at all, and takes as long over as over one.
NOBODYS = "!"


class Checked(NamedTuple):
    """Whether it is the password; and its new hash where the stored one is by older parameters."""

    is_correct: bool
    upgraded: str | None = None


def check(password: str, encoded: str) -> Deferred[Checked]:
    """Compare a password with a hash, or with NOBODYS, which takes as long. Raises `Busy`."""
    return hashing().submit(partial(_check, password, encoded))


def _check(password: str, encoded: str) -> Checked:
    is_correct, is_old = verify_password(password, encoded)
    return Checked(is_correct, make_password(password) if is_correct and is_old else None)


def hashed(password: str) -> Deferred[str]:
    """The hash of a new password. Raises `Busy`."""
    return hashing().submit(partial(make_password, password))


def replaced(current: str, encoded: str, new: str) -> Deferred[str | None]:
    """The hash of the new password, or None where `current` is not the one of `encoded`. Raises `Busy`."""
    return hashing().submit(lambda: make_password(new) if verify_password(current, encoded)[0] else None)


class Hashing:
    """A process's threads that hash, and how many wait for them."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._threads = ThreadPoolExecutor(settings.HASH_THREADS, "hashing", self._begin)
        self._lock = threading.Lock()
        self._admitted = self._keeping_threads = 0

    def _begin(self) -> None:
        self._here.is_hashing = True

    def submit(self, work: Callable[[], T]) -> Deferred[T]:
        """What `work` will come to, which hashes and asks no database. Raises `Busy` for a full queue."""
        with self._lock:
            if self._admitted >= settings.HASH_THREADS + settings.HASH_QUEUE:
                raise Busy
            self._admitted += 1
        made: Deferred[T] = Deferred()
        self._threads.submit(self._work, work, made)
        return made

    def _work(self, work: Callable[[], T], made: Deferred[T]) -> None:
        outcome: T | Exception
        try:
            outcome = work()
        except Exception as exc:
            outcome = exc
        with self._lock:
            self._admitted -= 1
        made.decide(outcome)

    def run(self, work: Callable[[], T]) -> T:
        """The same for who waits here, with this thread and its connection. Raises `Busy` for too many."""
        if getattr(self._here, "is_hashing", False):
            return work()
        with self._lock:
            if self._keeping_threads >= settings.HASH_WAITING_THREADS:
                raise Busy
            self._keeping_threads += 1
        try:
            return self.submit(work).result()
        finally:
            with self._lock:
                self._keeping_threads -= 1


hashing = PerProcess(Hashing)


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with the least that OWASP recommends: 19 MiB, two passes, one lane."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: Any) -> str:
        return str(hashing().run(partial(super().encode, password, salt)))

    def verify(self, password: str, encoded: str) -> bool:
        return bool(hashing().run(partial(super().verify, password, encoded)))
