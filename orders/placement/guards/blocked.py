"""Which rows does somebody else keep locked? Found without waiting (SKIP LOCKED).

A batch that waited too long asks this, so that only the orders that need a locked row are held back.
"""

import time
from collections.abc import Collection, Iterable
from typing import ClassVar

from django.conf import settings
from django.db import connection, models, transaction

from inventory.models import Stock
from inventory.selectors import stock_ids
from orders.placement.requests import PlaceRequest
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
    """Buyers and options that were found locked (the option's own row, or its stock row).

    A hot stock row is locked by some process's batch at most moments, so being found locked says little
    about it: after HOLD_SECONDS an option is given another try in any case.
    """

    LOOK_AGAIN_SECONDS: ClassVar[float] = 0.05
    HOLD_SECONDS: ClassVar[float] = 0.5

    def __init__(self) -> None:
        self._buyers: dict[int, float] = {}
        self._options: dict[int, float] = {}

    def concerns(self, request: PlaceRequest) -> bool:
        """True where the request needs one of these rows."""
        if not self._buyers and not self._options:
            return False
        return request.buyer_id in self._buyers or any(id in self._options for id, _ in request.lines)

    def look(self, requests: Iterable[PlaceRequest]) -> None:
        """Remember which rows of these requests are locked now."""
        requests = list(requests)
        buyers = {request.buyer_id for request in requests}
        options = {option_id for request in requests for option_id, _ in request.lines}
        now = time.monotonic()
        self._buyers |= dict.fromkeys(locked_among(User, buyers), now)
        self._options |= dict.fromkeys(self._locked_options(options), now)

    def look_again(self) -> None:
        """Forget the rows that are free now, and options that were held back for long enough."""
        patience = time.monotonic() - min(self.HOLD_SECONDS, settings.LOCK_WAIT_SECONDS)
        buyers = locked_among(User, self._buyers)
        options = self._locked_options(self._options)
        self._buyers = {id: since for id, since in self._buyers.items() if id in buyers}
        self._options = {
            id: since for id, since in self._options.items() if id in options and since > patience
        }

    @staticmethod
    def _locked_options(options: Collection[int]) -> set[int]:
        stock = stock_ids(options) if options else {}
        locked = locked_among(Stock, stock.values())
        return locked_among(Option, options) | {option for option, id in stock.items() if id in locked}
