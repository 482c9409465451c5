"""May these buyers order? Asked inside the transaction, under the locks that it takes anyway.

A token is believed without asking for its account (yousinsa/auth.py). Here the account is looked at: whether
it is there and open, and how much it holds unpaid. For the latter its row is locked, after the stock rows
and in ascending order, so that two orders of one buyer, in whatever process, are counted one after the other.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from orders.errors import TooManyUnpaid
from orders.models import Order, OrderLine, Status
from orders.placement.requests import PlaceRequest
from shop.models import User
from yousinsa.errors import Unauthenticated


class AccountNotOpen(Unauthenticated):
    """401: a token that is valid, of an account that is not there, or not open any more."""

    title = _("This account is no longer open: sign in again.")


class Unpaid(NamedTuple):
    """What a buyer holds without having paid for it."""

    orders: int = 0
    units: int = 0


class Buyers:
    """The buyers of the requests of one transaction, whose stock rows are locked already."""

    def __init__(self, requests: Sequence[PlaceRequest], *, lock: bool = True) -> None:
        """`lock`: count what is unpaid, under the buyers' locks; otherwise `refusal` is not to be asked."""
        capped = {request.buyer_id for request in requests if lock and _is_capped(request)}
        self._open: dict[int, bool] = _accounts({r.buyer_id for r in requests} - capped, lock=False)
        self._open |= _accounts(capped, lock=True)
        self._unpaid = unpaid_of(capped)

    def stranger(self, request: PlaceRequest) -> Exception | None:
        """Why this buyer may not order anything at all, if so.

        An order that was promised (`admitted`) is kept even where its account was closed meanwhile.
        """
        is_open = self._open.get(request.buyer_id)
        if is_open or (is_open is not None and request.admitted):
            return None
        return AccountNotOpen()

    def refusal(self, request: PlaceRequest) -> Exception | None:
        """Why this buyer may not hold so much more, if so, after what was taken before."""
        if not _is_capped(request):
            return None
        held = self._unpaid.get(request.buyer_id, Unpaid())
        orders, units = settings.UNPAID_ORDERS, settings.UNPAID_UNITS
        if (orders and held.orders >= orders) or (units and held.units + request.units > units):
            return TooManyUnpaid(held_orders=held.orders, held_units=held.units, units=request.units)
        return None

    def take(self, request: PlaceRequest) -> None:
        """Count the request's units as held."""
        held = self._unpaid.get(request.buyer_id, Unpaid())
        self._unpaid[request.buyer_id] = Unpaid(held.orders + 1, held.units + request.units)


def _is_capped(request: PlaceRequest) -> bool:
    """Drops have limits of their own."""
    return (
        request.capped and request.drop_id is None and bool(settings.UNPAID_ORDERS or settings.UNPAID_UNITS)
    )


def _accounts(buyer_ids: Collection[int], *, lock: bool) -> dict[int, bool]:
    """Whether each of these accounts is open, by id; those that do not exist are left out."""
    if not buyer_ids:
        return {}
    marks = ", ".join(["%s"] * len(buyer_ids))
    # By hand, as all that a batch asks.
    sql = f"SELECT id, is_active, withdrawn_at FROM {User._meta.db_table} WHERE id IN ({marks}) ORDER BY id"  # noqa: S608
    if lock and connection.features.has_select_for_update:
        sql += " FOR UPDATE"
    with connection.cursor() as cursor:
        cursor.execute(sql, sorted(buyer_ids))
        return {id: bool(active) and withdrawn_at is None for id, active, withdrawn_at in cursor.fetchall()}


def unpaid_of(buyer_ids: Collection[int]) -> dict[int, Unpaid]:
    """What these buyers hold unpaid, orders of drops left out; who holds nothing is left out. One query."""
    if not buyer_ids:
        return {}
    marks = ", ".join(["%s"] * len(buyer_ids))
    orders, lines = Order._meta.db_table, OrderLine._meta.db_table
    sql = (
        f"SELECT o.buyer_id, COUNT(DISTINCT o.id), SUM(l.quantity) FROM {orders} o "  # noqa: S608
        f"JOIN {lines} l ON l.order_id = o.id "
        f"WHERE o.buyer_id IN ({marks}) AND o.status = %s AND o.drop_id IS NULL GROUP BY o.buyer_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*sorted(buyer_ids), Status.PENDING])
        return {buyer_id: Unpaid(count, int(units)) for buyer_id, count, units in cursor.fetchall()}
