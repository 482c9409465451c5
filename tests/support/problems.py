"""What every refusal has in common: how it looks, and that it changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection

LABELS = ("shop", "inventory", "orders")


def problem(response: Any, status: int, code: str, *fields: str) -> dict[str, Any]:
    """The body of a refusal: problem+json with this status and code, naming exactly these fields, if any."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"].endswith(f"#{code}")
    assert body["title"]
    assert body["detail"]
    # No template left unfilled.
    assert "%(" not in response.content.decode()
    assert "{" not in body["title"]
    if fields:
        assert [error["field"] for error in body["errors"]] == list(fields), body
        assert all(error["message"] for error in body["errors"])
    return body


def all_rows() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the shop's tables, by table, as the database gives them."""
    models = [model for label in LABELS for model in apps.get_app_config(label).get_models()]
    rows = {}
    with connection.cursor() as cursor:
        for model in models:
            if model._meta.managed and not model._meta.proxy:
                cursor.execute(f"SELECT * FROM {model._meta.db_table} ORDER BY 1")
                rows[model._meta.db_table] = list(cursor.fetchall())
    return rows


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Not one row is different afterwards."""
    before = all_rows()
    yield
    after = all_rows()
    for table, rows in before.items():
        assert after[table] == rows, f"{table} changed"
