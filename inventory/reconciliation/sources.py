"""What reconciliation reads of the books: stock rows, the ledger in sum, and one row's movements in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connection, transaction

from inventory.models import MonthSeal, Movement, SealedBalance
from yousinsa.db.id_ranges import SLACK, first_id_at
from yousinsa.months import month_end


@contextmanager
def snapshot() -> Iterator[None]:
    """All reads inside see one moment of the database; no lock is taken and nobody waits.

    By hand, as Django offers neither: MariaDB's connections are READ COMMITTED, where each statement sees a
    moment of its own, and on SQLite `atomic` would take the write lock. Raises RuntimeError inside another
    transaction, whose moment may have been an earlier one.
    """
    if connection.in_atomic_block:
        with transaction.atomic(durable=True):  # refuses, but for a test that is rolled back as a whole
            yield
        return
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # the next transaction only
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        else:
            cursor.execute("BEGIN DEFERRED")
    try:
        with _reading_many_rows():
            yield
    finally:
        connection.rollback()


_MANY_ROWS = (
    "SET optimizer_switch='mrr=on,mrr_sort_keys=on,mrr_cost_based=off', mrr_buffer_size=16777216, "
    "in_predicate_conversion_threshold=0"
)
_AS_BEFORE = (
    "SET optimizer_switch=DEFAULT, mrr_buffer_size=DEFAULT, in_predicate_conversion_threshold=DEFAULT"
)


@contextmanager
def _reading_many_rows() -> Iterator[None]:
    """Have MariaDB read the rows that an index names in the order in which they lie in the table.

    It otherwise goes from page to page in the order of the index; where the tables are larger than its
    memory, this halves the work and the reads. And a long list of ids is no table to be joined.
    """
    if not getattr(connection, "mysql_is_mariadb", False):
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(_MANY_ROWS)
        try:
            yield
        finally:
            cursor.execute(_AS_BEFORE)


class Row(NamedTuple):
    """A stock row as it was read."""

    id: int
    option_id: int
    on_hand: int
    reserved: int
    sequence: int


class Sums(NamedTuple):
    """What the movements of one stock row add up to.

    The last four are for `whole`: deltas times their movement's number, and balances.
    """

    movements: int = 0
    last: int = 0
    on_hand: int = 0
    reserved: int = 0
    shipped: int = 0
    restocked: int = 0
    corrected: int = 0
    on_hand_moments: int = 0
    reserved_moments: int = 0
    on_hand_balances: int = 0
    reserved_balances: int = 0

    @property
    def whole(self) -> bool:
        """False where a movement is missing or a balance does not follow from the one before.

        Of n movements without a gap, the delta of number k is part of n + 1 - k balances: so much must all
        balances add up to.
        """
        n = self.last
        return self.movements == n and (self.on_hand_balances, self.reserved_balances) == (
            (n + 1) * self.on_hand - self.on_hand_moments,
            (n + 1) * self.reserved - self.reserved_moments,
        )

    @classmethod
    def sealed(cls, last: int, on_hand: int, reserved: int, shipped: int, restocked: int) -> Sums:
        """What a sealed balance stands for: movements that are whole and were never corrected.

        With no moments its balances must add up to n + 1 times the last; `whole` then holds of the sum with
        any later movements exactly where it holds of those.
        """
        balances = ((last + 1) * on_hand, (last + 1) * reserved)
        return cls(last, last, on_hand, reserved, shipped, restocked, 0, 0, 0, *balances)

    def and_then(self, later: Sums) -> Sums:
        """These and later movements together."""
        both = [mine + theirs for mine, theirs in zip(self, later, strict=True)]
        both[1] = later.last
        return Sums(*both)


_SUMS = f"""
SELECT m.stock_id, COUNT(*), MAX(m.sequence), SUM(delta_on_hand), SUM(delta_reserved),
    -SUM(CASE WHEN kind = 'ship' THEN delta_on_hand ELSE 0 END),
    SUM(CASE WHEN kind = 'restock' THEN delta_on_hand ELSE 0 END),
    SUM(CASE WHEN kind = 'correct' THEN delta_on_hand ELSE 0 END),
    SUM(sequence * 1.0 * delta_on_hand), SUM(sequence * 1.0 * delta_reserved),
    SUM(on_hand_after), SUM(reserved_after)
FROM {Movement._meta.db_table} m {{sealed}} WHERE m.stock_id {{stocks}} {{since}} GROUP BY m.stock_id
"""  # noqa: S608
_SEALED = f"LEFT JOIN {SealedBalance._meta.db_table} b ON b.seal_id = %s AND b.stock_id = m.stock_id"
_SINCE = "AND m.id >= %s AND m.sequence > COALESCE(b.last_sequence, 0)"


class Start(NamedTuple):
    """Where the first look at the ledger begins: a seal, and the first movement's id that may follow it."""

    seal_id: int
    first_id: int


