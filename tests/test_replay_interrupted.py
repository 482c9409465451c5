"""A replay that is run again, or was interrupted at any step, does nothing twice and leaves nothing out."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from orders.lifecycle import cancel_order, expire_due
from orders.models import Payment, Status
from orders.payments import services as payments
from orders.replay import catalogue, returns, sales
from tests.support.invariants import assert_books_balance
from tests.support.replay import line, order, state

pytestmark = pytest.mark.django_db


EVENTFUL = [
    line(1, "A1", 6, "2.00"), line(1, "B1", 120, "1.00"), line(1, "A1", 1, "3.00"), line(1, "POST", 1, "18"),
    line(2, "A1", 5, "1.00", customer=""),
    line(3, "A1", 5, "1.00"),
    line("C4", "A1", -9, "2.00"), line("C4", "A1", -1, "1.00"), line("C4", "B1", -500, "1.00"),
    line("C5", "B1", -120, "1.00"), line("C5", "A1", -1, "1.00"), line("C5", "A1", -50, "1.00"),
]  # fmt: skip


def test_a_second_run_changes_nothing(replay: Callable[..., str]) -> None:
    said = replay(*EVENTFUL)
    assert "12 lines of 3 invoices and 2 cancellations: 5 sold, 4 returned, 3 skipped" in said
    before = state()
    again = replay(*EVENTFUL)
    assert state() == before
    assert again.splitlines()[-1].startswith("Nothing changed: 4 orders and 4 returns were there already")
    assert "5 sold, 4 returned, 3 skipped" in again
    # Nor does one at another rate; it tells that the orders were placed at the first one.
    other_rate = replay(*EVENTFUL, rate=Decimal(900))
    assert state() == before
    assert "3 invoices cost another sum than in the file: placed at another rate" in other_rate


STEPS = [
    (catalogue, "list_in_bulk"), (catalogue, "update_product"), (catalogue, "receive"),
    (sales, "row_lock"), (sales, "pay"), (payments, "decide"), (sales, "ship_order"),
    (sales, "deliver_order"), (returns, "return_order"),
]  # fmt: skip


@contextmanager
def undone() -> Iterator[None]:
    """Take back what the block did to the database (a savepoint: services refuse to run below `atomic`)."""
    point = transaction.savepoint()
    yield
    transaction.savepoint_rollback(point)


@contextmanager
def interrupted(at: int | str, *, after: bool) -> Iterator[list[str]]:
    """Ctrl-C just before (or after) a step, named by number or name; yields the steps that were called."""
    called: list[str] = []

    def interruptible(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            mine = at in (len(called) - 1, name)
            if mine and not after:
                raise KeyboardInterrupt
            result = step(*args, **kwargs)
            if mine:
                raise KeyboardInterrupt
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in STEPS:
            patch.setattr(module, name, interruptible(name, getattr(module, name)))
        yield called


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_replay_interrupted_at_any_step_goes_on(replay: Callable[..., str], after: bool) -> None:
    with undone(), interrupted(-1, after=after) as called:
        replay(*EVENTFUL)
        expected = state()
    steps = Counter(called)
    assert steps.keys() == {name for _, name in STEPS}
    assert steps["pay"] == steps["row_lock"] == steps["ship_order"] == 4
    for at, step in enumerate(called):
        with undone():
            with (
                interrupted(at, after=after),
                pytest.raises(CommandError, match=r"Interrupted.*goes on here") as stopped,
            ):
                replay(*EVENTFUL)
            assert stopped.value.returncode == 130
            replay(*EVENTFUL)
            assert state() == expected, f"call {at}, {step}"
            assert_books_balance()


def test_an_order_that_expired_after_an_interruption_is_placed_anew(replay: Callable[..., str]) -> None:
    with interrupted("row_lock", after=True), pytest.raises(CommandError):
        replay(line(1, "A1", 6))
    assert expire_due(now=timezone.now() + timedelta(days=1)) == 1
    said = replay(line(1, "A1", 6))
    assert "1 order placed and delivered (6 units" in said
    assert order("1").status == Status.EXPIRED
    assert order("1~2").status == Status.DELIVERED
    assert Payment.objects.count() == 1
    assert_books_balance()
    assert "Nothing changed: 1 order" in replay(line(1, "A1", 6))


def test_a_payment_that_was_cut_off_is_settled_not_repeated(replay: Callable[..., str]) -> None:
    """Also where the hold ended meanwhile: the money was taken, the units are still there."""
    with interrupted("decide", after=False), pytest.raises(CommandError):
        replay(line(1, "A1", 6))
    assert Payment.objects.get().status == Payment.Status.STARTED
    assert expire_due(now=timezone.now() + timedelta(days=1)) == 1
    said = replay(line(1, "A1", 6))
    assert "0 orders placed and delivered, 1 finished (6 units" in said
    assert order("1").status == Status.DELIVERED
    assert order("1").note.startswith("Invoice 1 of 2010-12-01 08:26. The payment came after")
    assert Payment.objects.get().status == Payment.Status.APPROVED
    assert_books_balance()


def test_what_an_operator_cancelled_stays_cancelled(replay: Callable[..., str]) -> None:
    with interrupted("row_lock", after=True), pytest.raises(CommandError):
        replay(line(1, "A1", 6))
    cancel_order(order_id=order("1").pk, actor_id=None)
    said = replay(line(1, "A1", 6))
    assert "skipped 1: its order is cancelled: somebody else has taken it in hand (row 2" in said
    assert order("1").status == Status.CANCELLED
    assert not Payment.objects.exists()
    assert_books_balance()
