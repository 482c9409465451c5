"""Somebody else: a database connection beside Django's, which keeps a row locked as long as a test likes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import MySQLdb
from django.db import connection


@contextlib.contextmanager
def other_session() -> Iterator[Any]:
    """A cursor of another session on the test database; what it did is rolled back at the end."""
    settings = connection.settings_dict
    other = MySQLdb.connect(
        host=settings["HOST"],
        port=int(settings["PORT"]),
        user=settings["USER"],
        password=settings["PASSWORD"],
        database=settings["NAME"],
    )
    try:
        yield other.cursor()
    finally:
        other.rollback()
        other.close()


@contextlib.contextmanager
def row_locked(table: str, row_id: int) -> Iterator[None]:
    """Somebody keeps this row locked exclusively."""
    with other_session() as cursor:
        cursor.execute(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", [row_id])
        yield