def last_seal() -> Start | None:
    """Where the last sealed month ends; None where no month was closed yet."""
    seal = MonthSeal.objects.filter(sealed_at__isnull=False).order_by("-month").first()
    if seal is None:
        return None
    return Start(seal.pk, first_id_at(Movement, month_end(seal.month) - SLACK))


def read_sums(stock_ids: Sequence[int], start: Start | None = None) -> dict[int, Sums]:
    """What the ledger adds up to, by stock id; rows without any movement are left out.

    One query; from a seal on two, what was sealed being taken as it was then.
    """
    if not stock_ids:
        return {}
    stocks, values = _among(stock_ids)
    if start is None:
        return _added_up(_SUMS.format(sealed="", stocks=stocks, since=""), values)
    sql = _SUMS.format(sealed=_SEALED, stocks=stocks, since=_SINCE)
    since = _added_up(sql, [start.seal_id, *values, start.first_id])
    return _sealed_sums(start, stock_ids, since)


def _among(stock_ids: Sequence[int]) -> tuple[str, list[int]]:
    first, last = min(stock_ids), max(stock_ids)
    # A list of thousands of ids would be looked up one by one, a range is read in the order of the table.
    if last - first < 2 * len(stock_ids):
        return "BETWEEN %s AND %s", [first, last]
    return f"IN ({', '.join(['%s'] * len(stock_ids))})", list(stock_ids)


def _added_up(sql: str, values: list[int]) -> dict[int, Sums]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return {row[0]: Sums(*map(int, row[1:])) for row in cursor.fetchall()}


def _sealed_sums(start: Start, stock_ids: Sequence[int], since: dict[int, Sums]) -> dict[int, Sums]:
    balances = SealedBalance.objects.filter(
        seal=start.seal_id, stock__gte=min(stock_ids), stock__lte=max(stock_ids)
    ).order_by()
    fields = ("stock_id", "last_sequence", "closing_on_hand", "closing_reserved", "shipped", "restocked")
    for stock_id, *sealed in balances.values_list(*fields).iterator(chunk_size=5_000):
        before = Sums.sealed(*sealed)
        since[stock_id] = before.and_then(since[stock_id]) if stock_id in since else before
    return since


class Chain(NamedTuple):
    """How the movements of one stock row follow from each other: where they do not, and what they end with.

    From `closed` on, the fields are movement numbers (0: none): the last `correct`, the last after a gap,
    the first and the last whose balance does not follow, and the last receipt or adjustment among these.
    `ordered` is what all reserve, release and ship movements did to `reserved`.
    """

    ordered: int = 0
    last_on_hand: int = 0
    last_reserved: int = 0
    closed: int = 0
    gap: int = 0
    first_break: int = 0
    last_break: int = 0
    altered: int = 0

    @property
    def has_gap(self) -> bool:
        return self.gap > self.closed

    @property
    def has_break(self) -> bool:
        return self.last_break > self.closed


_OFF = "on_hand_after <> on_hand_before + delta_on_hand"
_BROKEN = f"({_OFF} OR reserved_after <> reserved_before + delta_reserved)"
_CHAIN = f"""
SELECT
    SUM(CASE WHEN kind IN ('reserve', 'release', 'ship') THEN delta_reserved ELSE 0 END),
    SUM(CASE WHEN sequence_after IS NULL THEN on_hand_after ELSE 0 END),
    SUM(CASE WHEN sequence_after IS NULL THEN reserved_after ELSE 0 END),
    MAX(CASE WHEN kind = 'correct' THEN sequence END),
    MAX(CASE WHEN sequence <> sequence_before + 1 THEN sequence END),
    MIN(CASE WHEN {_BROKEN} THEN sequence END),
    MAX(CASE WHEN {_BROKEN} THEN sequence END),
    MAX(CASE WHEN {_OFF} AND kind IN ('receive', 'adjust') THEN sequence END)
FROM (
    SELECT sequence, kind, delta_on_hand, delta_reserved, on_hand_after, reserved_after,
        COALESCE(LAG(sequence) OVER line, 0) AS sequence_before,
        COALESCE(LAG(on_hand_after) OVER line, 0) AS on_hand_before,
        COALESCE(LAG(reserved_after) OVER line, 0) AS reserved_before,
        LEAD(sequence) OVER line AS sequence_after
    FROM {Movement._meta.db_table} WHERE stock_id = %s
    WINDOW line AS (ORDER BY sequence)
) chained
"""  # noqa: S608


def read_chain(stock_id: int) -> Chain:
    """Every movement of one stock row against the one before it: where the sums alone do not tell."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, [stock_id])
        return Chain(*(int(value or 0) for value in cursor.fetchone()))
