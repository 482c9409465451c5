"""Keyset ("seek") pagination: a page starts after the last row of the one before, found by an index.

No row is skipped or shown twice when rows come and go meanwhile, and page 1,000 costs what page 1 does.
A cursor names the last row's values in the list's order; it is opaque to clients, not secret.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext

from yousinsa.errors import Invalid

PAGE_SIZE, MAX_PAGE_SIZE = 20, 100


class Cursor(NamedTuple):
    """Where a page starts: after (or, going back, before) the row with these ordering values."""

    backwards: bool
    values: tuple[Any, ...]

    def encode(self) -> str:
        raw = msgspec.json.encode([int(self.backwards), *self.values])
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, types: Sequence[type]) -> "Cursor":
        """Raises `Invalid` naming `cursor` unless its values are of these types."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            backwards, *values = msgspec.json.decode(raw, type=list)
        except (ValueError, msgspec.DecodeError, RecursionError):
            backwards, values = None, []
        fits = len(values) == len(types) and all(type(v) is t for v, t in zip(values, types, strict=True))
        # 2^63 is where the databases' integers end.
        in_range = all(abs(v) < 2**63 for v in values if isinstance(v, int))
        if backwards not in (0, 1) or not fits or not in_range:
            raise Invalid(
                errors={
                    "cursor": gettext("Not a cursor of this list: take `next` or `previous` as they are.")
                }
            )
        return cls(bool(backwards), tuple(values))


class Ordering(NamedTuple):
    """A total order of a list: the last field is unique. `types` are the fields' types in a cursor."""

    fields: tuple[str, ...]
    types: tuple[type, ...]
    descending: bool = False

    def values(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, field) for field in self.fields)

    def after(self, values: Sequence[Any], *, backwards: bool) -> Q:
        """The rows that come after (or before) `values`: written so that an index serves."""
        compare = "lt" if self.descending != backwards else "gt"
        if len(self.fields) == 1:
            return Q(**{f"{self.fields[0]}__{compare}": values[0]})
        (first, second), (x, y) = self.fields, values
        return Q(**{f"{first}__{compare}e": x}) & (
            Q(**{f"{first}__{compare}": x}) | Q(**{f"{second}__{compare}": y})
        )

    def order_by(self, *, backwards: bool) -> list[str]:
        sign = "-" if self.descending != backwards else ""
        return [f"{sign}{field}" for field in self.fields]

    def seek(
        self, rows: QuerySet[Any, Any], after: Sequence[Any], *, backwards: bool, limit: int
    ) -> QuerySet[Any, Any]:
        """The first of `rows` after (or before) these values; from the beginning where there are none."""
        rows = rows.order_by(*self.order_by(backwards=backwards))
        return (rows.filter(self.after(after, backwards=backwards)) if after else rows)[:limit]


class Page(NamedTuple):
    """Rows of one page, and the addresses of its neighbours (None at an end)."""

    rows: list[Any]
    next: str | None
    previous: str | None


class Ask(Protocol):
    """A list: its rows from a place on, as `Ordering.seek` finds them."""

    def __call__(self, after: Sequence[Any], *, backwards: bool, limit: int) -> Sequence[Any]: ...


Keep = Callable[[Sequence[Any]], Sequence[Any]]
"""Of some rows, in order, those that belong on the list."""

CHUNK_GROWTH, MAX_CHUNK = 4, 2_000


def keyset_page(ask: Ask, ordering: Ordering, *, cursor: str, page_size: int, request: HttpRequest) -> Page:
    """One page of a list in `ordering`, after `cursor` (empty: the first).

    Raises `Invalid` naming `cursor`.
    """
    at = Cursor.decode(cursor, ordering.types) if cursor else None
    backwards = at is not None and at.backwards
    found = list(ask(at.values if at else (), backwards=backwards, limit=page_size + 1))
    more = len(found) > page_size
    found = found[:page_size]
    if backwards:
        found.reverse()
    has_next = bool(found) and (more if not backwards else True)
    has_previous = bool(found) and (more if backwards else at is not None)

    here = f"{request.scheme}://{request.get_host()}{request.path}"

    def address(row: Any, backwards: bool) -> str:
        params = dict(request.GET.lists()) | {"cursor": [Cursor(backwards, ordering.values(row)).encode()]}
        return f"{here}?{urlencode(params, doseq=True)}"

    return Page(
        found,
        address(found[-1], False) if has_next else None,
        address(found[0], True) if has_previous else None,
    )


def asking(rows: QuerySet[Any], ordering: Ordering, keep: Keep | None = None) -> Ask:
    """`rows` as a list to be paged.

    One query a page; with `keep`, as many as it takes to fill the page with rows that it lets through, asked
    for in growing chunks: for a condition that no index serves, and that most rows meet.
    """

    def ask(after: Sequence[Any], *, backwards: bool, limit: int) -> list[Any]:
        found: list[Any] = []
        size = limit
        while True:
            chunk = list(ordering.seek(rows, after, backwards=backwards, limit=size))
            found += keep(chunk) if keep else chunk
            if len(found) >= limit or len(chunk) < size:
                return found[:limit]
            after, size = ordering.values(chunk[-1]), min(size * CHUNK_GROWTH, MAX_CHUNK)

    return ask
