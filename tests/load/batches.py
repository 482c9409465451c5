"""What an order costs in processor time when orders commit in batches: `place_batch` alone, without HTTP.

tests/load/shop.py calls `main` in a process of its own.
"""

import json
import logging
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from orders.placement.batch import place_batch
from orders.placement.requests import Placed, PlaceRequest
from tests.load.machine import cpu_seconds

SIZE = 64


def measure(
    *, buyers: list[int], option: int, database_pid: int, batches: int, windows: int
) -> dict[str, Any]:
    """Medians over `windows` of `batches` batches each: CPU ms an order in Python and in MariaDB, orders/s.

    The requests are made beforehand: reading one is the endpoint's work, not the transaction's.
    """
    _window(buyers, option, database_pid, max(2, batches // 10))
    found = [_window(buyers, option, database_pid, batches) for _ in range(windows)]
    medians = {name: statistics.median(window[name] for window in found) for name in found[0]}
    poisoned = {
        kind: statistics.median(
            _window(buyers, option, database_pid, batches, poison)["rate"] for _ in range(windows)
        )
        / medians["rate"]
        for kind, poison in POISON.items()
    }
    return {**medians, "size": SIZE, "orders": batches * windows * SIZE, "poisoned": poisoned}


# One buyer who tries all the time beside the others, and never comes to an order: the account is gone; what
# is asked for breaks a constraint of the database.
POISON: dict[str, Callable[[list[int], int], PlaceRequest]] = {
    "gone": lambda buyers, option: PlaceRequest.build(buyer_id=2**40, lines=[(option, 1)]),
    "refused by the database": lambda buyers, option: PlaceRequest.build(
        buyer_id=buyers[-1], lines=[(option, 0)]
    ),
}


def _window(
    buyers: list[int],
    option: int,
    database_pid: int,
    count: int,
    poison: Callable[[list[int], int], PlaceRequest] | None = None,
) -> dict[str, float]:
    """`poison`: one such request is in each batch, besides the others."""
    batches = [
        [
            PlaceRequest.build(
                buyer_id=buyers[(nth * SIZE + i) % (len(buyers) - 1)],
                lines=[(option, 1)],
                idempotency_key=secrets.token_urlsafe(12),
            )
            for i in range(SIZE)
        ]
        for nth in range(count)
    ]
    wall, cpu, database = time.perf_counter(), time.process_time(), cpu_seconds([database_pid])
    for batch in batches if poison else ():
        batch.insert(SIZE // 2, poison(buyers, option))
    outcomes = [place_batch(batch) for batch in batches]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    database = cpu_seconds([database_pid]) - database
    placed = sum(isinstance(outcome, Placed) for batch in outcomes for outcome in batch)
    assert placed == count * SIZE
    return {
        "python_ms": cpu / placed * 1e3,
        "database_ms": database / placed * 1e3,
        "together_ms": (cpu + database) / placed * 1e3,
        "rate": placed / wall,
    }


def main() -> None:
    """`batches measure KEYWORDS`: prints what `measure` returns as JSON."""
    logging.disable()  # what is refused is told with a traceback
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
