"""What must hold after every run, asked of the database in SQL: no unit sold twice, no order lost.

The same rules as tests/support/invariants.py, as set-based statements, since a run leaves a hundred
thousand rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.load.wrk import Answers

Query = Callable[[str], list[tuple[Any, ...]]]

# Each finds the rows that break a rule; `{since}` is the last order's id before the run. `+ 0` keeps the
# index on stock_id out of it, which for a hot option leads to every movement of the run.
RULES = {
    "more units are promised than there are": """
        SELECT id FROM inventory_stock WHERE reserved < 0 OR reserved > on_hand""",
    "a stock row differs from its ledger": """
        SELECT s.id FROM inventory_stock s LEFT JOIN (
            SELECT stock_id, SUM(delta_on_hand) AS on_hand, SUM(delta_reserved) AS reserved, COUNT(*) AS rows_
            FROM inventory_movement GROUP BY stock_id
        ) m ON m.stock_id = s.id
        WHERE s.on_hand <> COALESCE(m.on_hand, 0) OR s.reserved <> COALESCE(m.reserved, 0)
            OR s.sequence <> COALESCE(m.rows_, 0)""",
    "a ledger has a gap, a fork, or a wrong balance": """
        SELECT id FROM (
            SELECT id, sequence, on_hand_after, reserved_after, ROW_NUMBER() OVER w AS nth,
                SUM(delta_on_hand) OVER w AS on_hand, SUM(delta_reserved) OVER w AS reserved
            FROM inventory_movement
            WINDOW w AS (PARTITION BY stock_id ORDER BY sequence)
        ) m WHERE sequence <> nth OR on_hand_after <> on_hand OR reserved_after <> reserved""",
    "a stock row promises something else than the open orders": """
        SELECT s.id FROM inventory_stock s LEFT JOIN (
            SELECT l.option_id, SUM(l.quantity) AS units
            FROM orders_order o JOIN orders_orderline l ON l.order_id = o.id
            WHERE o.status IN ('pending', 'paid') GROUP BY l.option_id
        ) held ON held.option_id = s.option_id
        WHERE s.reserved <> COALESCE(held.units, 0)""",
    "an order has no lines, or another total than its lines": """
        SELECT o.id FROM orders_order o LEFT JOIN orders_orderline l ON l.order_id = o.id
        WHERE o.id > {since} GROUP BY o.id, o.total
        HAVING o.total <> COALESCE(SUM(l.quantity * l.unit_price), -1)""",
    "an order line has no movement of its own": """
        SELECT l.id FROM orders_order o JOIN orders_orderline l ON l.order_id = o.id
        JOIN inventory_stock s ON s.option_id = l.option_id
        LEFT JOIN inventory_movement m
            ON m.reference = o.number AND m.stock_id + 0 = s.id AND m.kind = 'reserve'
        WHERE o.id > {since} AND COALESCE(m.delta_reserved, 0) <> l.quantity""",
}


class Broken(AssertionError):
    """The shop sold what it does not have, or lost an order. The message names what does not add up."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How many orders there are, and the last one's id (0: none)."""

    orders: int
    last_id: int


def mark(query: Query) -> Mark:
    ((orders, last_id),) = query("SELECT COUNT(*), COALESCE(MAX(id), 0) FROM orders_order")
    return Mark(int(orders), int(last_id))


def assert_books_balance(query: Query, since: Mark) -> None:
    """Counters, ledger and orders agree to the unit. Raises `Broken` with the rules that do not hold."""
    found = []
    for rule, sql in RULES.items():
        if rows := query(sql.format(since=since.last_id)):
            found.append(f"{rule}: {len(rows)} rows, such as id {rows[0][0]}")
    if found:
        raise Broken("; ".join(found))


def assert_every_order_counts(placed: int, answers: Answers, connections: int) -> str:
    """Orders in the database against answers 201; returns the comparison in words. Raises `Broken`.

    Exact, unless answers failed: behind a broken connection or a 503 there may be an order, or none.
    """
    told = answers.statuses.get(201, 0)
    in_doubt = sum(answers.broken.values()) + (0 if answers.drained else connections)
    in_doubt += answers.statuses.get(503, 0)
    words = f"{told:,} answers 201, {placed:,} orders"
    if placed < told:
        raise Broken(f"{words}: {told - placed:,} accepted orders are lost")
    if placed > told + in_doubt:
        raise Broken(f"{words}: nobody was told of {placed - told:,} orders")
    return words


def assert_sold_exactly(query: Query, option_id: int, units: int) -> None:
    """Each of the `units` of an option is promised to an order, and no other. Raises `Broken`."""
    rows = query(f"SELECT on_hand, reserved FROM inventory_stock WHERE option_id = {option_id}")
    ((sold,),) = query(
        f"SELECT COALESCE(SUM(quantity), 0) FROM orders_orderline WHERE option_id = {option_id}"
    )
    if rows != [(units, units)] or int(sold) != units:
        raise Broken(f"of {units} units {int(sold)} were sold, the stock row says {rows}")
