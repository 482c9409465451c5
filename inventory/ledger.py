"""Every change of stock: the counters and their movement rows, in one transaction.

`post` is the one primitive; it runs inside the caller's transaction, after the caller locked the rows once
with `inventory.locks.lock_stock`. What a unit of an order does to the counters is in `DELTAS`. `receive`,
`receive_once`, `adjust` and `transfer` are whole use cases and open their own transaction.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from inventory.errors import InsufficientStock, InvalidMovement, Shortage, StockMoved, UnknownStock
from inventory.locks import LockedStock, lock_stock
from inventory.models import MAX_UNITS, Kind, Movement, Stock
from inventory.selectors import stock_ids
from shop.bulk import in_batches
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import transact
from yousinsa.errors import IdempotencyKeyReused
from yousinsa.http.page_cache import pages_changed

# A CASE is read from its top for every row: beyond this, more statements are faster than longer ones.
COUNTERS_AT_A_TIME = 100

_MOVEMENT_FIELDS = (
    "stock", "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after", "reserved_after",
    "reference", "actor", "reason", "created_at",
)  # fmt: skip


class Entry(NamedTuple):
    """A movement to be written: what happens to one stock row, why, who did it (None: the system) and when.

    `at` is for what happened in the past (None: now). The ledger is read as written in the order of time
    (yousinsa/db/id_ranges.py, month seals): whoever gives it must not go back behind what is there.
    """

    stock_id: int
    kind: str
    delta_on_hand: int
    delta_reserved: int
    reference: str = ""
    actor_id: int | None = None
    reason: str = ""
    at: datetime | None = None


Locked = Mapping[int, LockedStock]

DELTAS: Mapping[str, tuple[int, int]] = {
    Kind.RESERVE: (0, 1),
    Kind.RELEASE: (0, -1),
    Kind.SHIP: (-1, -1),
    Kind.RESTOCK: (1, 0),
    Kind.ADJUST: (-1, 0),
}
"""What a unit of an order does to what is on hand and to what is reserved: it is promised, its promise is
taken back, it leaves the house, it is back and for sale, it is written off.
"""


def post(locked: Locked, entries: Sequence[Entry]) -> None:
    """Write `entries` in order and move the counters of `locked` (from `lock_stock`) with them.

    Raises `InsufficientStock` where an entry would promise or take more than is available, `InvalidMovement`
    where it would take a counter out of its range; then nothing is written. The database's constraints say
    the same once more.
    """
    if not entries:
        return
    now = timezone.now()
    balances = {id: (row.on_hand, row.reserved, row.sequence) for id, row in locked.items()}
    rows = []
    for entry in entries:
        on_hand, reserved, sequence = balances[entry.stock_id]
        on_hand += entry.delta_on_hand
        reserved += entry.delta_reserved
        if not 0 <= reserved <= on_hand <= MAX_UNITS:
            raise _refusal(locked[entry.stock_id], balances[entry.stock_id], entry)
        balances[entry.stock_id] = (on_hand, reserved, sequence + 1)
        rows.append(
            (entry.stock_id, sequence + 1, entry.kind, entry.delta_on_hand, entry.delta_reserved, on_hand,
             reserved, entry.reference, entry.actor_id, entry.reason, entry.at or now)
        )  # fmt: skip
    insert_rows(Movement, _MOVEMENT_FIELDS, rows)
    touched = sorted({entry.stock_id for entry in entries})
    for ids in in_batches(touched, COUNTERS_AT_A_TIME):
        _write_counters({id: balances[id] for id in ids})
    for id in touched:
        row = locked[id]
        row.on_hand, row.reserved, row.sequence = balances[id]


def _refusal(row: LockedStock, balance: tuple[int, int, int], entry: Entry) -> Exception:
    on_hand, reserved, _sequence = balance
    available = on_hand - reserved
    wanted = entry.delta_reserved - entry.delta_on_hand
    if wanted > available:
        return InsufficientStock([{"option": row.option_id, "requested": wanted, "available": available}])
    return InvalidMovement(
        _("%(kind)s of %(on_hand)+d on hand, %(reserved)+d reserved does not fit the present %(now)s.")
        % {
            "kind": entry.kind,
            "on_hand": entry.delta_on_hand,
            "reserved": entry.delta_reserved,
            "now": f"{on_hand}/{reserved}",
        }
    )


def _write_counters(balances: Mapping[int, tuple[int, int, int]]) -> None:
    """One UPDATE for all of these rows: this is the statement that every waiting buyer waits for."""
    table = Stock._meta.db_table
    ids = list(balances)
    if len(ids) == 1:
        sql = f"UPDATE {table} SET on_hand = %s, reserved = %s, sequence = %s WHERE id = %s"  # noqa: S608
        values: list[Any] = [*balances[ids[0]], ids[0]]
    else:
        cases = " ".join(["WHEN %s THEN %s"] * len(ids))
        marks = ", ".join(["%s"] * len(ids))
        sql = (
            f"UPDATE {table} SET on_hand = CASE id {cases} END, reserved = CASE id {cases} END, "  # noqa: S608
            f"sequence = CASE id {cases} END WHERE id IN ({marks})"
        )
        values = [v for i in range(3) for id in ids for v in (id, balances[id][i])] + ids
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
    pages_changed()


def reserve_conditionally(
    units: Sequence[tuple[int, int, int]], *, reference: str, actor_id: int | None = None
) -> None:
    """Promise units to an order without locking first: check and promise are one UPDATE a stock row.

    `units` are (stock id, option id, units), ascending by stock id: the rows stay locked from their UPDATE
    to the end of the caller's transaction, in the order that everybody locks in. Raises `InsufficientStock`
    naming every line that cannot be had; the caller's transaction must then be rolled back.
    """
    now = timezone.now()
    rows, short = [], []
    for stock_id, option_id, n in units:
        taken = Stock.objects.filter(pk=stock_id, on_hand__gte=F("reserved") + n).update(
            reserved=F("reserved") + n, sequence=F("sequence") + 1
        )
        on_hand, reserved, sequence = Stock.objects.values_list("on_hand", "reserved", "sequence").get(
            pk=stock_id
        )
        if not taken:
            short.append(Shortage(option=option_id, requested=n, available=on_hand - reserved))
        rows.append((stock_id, sequence, Kind.RESERVE, 0, n, on_hand, reserved, reference, actor_id, "", now))
    if short:
        raise InsufficientStock(short)
    insert_rows(Movement, _MOVEMENT_FIELDS, rows)
    pages_changed()


def correct(
    row: LockedStock,
    *,
    on_hand: int,
    reserved: int,
    deltas: tuple[int, int],
    sequence: int,
    reason: str,
    reference: str = "",
    actor_id: int | None = None,
) -> None:
    """Set a locked row's counters to what reconciliation found to be true, with the movement that says why.

    `deltas` (on hand, reserved) is what the ledger lacks to add up to them: (0, 0) where a counter had moved
    alone. `sequence` is the number after the ledger's last. Unlike `post` this starts from neither counter
    nor last balance, as either may be what is wrong. Raises `InvalidMovement` without a reason or for
    counters that their rules forbid.
    """
    if not reason.strip():
        raise InvalidMovement(errors={"reason": _("Say why the stock is corrected.")})
    if not 0 <= reserved <= on_hand <= MAX_UNITS:
        raise InvalidMovement(
            _("%(on_hand)s on hand with %(reserved)s reserved cannot be.")
            % {"on_hand": on_hand, "reserved": reserved}
        )
    balance = (*deltas, on_hand, reserved)
    movement = (row.id, sequence, Kind.CORRECT, *balance, reference, actor_id, reason, timezone.now())
    insert_rows(Movement, _MOVEMENT_FIELDS, [movement])
    _write_counters({row.id: (on_hand, reserved, sequence)})
    row.on_hand, row.reserved, row.sequence = on_hand, reserved, sequence


def receive(
    *,
    option_id: int,
    quantity: int,
    actor_id: int | None = None,
    reference: str = "",
    reason: str = "",
    seen: int | None = None,
) -> LockedStock:
    """Units arrived: opens its own transaction; returns the stock row as it is after.

    `seen`: the row's sequence that the decision was made on, if it should only be done at that.
    Raises `InvalidMovement` for a quantity below 1 or beyond the counter, `UnknownStock`, `StockMoved`,
    `Busy`.
    """
    if quantity < 1:
        raise InvalidMovement(errors={"quantity": _("Must be at least 1.")})

    def work() -> LockedStock:
        locked = _lock_option(option_id)
        (row,) = locked.values()
        _check_seen(row, seen)
        _check_room(row, quantity)
        post(locked, [Entry(row.id, Kind.RECEIVE, quantity, 0, reference, actor_id, reason)])
        return row

    return transact(work)


def receive_once(
    *, option_id: int, quantity: int, actor_id: int, key: str, reason: str = ""
) -> tuple[LockedStock, bool]:
    """`receive` under a key: whatever is sent again by the same actor for the same option is done once.

    Returns the stock row as it is after, and whether the units had been received before. Looked up under the
    row's lock; should that ever be missed, two movements would have one sequence number, which the database
    refuses. Raises as `receive`, and `IdempotencyKeyReused` for another quantity or reason.
    """
    digest = hashlib.blake2b(f"{actor_id}:{key}".encode(), digest_size=16).hexdigest()
    reference = f"RECEIPT-{digest.upper()}"
    if quantity < 1:
        raise InvalidMovement(errors={"quantity": _("Must be at least 1.")})

    def work() -> tuple[LockedStock, bool]:
        locked = _lock_option(option_id)
        (row,) = locked.values()
        before = Movement.objects.filter(reference=reference, stock=row.id, kind=Kind.RECEIVE)
        if received := before.values_list("delta_on_hand", "reason").first():
            if received != (quantity, reason):
                raise IdempotencyKeyReused
            return row, True
        _check_room(row, quantity)
        post(locked, [Entry(row.id, Kind.RECEIVE, quantity, 0, reference, actor_id, reason)])
        return row, False

    return transact(work)


def _check_room(row: LockedStock, quantity: int) -> None:
    if row.on_hand + quantity > MAX_UNITS:
        said = _("More than %d on hand cannot be recorded.") % MAX_UNITS
        raise InvalidMovement(errors={"quantity": said})


def adjust(
    *, option_id: int, delta: int, reason: str, actor_id: int | None = None, seen: int | None = None
) -> LockedStock:
    """Correct what is on hand by `delta` (never an absolute figure); opens its own transaction.

    `seen`: as in `receive`. Raises `InvalidMovement` for a delta of 0 or a missing reason,
    `InsufficientStock` where it would take promised units, `UnknownStock`, `StockMoved`, `Busy`.
    """
    if delta == 0:
        raise InvalidMovement(errors={"delta": _("Must not be 0.")})
    if not reason.strip():
        raise InvalidMovement(errors={"reason": _("Say why the stock is adjusted.")})

    def work() -> LockedStock:
        locked = _lock_option(option_id)
        (row,) = locked.values()
        _check_seen(row, seen)
        post(locked, [Entry(row.id, Kind.ADJUST, delta, 0, "", actor_id, reason.strip())])
        return row

    return transact(work)


def transfer(
    *,
    from_option_id: int,
    to_option_id: int,
    quantity: int,
    reason: str,
    actor_id: int | None = None,
    seen: tuple[int, int] | None = None,
) -> tuple[LockedStock, LockedStock]:
    """Move units that are not promised from one option to another; opens its own transaction.

    Two `adjust` movements with one reference, which no other movement has. `seen`: the sequences of both
    rows, as in `receive`. Returns both rows as they are after.
    Raises `InvalidMovement` (quantity below 1, no reason, the same option twice, beyond the counter),
    `InsufficientStock` where fewer are available, `UnknownStock`, `StockMoved`, `Busy`.
    """
    if quantity < 1:
        raise InvalidMovement(errors={"quantity": _("Must be at least 1.")})
    if not reason.strip():
        raise InvalidMovement(errors={"reason": _("Say why the units are moved.")})
    if from_option_id == to_option_id:
        raise InvalidMovement(errors={"to": _("Choose another option: these units are there already.")})
    reference = f"MOVE-{secrets.token_hex(8).upper()}"

    def work() -> tuple[LockedStock, LockedStock]:
        ids = stock_ids([from_option_id, to_option_id])
        for option_id in (from_option_id, to_option_id):
            if option_id not in ids:
                raise UnknownStock(errors={"option": _("Option %s is not kept in stock.") % option_id})
        locked = lock_stock(ids.values())
        source, target = locked[ids[from_option_id]], locked[ids[to_option_id]]
        if seen is not None:
            _check_seen(source, seen[0])
            _check_seen(target, seen[1])
        moved = [(source.id, -quantity), (target.id, quantity)]
        entries = [
            Entry(id, Kind.ADJUST, delta, 0, reference, actor_id, reason.strip()) for id, delta in moved
        ]
        post(locked, entries)
        return source, target

    return transact(work)


def _check_seen(row: LockedStock, seen: int | None) -> None:
    if seen is not None and row.sequence != seen:
        raise StockMoved(row)


def _lock_option(option_id: int) -> Locked:
    stock_id = Stock.objects.filter(option_id=option_id).values_list("id", flat=True).first()
    if stock_id is None:
        raise UnknownStock(errors={"option": _("Option %s is not kept in stock.") % option_id})
    return lock_stock([stock_id])


def open_stock(option_ids: Sequence[int]) -> dict[int, int]:
    """Create the stock rows of new options, empty; returns stock ids by option id.

    Inside the caller's transaction, which created the options: nobody else can see or lock them yet.
    """
    insert_rows(Stock, ("option",), [(id,) for id in option_ids])
    return dict(Stock.objects.filter(option_id__in=option_ids).values_list("option_id", "id"))


def receive_new(
    quantities: Mapping[int, int], *, actor_id: int | None = None, reference: str = "", reason: str = ""
) -> None:
    """First receipts of options that this transaction created: stock id -> units; 0 writes no movement."""
    entries = [
        Entry(id, Kind.RECEIVE, n, 0, reference, actor_id, reason) for id, n in quantities.items() if n
    ]
    post(lock_stock(e.stock_id for e in entries), entries)
