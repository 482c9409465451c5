"""Which rows does somebody else keep locked? Found without waiting (SKIP LOCKED).

A batch that waited too long asks this, so that only the requests that need a locked row are held back.
"""

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import ClassVar

from django.conf import settings
from django.db import connection, models, transaction

from inventory.models import Stock
from inventory.selectors import stock_ids
from orders.engine.requests import Request, Row
from orders.models import DropItem, Order
from shop.models import Option, User
from yousinsa.errors import Busy


class LockedOut(Busy):
    """503: a row that this order needs stayed locked. Certainly not placed."""


def locked_among(model: type[models.Model], ids: Collection[int]) -> set[int]:
    """Those rows, by primary key, that somebody holds exclusively at this moment.

    A shared lock is what a foreign key's check takes, so other orders' checks do not count.
    """
    if not ids or connection.vendor != "mysql":
        return set()
    ordered = sorted(ids)
    marks = ", ".join(["%s"] * len(ordered))
    # Through another index that covers the query, only that index would be looked at.
    table = f"{model._meta.db_table} FORCE INDEX (PRIMARY)"
    select = f"SELECT id FROM {table} WHERE id IN ({marks})"  # noqa: S608
    share = "LOCK IN SHARE MODE" if connection.mysql_is_mariadb else "FOR SHARE"  # type: ignore[attr-defined]
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(f"{select} {share} SKIP LOCKED", ordered)
        free = {row[0] for row in cursor.fetchall()}
        cursor.execute(select, ordered)
        return {row[0] for row in cursor.fetchall()} - free


class BlockedRows:
    """Rows that were found locked (of an option: its own row, or its stock row; of a drop: any of its items).

    A hot row is locked by some process's batch at most moments, so being found locked says little about it:
    after HOLD_SECONDS it is given another try in any case. Not so a buyer: nobody holds that row for long.
    """

    LOOK_AGAIN_SECONDS: ClassVar[float] = 0.05
    HOLD_SECONDS: ClassVar[float] = 0.5

    def __init__(self) -> None:
        self._since: dict[Row, float] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def concerns(self, request: Request) -> bool:
        """True where the request needs one of these rows."""
        return bool(self._since) and any(row in self._since for row in request.needs)

    def look(self, requests: Iterable[Request]) -> None:
        """Remember which rows of these requests are locked now."""
        rows = {row for request in requests for row in request.needs}
        self._since |= dict.fromkeys(_locked(rows), time.monotonic())

    def look_again(self) -> None:
        """Forget the rows that are free now, and those that were held back for long enough."""
        patience = time.monotonic() - min(self.HOLD_SECONDS, settings.LOCK_WAIT_SECONDS)
        locked = _locked(self._since)
        self._since = {
            row: since
            for row, since in self._since.items()
            if row in locked and (since > patience or row[0] == "buyer")
        }


def _locked(rows: Collection[Row]) -> set[Row]:
    """Those of the rows that somebody holds at this moment."""
    ids: dict[str, set[int]] = {}
    for kind, id in rows:
        ids.setdefault(kind, set()).add(id)
    return {(kind, id) for kind, wanted in ids.items() for id in _LOCKED_OF[kind](wanted)}


def _locked_options(options: Collection[int]) -> set[int]:
    stock = stock_ids(options) if options else {}
    locked = locked_among(Stock, stock.values())
    return locked_among(Option, options) | {option for option, id in stock.items() if id in locked}


def _locked_drops(drops: Collection[int]) -> set[int]:
    items = dict(DropItem.objects.filter(drop_id__in=drops).values_list("id", "drop_id")) if drops else {}
    return {items[id] for id in locked_among(DropItem, items)}


_LOCKED_OF: dict[str, Callable[[Collection[int]], set[int]]] = {
    "buyer": partial(locked_among, User),
    "option": _locked_options,
    "order": partial(locked_among, Order),
    "drop": _locked_drops,
}
