"""Carry commands out: many in one durable transaction (orders/engine/batch.py), each decided on its own."""

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from orders.changes.commands import Changed, Command, NeedsStock
from orders.changes.locking import Known, done_before, find, lock
from orders.changes.writing import Changes
from orders.engine.batch import run_batch
from orders.engine.committer import Committer
from orders.engine.requests import Outcomes, Row
from orders.errors import OrderNotFound
from yousinsa.db.transactions import reading
from yousinsa.errors import Problem
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess


def change_batch(commands: Sequence[Command], *, splits: bool = True) -> list[Changed | Exception]:
    """Carry out what can be, durably, and say of every command what became of it, in the same order.

    A command that is refused (`OrderNotFound`, `InvalidTransition`, whatever its decision raises) is refused
    alone. `Busy`, `Interrupted`, and what is raised: as `run_batch`. `splits`: where a row stays locked, it
    is found by halving; otherwise all are `Busy`.
    """
    outcomes = run_batch(commands, _Changing(splits))
    if late := [c for c, outcome in zip(commands, outcomes, strict=True) if isinstance(outcome, NeedsStock)]:
        for command in late:
            command.with_stock = True
        found = dict(zip(late, run_batch(late, _Changing(splits)), strict=True))
        outcomes = [found.get(c, outcome) for c, outcome in zip(commands, outcomes, strict=True)]
    return outcomes


def change(command: Command) -> Changed:
    """Carry out one command, in a transaction of its own; raises what `change_batch` says of it."""
    (outcome,) = change_batch([command])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def begin_change(command: Command) -> Deferred[Changed]:
    """The same without keeping a thread, together with the commands that wait beside it."""
    if settings.PLACEMENT != "group_commit":
        # A refusal too is an outcome: whoever makes something of it is asked about it.
        decided: Deferred[Changed] = Deferred()
        decided.decide(change_batch([command])[0])
        return decided
    if connection.in_atomic_block:
        raise RuntimeError("begin_change cannot run inside a transaction: use change there")
    return _committer().submit(command)


class _Changing:
    """How commands are carried out (`orders.engine.requests.Work`)."""

    def __init__(self, splits: bool) -> None:
        self.splits = splits
        self._known: dict[Command, Known] = {}

    def prepare(self, commands: Sequence[Command]) -> tuple[list[Command], Outcomes]:
        self._known = foresee(commands)
        return list(self._known), {c: OrderNotFound() for c in commands if c not in self._known}

    def write(self, commands: Sequence[Command], *, again: bool) -> Callable[[], Outcomes]:
        locked = lock(commands, self._known)
        done = done_before(commands, self._known) if again else set()
        changes = Changes(locked)
        outcomes: Outcomes = {}
        for command in commands:
            outcomes[command] = self._decide(command, locked.orders, changes, is_done=command in done)
        changes.write()
        return lambda: outcomes

    def _decide(self, command: Command, orders: Any, changes: Changes, *, is_done: bool) -> Any:
        held = orders.get(self._known[command].id)
        if held is None:
            return OrderNotFound()
        if is_done:
            return Changed(held.view(), held.id, attempt=held.live_attempt, fresh=True)
        try:
            decision = command.decide(held)
        except (Problem, NeedsStock) as refusal:
            return refusal
        return changes.apply(command, held, decision)

    def mends(self, exc: Exception, commands: Sequence[Command]) -> bool:
        return False


def foresee(commands: Sequence[Command]) -> dict[Command, Known]:
    """Look up whose orders these are and which rows each command needs."""
    found = reading(lambda: find(commands))
    for command, known in found.items():
        rows: list[Row] = [("buyer", known.buyer_id), ("order", known.id)]
        if command.with_stock or command.moves_stock(known.status):
            rows += [("option", line.option_id) for line in known.lines]
            rows += [("drop", known.drop_id)] if known.drop_id is not None else []
        command.rows = tuple(rows)
    return found


# One of their own: new orders do not wait behind changes, nor these behind them.
_committer = PerProcess(lambda: Committer(change_batch, foresee))
