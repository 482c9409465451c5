"""The shop under people's behaviour: runs locustfile.py without its web page and reads its statistics."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.load import checks
from tests.load.shop import DEMO_PASSWORD, SHOPPERS, Shop
from tests.support.server import ROOT

PEOPLE = 100
# Each signs in first, and two cores check about ten passwords a second.
ARRIVALS_A_SECOND = 4


@dataclass(frozen=True, slots=True)
class Habit:
    """One kind of request: how many, how many failed, latencies in ms."""

    name: str
    requests: int
    failures: int
    rate: float
    p50: float
    p95: float
    p99: float


def behave(shop: Shop, seconds: float) -> list[Habit]:
    """Let people come in and shop for so many seconds; returns what they did, "all" last.

    Raises `checks.Broken` when the books do not balance afterwards, RuntimeError when locust does not run.
    """
    before = checks.mark(shop.query)
    prefix = shop.directory / "people"
    command = [
        sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless",
        "--host", shop.server().url, "--users", str(PEOPLE), "--spawn-rate", str(ARRIVALS_A_SECOND),
        "--run-time", f"{seconds:.0f}s", "--stop-timeout", "10", "--csv", str(prefix), "--only-summary",
        "--exit-code-on-error", "0",
    ]  # fmt: skip
    environment = {**os.environ, "BUYERS": str(SHOPPERS), "DEMO_PASSWORD": DEMO_PASSWORD}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"locust failed:\n{done.stderr[-3000:]}")
    habits = read(Path(f"{prefix}_stats.csv").read_text())
    bought = sum(habit.requests - habit.failures for habit in habits if habit.name == "order")
    placed = checks.mark(shop.query).orders - before.orders
    if placed < bought:
        raise checks.Broken(f"people were told of {bought:,} orders, the database has {placed:,}")
    checks.assert_books_balance(shop.query, before)
    return habits


def read(statistics: str) -> list[Habit]:
    """Parse locust's `…_stats.csv`."""
    return [
        Habit(
            name="all" if row["Name"] == "Aggregated" else row["Name"],
            requests=int(row["Request Count"]),
            failures=int(row["Failure Count"]),
            rate=round(float(row["Requests/s"]), 1),
            **{f"p{p}": _number(row[f"{p}%"]) for p in (50, 95, 99)},
        )
        for row in csv.DictReader(statistics.splitlines())
    ]


def _number(text: str) -> float:
    return float(text) if text not in ("", "N/A") else 0.0
