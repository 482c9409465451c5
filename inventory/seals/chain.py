"""The hash chain over the movements of a stock row, and the seal over all of them.

A movement's digest is SHA-256 of its canonical encoding; a link is SHA-256 of the link before it and the
digest, so that the last one, the head, stands for every movement up to it, in their order. A seal is SHA-256
of the seal before it, its month and every balance with its head. Who changes an old row would have to change
every seal since, and somebody has written one of those down elsewhere. After S. Haber and W. S. Stornetta,
"How to time-stamp a digital document", Journal of Cryptology 3 (1991), section 5.1 (linking).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from inventory.models import Kind, Movement, SealedBalance

GENESIS = bytes(32)
NO_SEAL = GENESIS.hex()
MARK = 4
ABSENT = bytes(MARK)
"""The mark of a number that no movement had."""
# A stock row with more movements in a month is sealed by its head alone: which one was touched is not told.
MARKED = 3_000_000
# What is in memory at a time.
MOVEMENTS_AT_A_TIME = 20_000
STOCKS_AT_A_TIME = 2_000

_COLUMNS = (
    "m.stock_id, m.sequence, m.kind, m.delta_on_hand, m.delta_reserved, m.on_hand_after, m.reserved_after, "
    "m.reference, m.actor_id, m.reason, m.id, m.created_at"
)


class SealedMovement(NamedTuple):
    """A movement as it is sealed. `created_at` is UTC, without a time zone."""

    stock_id: int
    sequence: int
    kind: str
    delta_on_hand: int
    delta_reserved: int
    on_hand_after: int
    reserved_after: int
    reference: str
    actor_id: int | None
    reason: str
    id: int
    created_at: datetime

    def digest(self) -> bytes:
        """SHA-256 of the movement as a JSON array of its columns, the time in ISO 8601 to the microsecond."""
        columns = (*self[:-1], self.created_at.isoformat(timespec="microseconds"))
        return hashlib.sha256(msgspec.json.encode(columns)).digest()


@dataclass(slots=True)
class Chain:
    """The chain of one stock row over one month: begins where the month before ended, grows by `add`."""

    first: int
    head: bytes
    on_hand: int
    reserved: int
    shipped: int
    restocked: int
    last: int = field(init=False)
    movements: int = field(default=0, init=False)
    outside: list[int] = field(default_factory=list, init=False)
    """Numbers before the first, which no movement may have."""
    _marks: bytearray | None = field(default_factory=bytearray, init=False)

    def __post_init__(self) -> None:
        self.last = self.first - 1

    def add(self, movement: SealedMovement) -> None:
        """The next movement, by number."""
        if movement.sequence < self.first:
            self.outside.append(movement.sequence)
            return
        digest = movement.digest()
        self.head = hashlib.sha256(self.head + digest).digest()
        if movement.sequence - self.first >= MARKED:
            self._marks = None
        if self._marks is not None:
            self._marks += ABSENT * (movement.sequence - self.last - 1)
            self._marks += digest[:MARK] if digest[:MARK] != ABSENT else b"\0\0\0\1"
        self.last = movement.sequence
        self.movements += 1
        self.on_hand, self.reserved = movement.on_hand_after, movement.reserved_after
        if movement.kind == Kind.SHIP:
            self.shipped -= movement.delta_on_hand
        elif movement.kind == Kind.RESTOCK:
            self.restocked += movement.delta_on_hand

    @property
    def marks(self) -> bytes:
        """Four bytes a number from `first` to `last`; nothing where there are too many."""
        return bytes(self._marks or b"")


def touched(sealed: bytes, found: bytes) -> Iterator[tuple[int, str]]:
    """Which marks differ from what was sealed, as (how many numbers after the first, what happened)."""
    for place in range(0, max(len(sealed), len(found)), MARK):
        before, now = sealed[place : place + MARK] or ABSENT, found[place : place + MARK] or ABSENT
        if before != now:
            what = "added" if before == ABSENT else "missing" if now == ABSENT else "altered"
            yield place // MARK, what


class Seal:
    """The hash of a month, in the making: feed it every balance, by stock."""

    def __init__(self, month: date, previous_hash: str) -> None:
        self._hash = hashlib.sha256(f"{previous_hash} {month.isoformat()}".encode())

    def add(self, balance: SealedBalance) -> None:
        columns = (
            balance.stock_id, balance.opening_on_hand, balance.opening_reserved, balance.closing_on_hand,
            balance.closing_reserved, balance.first_sequence, balance.last_sequence, balance.shipped,
            balance.restocked, bytes(balance.head).hex(), hashlib.sha256(balance.marks).hexdigest(),
        )  # fmt: skip
        self._hash.update(msgspec.json.encode(columns))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


# --- Reading ----------------------------------------------------------------------------------------------


def balances(seal_id: int, *, after: int = 0, upto: int | None = None) -> list[SealedBalance]:
    """The next balances of a seal, by stock: all `upto` a stock, else `STOCKS_AT_A_TIME` at most."""
    rows = SealedBalance.objects.filter(seal=seal_id, stock__gt=after).order_by("stock_id")
    return list(rows[:STOCKS_AT_A_TIME] if upto is None else rows.filter(stock__lte=upto))


def groups(counts: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Neighbouring stock rows, as (first, last), with as many movements as may be in memory.

    `counts` are pairs of stock and number of movements. A row with more than that is alone.
    """
    first = last = total = 0
    for stock_id, count in counts:
        if first and total + count > MOVEMENTS_AT_A_TIME:
            yield first, last
            first = total = 0
        first, last, total = first or stock_id, stock_id, total + count
    if first:
        yield first, last


def movements(
    first: int, last: int, *, before: int, seal: int = 0, below: int = 0
) -> Iterator[SealedMovement]:
    """What moved the stock rows `first` to `last` after the seal `before` (0: ever), by stock and number.

    With `seal`, up to what that one sealed; with `below`, ids lower than this only. Of one row alone, pages.
    """
    joins, wheres, values, bounds = "", "m.stock_id BETWEEN %s AND %s", [], [first, last]
    if seal:
        joins += f" JOIN {SealedBalance._meta.db_table} s ON s.seal_id = %s AND s.stock_id = m.stock_id"
        wheres += " AND m.sequence <= s.last_sequence"
        values.append(seal)
    if before:
        joins += f" LEFT JOIN {SealedBalance._meta.db_table} p ON p.seal_id = %s AND p.stock_id = m.stock_id"
        # Numbers below 1 do not exist, unless somebody forged one.
        wheres += f" AND m.sequence > COALESCE(p.last_sequence, {-(2**62) if seal else 0})"
        values.append(before)
    elif not seal:
        wheres += " AND m.sequence > 0"
    if below:
        wheres += " AND m.id < %s"
        bounds.append(below)
    sql = f"SELECT {_COLUMNS} FROM {Movement._meta.db_table} m{joins} WHERE {wheres}"  # noqa: S608
    order = " ORDER BY m.stock_id, m.sequence"
    if first != last:
        yield from _fetch(sql + order, [*values, *bounds])
        return
    page = f" AND m.sequence > %s{order} LIMIT {MOVEMENTS_AT_A_TIME}"
    after, read = -(2**62), MOVEMENTS_AT_A_TIME
    while read == MOVEMENTS_AT_A_TIME:
        read = 0
        for movement in _fetch(sql + page, [*values, *bounds, after]):
            read, after = read + 1, movement.sequence
            yield movement


def _fetch(sql: str, values: list[Any]) -> Iterator[SealedMovement]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        yield from map(SealedMovement._make, cursor)
