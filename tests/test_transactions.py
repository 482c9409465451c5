"""How often, and for how long, a transaction is tried again."""

from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection

from yousinsa.db import transactions
from yousinsa.db.transactions import MAX_ATTEMPTS, bounded_attempts, transact
from yousinsa.errors import Busy

CONFLICTS = {
    "sqlite": OperationalError("database is locked"),
    "mysql": OperationalError(1213, "Deadlock found"),
}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only pauses move; its list is the pauses. Other threads keep the real one."""
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    monkeypatch.setattr(transactions, "time", clock)
    return pauses


def test_attempts_are_bounded_and_further_and_further_apart(clock):
    assert list(bounded_attempts()) == list(range(1, MAX_ATTEMPTS + 1))
    assert len(clock) == MAX_ATTEMPTS - 1
    assert all(0 < pause < 0.015 * n for n, pause in enumerate(clock, 1))


def test_attempts_end_when_the_time_is_used_up(clock, settings):
    settings.LOCK_WAIT_SECONDS = 3
    found = []
    for attempt in bounded_attempts():
        found.append(attempt)
        clock.append(3.1)  # what the attempt itself waited for a lock
    assert found == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_a_conflict_is_tried_again_and_anything_else_is_raised(clock):
    conflict = CONFLICTS[connection.vendor]
    left = [conflict, conflict]

    def work():
        if left:
            raise left.pop()
        return "done"

    assert transact(work) == "done"
    assert len(clock) == 2

    left += [conflict] * MAX_ATTEMPTS
    with pytest.raises(Busy) as busy:
        transact(work)
    assert busy.value.__cause__ is conflict

    left[:] = [OperationalError(1, "something else")]
    with pytest.raises(OperationalError):
        transact(work)
    assert not left
