"""What a drop is, kept in each process: so that who is refused costs the database nothing.

An open drop on Redis is read once an epoch: the admission names the epoch that it knows, and Redis says
where that is an old one. Anything else is read again after REFRESH_SECONDS, however many ask.
"""

import threading
import time
from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from inventory.models import MAX_UNITS
from inventory.selectors import Offer
from orders.drops.errors import UnknownDrop
from orders.models.drops import Drop, DropItem, DropStatus, Lane
from yousinsa.db.transactions import reading

REFRESH_SECONDS = 0.25
MAX_KEPT = 1000


class Definition(NamedTuple):
    """A drop as it was when it was read. `offers` are its options at drop prices, by option id."""

    drop_id: int
    lane: str
    status: str
    opens_at: datetime
    closes_at: datetime | None
    limit: int
    rate: int | None
    epoch: int
    offers: dict[int, Offer]
    read_at: float

    @property
    def on_redis(self) -> bool:
        return Lane(self.lane).needs_redis

    def is_old(self) -> bool:
        return time.monotonic() - self.read_at > REFRESH_SECONDS


def drop_offers(drop_id: int) -> dict[int, Offer]:
    """What a drop sells, at its prices, by option id; what is left is for the lock to say. One query.

    Whether the product is listed does not matter: what was admitted is sold.
    """
    rows = (
        DropItem.objects.filter(drop_id=drop_id)
        .order_by()
        .values_list(
            "option_id", "option__sku", "option__size", "option__color", "option__product_id",
            "option__product__name", "price", "option__stock__id", "option__product__store_id",
            "option__product__store__commission_rate",
        )
    )  # fmt: skip
    return {row[0]: Offer(*row, available=MAX_UNITS) for row in rows}


def read_definition(drop_id: int) -> Definition | None:
    """A drop from the database; None where there is none. Three queries."""
    drop = Drop.objects.filter(pk=drop_id).first()
    if drop is None:
        return None
    return Definition(
        drop.pk, drop.lane, drop.status, drop.opens_at, drop.closes_at, drop.limit_per_customer,
        drop.admission_rate, drop.epoch, drop_offers(drop_id), time.monotonic(),
    )  # fmt: skip


class Definitions:
    """The drops of one process, the least recently asked for forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Definition | None, float]] = OrderedDict()
        # The last epoch that Redis named of a drop and that was looked up.
        self._epochs: dict[int, str] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def find(self, drop_id: int) -> Definition:
        """A drop as it is known here, which for an open one on Redis is enough. Raises `UnknownDrop`."""
        found, read_at = self._kept.get(drop_id, (None, 0.0))
        if found is not None and found.on_redis and found.status == DropStatus.OPEN:
            return found
        return self._fresh(drop_id, found, read_at)

    def renew(self, old: Definition, *, epoch: str = "") -> Definition:
        """The drop as it is now, give or take REFRESH_SECONDS; exactly, if Redis names a new `epoch`.

        Raises `UnknownDrop`.
        """
        if epoch and self._epochs.get(old.drop_id) != epoch:
            self._epochs[old.drop_id] = epoch
            self.forget(old.drop_id)
        found, read_at = self._kept.get(old.drop_id, (None, 0.0))
        return self._fresh(old.drop_id, found, read_at)

    def forget(self, drop_id: int) -> None:
        """This process has just changed the drop: it need not wait until it notices."""
        with self._lock:
            self._kept.pop(drop_id, None)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._epochs.clear()

    def _fresh(self, drop_id: int, found: Definition | None, read_at: float) -> Definition:
        if time.monotonic() - read_at > REFRESH_SECONDS:
            with self._reading:
                found, read_at = self._kept.get(drop_id, (None, 0.0))
                if time.monotonic() - read_at > REFRESH_SECONDS:
                    found = reading(lambda: read_definition(drop_id))
                    self._keep(drop_id, found)
        if found is None:
            raise UnknownDrop(drop_id)
        return found

    def _keep(self, drop_id: int, found: Definition | None) -> None:
        with self._lock:
            self._kept[drop_id] = (found, time.monotonic())
            self._kept.move_to_end(drop_id)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


definitions = Definitions()
