"""What the books cost at scale, while orders go on: reconcile_stock, close_month, verify_ledger, settle.

The shop has a history of 90 days that `seed_demo` wrote. Each command is a process of its own, as an operator
starts it; its memory is the most that its process ever had resident.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from tests.load.shop import Shop
from tests.support.server import ROOT

# Eight options a product: 200,000.
PRODUCTS, QUICK_PRODUCTS = 25_000, 250
SECONDS, MEGABYTES = 60, 200
# Months are closed and verified at night: only their memory is bounded.
TIMED = ("reconcile_stock", "settle")
PAUSE = 0.1
# Of what a command says, what differs from run to run: hashes and times.
_CHANGES = (r", hash [0-9a-f]{64}", r"; the last seal.*", r",? (\(|in )[\d.]+ s\)?$")


@dataclass(frozen=True, slots=True)
class Cost:
    """One command's: its words, how long it took, its memory, how it ended, what it said, and how many
    orders were placed meanwhile."""

    command: str
    seconds: float
    megabytes: float
    status: int
    said: str
    orders: int

    @property
    def met(self) -> bool:
        """It ended well and in bounded memory; what an operator waits for, in time as well."""
        in_time = self.seconds < SECONDS or not self.command.startswith(TIMED)
        return self.status == 0 and self.megabytes < MEGABYTES and in_time


def measure(shop: Shop) -> list[Cost]:
    """Close every month of the history that is over, and read everything with and without the seals."""
    today = date.today()
    this_month = today.replace(day=1)
    begin = today - timedelta(days=90)
    commands = [("reconcile_stock", "--full")]
    month = begin.replace(day=1)
    while month < this_month:
        commands.append(("close_month", f"{month:%Y-%m}"))
        month = (month + timedelta(days=32)).replace(day=1)
    commands += [("verify_ledger",), ("reconcile_stock",)]
    commands.append(("settle", "--from", (begin - timedelta(days=2)).isoformat(), "--to", today.isoformat()))
    return [_cost(shop, *command) for command in commands]


def _cost(shop: Shop, *command: str) -> Cost:
    with _orders(shop) as placed:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    last = said.strip().rpartition("\n")[2]
    for noise in _CHANGES:
        last = re.sub(noise, "", last)
    megabytes = usage.ru_maxrss / 1024
    return Cost(
        " ".join(command), round(seconds, 1), round(megabytes, 1), process.returncode, last, len(placed)
    )


@contextmanager
def _orders(shop: Shop) -> Iterator[list[None]]:
    """A light flow of orders, by a process of its own, until the block ends; yields one item for each."""
    placed: list[None] = []
    flow = subprocess.Popen(
        shop.command("books", "flow", buyers=shop.goods["shopper_ids"], options=shop.goods["basket"]),
        cwd=ROOT, env=shop.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert flow.stdout is not None
    assert flow.stdin is not None
    flow.stdout.readline()
    counter = threading.Thread(
        target=lambda: placed.extend(None for line in flow.stdout or () if line == "placed\n")
    )
    counter.start()
    try:
        yield placed
    finally:
        flow.stdin.close()
        flow.wait()
        counter.join()
    if flow.returncode:
        raise RuntimeError("the flow of orders beside the books broke")


def flow(*, buyers: list[int], options: list[int]) -> None:
    """Place an order, wait `PAUSE`, and so on until standard input is closed; a line for each."""
    from orders.placement.lanes import row_lock
    from orders.placement.requests import PlaceRequest

    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    print("ready", flush=True)
    number = 0
    while not closed.wait(PAUSE):
        lines = [(options[number % len(options)], 1)]
        row_lock(PlaceRequest.build(buyer_id=buyers[number % len(buyers)], lines=lines))
        print("placed", flush=True)
        number += 1


def main() -> None:
    """`books flow KEYWORDS`."""
    import json

    flow(**json.loads(sys.argv[2]))
