"""Drafts: what would be done to which orders, and what cannot be, before anything is done."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from django.utils import timezone
from django.utils.translation import get_language, gettext

from orders import states
from orders.bulk.actions import ACTIONS, reason
from orders.errors import InvalidTransition
from orders.models import BulkRow, BulkRun, Order
from orders.payments import by_hand
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Forbidden, Invalid
from yousinsa.text.cleaning import UnclearText, clean_line, tidied

MAX_ORDERS = 1_000
# How long a draft that nobody begins is kept, and how many are forgotten at once.
KEPT_FOR = timedelta(days=7)
FORGOTTEN_AT_ONCE = 100

_MARKS = re.compile(r"[\s-]")
_TRACKING = re.compile(r"(?=.*[0-9])[A-Za-z0-9]{8,40}")
_ADDRESS = ("recipient", "phone", "postal_code", "address1", "address2")


class Parcel(NamedTuple):
    """A row of a shipping list: where it stands, which order, who carries it under which number."""

    place: int
    number: str
    carrier: str
    tracking_number: str


def draft_of_orders(action: str, order_ids: Collection[int], *, actor_id: int, source: str = "") -> BulkRun:
    """Draft what does not need more than the orders themselves: all actions but shipping.

    An order for which it is not possible now is in the draft with its reason. Raises `Invalid` for no
    orders and for more than `MAX_ORDERS`.
    """
    orders = Order.objects.filter(pk__in=order_ids).order_by("pk")
    rows = [
        BulkRow(place=place, number=order.number, order=order)
        for place, order in enumerate(orders.only("id", "number", "status"), start=1)
    ]
    return _draft(action, rows, actor_id=actor_id, source=source)


def draft_of_parcels(parcels: Sequence[Parcel], *, actor_id: int, source: str = "") -> BulkRun:
    """Draft the shipping of orders by number. A row that is wrong is in it with its reason, and is left out.

    Raises as `draft_of_orders`.
    """
    _check_size(len(parcels))
    numbers = {_order_number(parcel.number) for parcel in parcels}
    found = Order.objects.filter(number__in=numbers).only("id", "number", "status", *_ADDRESS)
    orders = {order.number: order for order in found}
    checked = _ShippingList(orders)
    return _draft(
        BulkRun.Action.SHIP, [checked.row(parcel) for parcel in parcels], actor_id=actor_id, source=source
    )


def again(run: BulkRun, *, actor_id: int) -> BulkRun:
    """Draft anew what a run could not do. Raises `Invalid` where there is nothing of the kind."""
    refused = run.rows.filter(state=BulkRow.State.REFUSED).order_by("place")
    source = gettext("what was refused in run %d") % run.pk
    if run.action == BulkRun.Action.SHIP:
        parcels = refused.values_list("place", "number", "carrier", "tracking_number")
        return draft_of_parcels([Parcel(*row) for row in parcels], actor_id=actor_id, source=source)
    ids = [id for id in refused.values_list("order_id", flat=True) if id is not None]
    return draft_of_orders(run.action, ids, actor_id=actor_id, source=source)


def begin(run: BulkRun, *, actor_id: int) -> bool:
    """Have a draft carried out, in the name of who drafted it; returns whether this call began it.

    A worker goes on with it whatever becomes of the page. Raises `Forbidden` for somebody else, `Conflict`
    where all of it was refused already.
    """
    if run.by_id != actor_id:
        raise Forbidden(
            gettext("Somebody else drafted it: it would be done in their name. Draft it yourself.")
        )
    if not run.rows.filter(state=BulkRow.State.WAITING).exists():
        raise Conflict(gettext("There is nothing left to do in it."))

    def work() -> bool:
        draft = _locked(run)
        if draft is None:
            return False
        draft.status, draft.begun_at = BulkRun.Status.RUNNING, timezone.now()
        draft.save(update_fields=["status", "begun_at"])
        return True

    return transact(work)


def discard(run: BulkRun) -> None:
    """Throw a draft away: nothing was done, and nothing is kept. Raises `Conflict` once it was begun."""

    def work() -> None:
        if _locked(run) is None:
            raise Conflict(gettext("It was begun: what is done stays done."))
        BulkRow.objects.filter(run_id=run.pk).delete()
        BulkRun.objects.filter(pk=run.pk).delete()

    transact(work)


def _locked(run: BulkRun) -> BulkRun | None:
    """The run, locked, as long as it is a draft."""
    now = BulkRun.objects.select_for_update().filter(pk=run.pk).first()
    return now if now is not None and now.status == BulkRun.Status.DRAFT else None


def forget_drafts() -> int:
    """Throw drafts away that nobody began; returns how many. May be repeated."""
    old = BulkRun.objects.filter(status=BulkRun.Status.DRAFT, created_at__lt=timezone.now() - KEPT_FOR)
    drafts = list(old.order_by("pk")[:FORGOTTEN_AT_ONCE])
    for draft in drafts:
        with suppress(Conflict):  # somebody begins it just now
            discard(draft)
    return len(drafts)


def _draft(action: str, rows: Sequence[BulkRow], *, actor_id: int, source: str) -> BulkRun:
    _check_size(len(rows))
    _refuse_impossible(action, rows, actor_id)

    def work() -> BulkRun:
        run = BulkRun.objects.create(
            action=action, by_id=actor_id, source=source[:100], language=get_language() or ""
        )
        for row in rows:
            row.pk, row.run = None, run
        BulkRow.objects.bulk_create(rows)
        return run

    return transact(work)


def _check_size(count: int) -> None:
    if not count:
        raise Invalid(gettext("There is no order in it."))
    if count > MAX_ORDERS:
        raise Invalid(gettext("At most %d orders at once: choose fewer.") % MAX_ORDERS)


def _refuse_impossible(action: str, rows: Sequence[BulkRow], actor_id: int) -> None:
    """What is known beforehand; when it is carried out, each order is looked at again under its lock."""
    to_status = ACTIONS[action].to_status
    ids = [row.order.pk for row in rows if row.order is not None]
    own = by_hand.refused_own(ids, actor_id=actor_id) if action == BulkRun.Action.CONFIRM else {}
    for row in rows:
        if row.order is None or row.state != BulkRow.State.WAITING:
            continue
        if not states.allowed(row.order.status, to_status):
            _refuse(row, reason(InvalidTransition(row.order.status, to_status)))
        elif row.order.pk in own:
            _refuse(row, reason(own[row.order.pk]))


def _refuse(row: BulkRow, text: str) -> None:
    row.state, row.said = BulkRow.State.REFUSED, text


class _ShippingList:
    """Parcels, one after the other: each order once, and a tracking number for one address only."""

    def __init__(self, orders: Mapping[str, Order]) -> None:
        self._orders = orders
        self._places: dict[int, int] = {}
        self._tracked: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    def row(self, parcel: Parcel) -> BulkRow:
        # What may not be in a text at all is told by `_mistake`; the row shows the rest of it.
        row = BulkRow(
            place=parcel.place,
            number=tidied(parcel.number)[:40],
            carrier=tidied(parcel.carrier)[:50],
            tracking_number=tidied(parcel.tracking_number)[:50],
        )
        row.order = self._orders.get(_order_number(parcel.number))
        if text := self._mistake(parcel, row.order):
            _refuse(row, text)
        if row.order is not None and self._places.setdefault(row.order.pk, row.place) != row.place:
            row.order = None  # the row above has it
        return row

    def _mistake(self, parcel: Parcel, order: Order | None) -> str:
        """What is wrong with a row and what to do about it; empty where nothing is."""
        if not parcel.number.strip():
            return gettext("Missing: give the order's number.")
        if order is None:
            return gettext("There is no order with this number: look at how it is written.")
        if (first := self._places.get(order.pk)) is not None:
            return gettext("The order is in row %d already: give each order once.") % first
        try:
            carrier = clean_line(parcel.carrier)
        except UnclearText as unclear:
            return str(unclear)
        if not carrier:
            return gettext("Missing: say who carries it.")
        if len(carrier) > 50:
            return gettext("The carrier's name is too long: at most %d characters.") % 50
        number = _MARKS.sub("", unicodedata.normalize("NFKC", parcel.tracking_number))
        if not _TRACKING.fullmatch(number):
            return (
                gettext(
                    "“%s” is no tracking number: 8 to 40 letters and digits. Where a spreadsheet shortened "
                    "it (6.1E+11), make its column text."
                )
                % (parcel.tracking_number.strip()[:40])
            )
        address = tuple(str(getattr(order, name)) for name in _ADDRESS)
        place, other = self._tracked.setdefault((carrier, number.upper()), (parcel.place, address))
        if address != other:
            text = gettext(
                "This tracking number is in row %d already, for another address: put one of both right."
            )
            return text % place
        return ""


def _order_number(text: str) -> str:
    """An order's number as it is stored, however it was typed or copied."""
    return unicodedata.normalize("NFKC", text).strip().lstrip("#").upper()
