"""What an order costs in processor time when orders commit in batches: `place_batch` alone, without HTTP.

tests/load/shop.py calls `main` in a process of its own.
"""

import json
import secrets
import statistics
import sys
import time
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
    return {**medians, "size": SIZE, "orders": batches * windows * SIZE}


def _window(buyers: list[int], option: int, database_pid: int, count: int) -> dict[str, float]:
    batches = [
        [
            PlaceRequest.build(
                buyer_id=buyers[(nth * SIZE + i) % len(buyers)],
                lines=[(option, 1)],
                idempotency_key=secrets.token_urlsafe(12),
            )
            for i in range(SIZE)
        ]
        for nth in range(count)
    ]
    wall, cpu, database = time.perf_counter(), time.process_time(), cpu_seconds([database_pid])
    outcomes = [place_batch(batch) for batch in batches]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    database = cpu_seconds([database_pid]) - database
    assert all(isinstance(outcome, Placed) for batch in outcomes for outcome in batch)
    placed = count * SIZE
    return {
        "python_ms": cpu / placed * 1e3,
        "database_ms": database / placed * 1e3,
        "together_ms": (cpu + database) / placed * 1e3,
        "rate": placed / wall,
    }


def main() -> None:
    """`batches measure KEYWORDS`: prints what `measure` returns as JSON."""
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
