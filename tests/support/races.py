"""Races and their controls: what many do at once, and the same with the real locks taken away.

A race is a function that everybody may run twice: once as it is, and once with what protects it gone, in the
same production code. Then it must go wrong, else it proves nothing. What is taken away is taken from the
processes too that are forked meanwhile. MariaDB only: SQLite has one writer, whatever is locked.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from django.db import connection
from django.db.models import Field, Model, QuerySet

from inventory.models import Movement
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from yousinsa.errors import Busy, Problem

T = TypeVar("T")
ROUNDS = 200


def buy(
    buyer_id: int,
    *lines: tuple[int, int],
    key: str | None = None,
    drop_id: int | None = None,
    lane: Callable[[PlaceRequest], Any] = row_lock,
) -> str:
    """What became of an order: its number, or the problem's code. Busy is asked again."""
    for _ in range(ROUNDS):
        request = PlaceRequest.build(buyer_id=buyer_id, lines=lines, idempotency_key=key, drop_id=drop_id)
        try:
            return str(lane(request).order.number)
        except Busy:
            continue
        except Problem as problem:
            return problem.code
    return "busy"


# --- What protects, and its absence ------------------------------------------------------------------


def take_row_locks_away(monkeypatch: pytest.MonkeyPatch, *models: type[Model]) -> None:
    """`SELECT … FOR UPDATE` locks nothing any more: of these models, or of any."""
    locked = QuerySet.select_for_update

    def unlocked(rows: Any, *args: Any, **options: Any) -> Any:
        if models and rows.model not in models:
            return locked(rows, *args, **options)
        return rows.all()

    monkeypatch.setattr(QuerySet, "select_for_update", unlocked)


def column_of(model: type[Model], name: str) -> str:
    field = model._meta.get_field(name)
    assert isinstance(field, Field)
    return str(field.column)


@contextlib.contextmanager
def without_unique(model: type[Model], *fields: str) -> Iterator[None]:
    """The database lets two rows have the same values in these fields. Empties the table afterwards."""
    table, editor = model._meta.db_table, connection.schema_editor()
    columns = [column_of(model, name) for name in fields]
    names = ", ".join(editor.quote_name(column) for column in columns)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
        (index,) = [n for n, c in found.items() if c["unique"] and c["columns"] == columns]
        # Foreign keys need an index of these columns all the while.
        cursor.execute(f"ALTER TABLE {table} ADD INDEX meanwhile ({names}), DROP INDEX {index}")
    try:
        yield
    finally:
        with connection.constraint_checks_disabled(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(f"ALTER TABLE {table} ADD UNIQUE INDEX {index} ({names}), DROP INDEX meanwhile")


@contextlib.contextmanager
def nothing_locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No row lock, nor what refuses the second of two that changed a stock row at once: its number."""
    with monkeypatch.context() as taken, without_unique(Movement, "stock", "sequence"):
        take_row_locks_away(taken)
        yield


def take_order_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock rows are locked one by one, as an order's lines come."""
    from inventory.locks import LockedStock, lock_stock

    def in_line_order(stock_ids: Any) -> dict[int, LockedStock]:
        return {id: row for stock_id in stock_ids for id, row in lock_stock([stock_id]).items()}

    monkeypatch.setattr("orders.placement.writing.lock_stock", in_line_order)
    monkeypatch.setattr("orders.placement.requests.sorted", list, raising=False)


def goes_wrong(race: Callable[[], T], right: Callable[[T], bool], *, attempts: int = 20) -> T:
    """Run a race until it does not come out right, and return how it came out instead.

    Fails the test if it comes out right each time: then its twin with the locks proves nothing.
    """
    for _ in range(attempts):
        outcome = race()
        if not right(outcome):
            return outcome
    pytest.fail(f"{attempts} times nothing went wrong: {outcome}")
