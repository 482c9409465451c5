"""Setting one stock row right, by a movement of the kind `correct`."""

from typing import NamedTuple

from django.utils.translation import gettext_lazy as _

from inventory import ledger
from inventory.locks import LockedStock, lock_stock
from inventory.models import MAX_UNITS
from inventory.reconciliation.scope import OrderBook
from inventory.reconciliation.sources import Row
from inventory.reconciliation.verdicts import Fault, Verdict, judge_all
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict

REASON_LENGTH = 200


class Correction(NamedTuple):
    """A `correct` movement that was written: its number, its deltas, and the counters as they are now."""

    stock: int
    option: int
    sequence: int
    delta_on_hand: int
    delta_reserved: int
    on_hand: int
    reserved: int
    reason: str


class Uncorrectable(Conflict):
    """409: the true figures break a rule of the stock row, so a person must decide what gives."""

    code = "stock_uncorrectable"
    title = _("This stock cannot be corrected automatically.")


def correct(stock_id: int, orders: OrderBook, *, actor_id: int | None = None) -> Correction | None:
    """Set a stock row right, in a transaction of its own, by one `correct` movement that says what was off.

    All is computed anew under the row's lock, which whatever moves this stock has to hold. Returns None
    where nothing differs (any more). Raises `Uncorrectable`, `Busy`.
    """

    def work() -> Correction | None:
        locked = lock_stock([stock_id])
        rows = [Row(r.id, r.option_id, r.on_hand, r.reserved, r.sequence) for r in locked.values()]
        for verdict in judge_all(rows, orders):
            if faults := verdict.faults():
                return _write(locked[stock_id], verdict, faults, actor_id)
        return None

    return transact(work)


def _write(row: LockedStock, verdict: Verdict, faults: list[Fault], actor_id: int | None) -> Correction:
    on_hand, reserved = verdict.on_hand, verdict.reserved
    if on_hand > MAX_UNITS:
        raise Uncorrectable(_("There would be %s units on hand, more than a stock row can count.") % on_hand)
    if reserved > on_hand:
        raise Uncorrectable(
            _(
                "Orders were promised %(reserved)s units, but the ledger adds up to %(on_hand)s. Receive "
                "%(missing)s units or cancel orders for as many, then correct again."
            )
            % {"reserved": reserved, "on_hand": on_hand, "missing": reserved - on_hand}
        )
    said = [f"{kind} was {found}, is {expected} ({cause})" for kind, expected, found, cause in faults]
    reason = "; ".join(said)[:REASON_LENGTH]
    deltas = (on_hand - verdict.ledger.on_hand, reserved - verdict.ledger.reserved)
    ledger.correct(
        row, on_hand=on_hand, reserved=reserved, deltas=deltas, sequence=verdict.ledger.last + 1,
        reason=reason, reference=verdict.number, actor_id=actor_id,
    )  # fmt: skip
    return Correction(row.id, row.option_id, row.sequence, *deltas, on_hand, reserved, reason)
