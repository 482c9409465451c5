"""How far the desk looks: counts and lists end at a limit, so that a page answers at a million rows."""

from typing import Any

from django.db.models import QuerySet

COUNT_LIMIT = 10_000


class AtLeast(int):
    """A count that was given up: shown as `10000+`."""

    def __str__(self) -> str:
        return f"{int(self)}+"


def bounded_count(rows: QuerySet[Any]) -> int:
    """How many rows, counted up to `COUNT_LIMIT`; shown with a `+` when there are more."""
    # In no order: sorting what a filter's index finds would read all of it.
    found = rows.order_by().values("pk")[: COUNT_LIMIT + 1].count()
    return AtLeast(COUNT_LIMIT) if found > COUNT_LIMIT else found


def newest_keys(rows: QuerySet[Any]) -> list[int]:
    """The primary keys of the newest of these rows, `COUNT_LIMIT` at most.

    Looks back step by step: a large store's are among the table's last, a small store's are few anyhow.
    """
    newest = rows.order_by("-pk").values_list("pk", flat=True)
    last = rows.model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0
    for back in (40_000, 400_000):
        found = list(newest.filter(pk__gt=last - back)[:COUNT_LIMIT])
        if len(found) == COUNT_LIMIT:
            return found
    return list(newest[:COUNT_LIMIT])
