"""Lets a day pass: the shop's processes, its people, what goes wrong meanwhile, and the reckoning."""

import asyncio
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.load import checks
from tests.load.day import audit
from tests.load.day.habits import BUILT_IN, Habits
from tests.load.day.journal import Journal
from tests.load.day.owners import Owner
from tests.load.day.shoppers import DROP_UNITS_EACH, Day, Market, Shopper
from tests.load.day.wire import Timings, Wire
from tests.load.machine import cpu_seconds
from tests.load.shop import Shop
from tests.support.server import ROOT

SECONDS, QUICK_SECONDS = 240.0, 20.0
# Holds of those who never pay end during the day.
SETTINGS = {"ORDER_HOLD_MINUTES": "1"}
DROP_OPENS, DROP_UNITS = 180.0, 300
# Where something goes wrong on purpose: a worker at a third of the day, the database at two.
FAULTS = ("kill a worker", "restart the database")
# Differences are told one by one up to so many.
TOLD_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a day is, how long people think between two clicks (0: not at all), and whether a worker and
    the database are killed in it."""

    seconds: float = SECONDS
    think: float = 0.0
    faults: bool = False
    habits: Habits = BUILT_IN
    catalog: Path | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request: how many a second, how many were answered wrongly, latencies in ms, answers by
    status (0: the connection broke)."""

    name: str
    requests: int
    errors: int
    rate: float
    p50: float
    p95: float
    p99: float
    statuses: dict[str, int]


@dataclass(slots=True)
class Passed:
    """A day that is over. CPU is in ms a request; `load`: the machine's load average before and after."""

    seconds: float
    think: float
    faults: list[str]
    endpoints: list[Endpoint]
    driver_cpu_ms: float
    app_cpu_ms: float | None
    database_cpu_ms: float | None
    load: tuple[float, float]
    staff: dict[str, Any]
    words: str
    differences: list[str] = field(default_factory=list)

    def find(self, name: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)

    def in_words(self) -> str:
        """One line: how much, how fast, at which cost, and what did not agree."""
        everything = self.find("all")
        assert everything is not None
        shop = (
            ""
            if self.app_cpu_ms is None
            else f", gunicorn {self.app_cpu_ms:.2f}, MariaDB {self.database_cpu_ms:.2f}"
        )
        return (
            f"a day of {self.seconds:.0f} s: {everything.rate:,.0f} requests/s, p99 {everything.p99:,.0f} "
            f"ms, {everything.errors:,} errors; CPU ms a request: people {self.driver_cpu_ms:.3f}{shop}; "
            f"load average {self.load[0]} before, {self.load[1]} after; {len(self.differences)} differences "
            "between what people were told and the books"
        )


def pass_day(
    shop: Shop, plan: Plan, restart_database: Callable[[], None], say: Callable[[str], None]
) -> Passed:
    """Let people, owners and operators do what they do, then compare. `differences` says what was wrong.

    Raises RuntimeError where a process of the shop's does not start or fails.
    """
    goods = shop.inside(
        "day.staff", "prepare", articles=len(plan.habits.popularity),
        catalog=str(plan.catalog.resolve()) if plan.catalog else "",
    )  # fmt: skip
    server = shop.server()
    before = checks.mark(shop.query)
    load_before = os.getloadavg()[0]
    market = _open_market(shop, goods, plan)
    journal, wire = Journal(f"day-{time.time_ns():x}"), Wire(server.url)
    told, work = shop.directory / "operators-told", dict[str, Any]()
    # Where one of them is killed, its time is gone with it.
    pids = ([], []) if plan.faults else (server.workers(), [shop.database_pid])
    with ExitStack() as stack:
        stack.enter_context(_run_worker(shop))
        stack.enter_context(_operators(shop, goods["clerk"], told, plan.seconds / 2, work))
        ends = time.monotonic() + plan.seconds
        day = Day(wire=wire, journal=journal, habits=plan.habits, market=market, ends=ends, think=plan.think)
        cpu = (time.thread_time(), *map(cpu_seconds, pids))
        faults = asyncio.run(_live(day, shop, goods["owners"], plan, restart_database, say))
        spent = [b - a for a, b in zip(cpu, (time.thread_time(), *map(cpu_seconds, pids)), strict=True)]
    requests = max(1, sum(len(timings.took) for timings in wire.timings.values()))
    each = [round(seconds * 1e3 / requests, 3) for seconds in spent]
    words, differences = _reckon(shop, journal, before, told.read_text(), market.drop)
    if found := work.get("differences while it went on"):
        differences.append(f"reconcile_stock found {found} differences while orders went on")
    return Passed(
        seconds=plan.seconds, think=plan.think, faults=faults,
        endpoints=endpoints(wire.timings, plan.seconds), driver_cpu_ms=each[0],
        app_cpu_ms=None if plan.faults else each[1], database_cpu_ms=None if plan.faults else each[2],
        load=(round(load_before, 1), round(os.getloadavg()[0], 1)), staff=work, words=words,
        differences=differences,
    )  # fmt: skip


def _open_market(shop: Shop, goods: dict[str, Any], plan: Plan) -> Market:
    """What there is to be bought, the last of the assortment from a drop only."""
    *options, limited = goods["options"]
    opens_in = min(DROP_OPENS, plan.seconds / 2)
    opens = time.monotonic() + opens_in
    planned = shop.inside(
        "day.staff", "plan_drop", option=limited, units=DROP_UNITS, limit=DROP_UNITS_EACH,
        opens=(datetime.now(UTC) + timedelta(seconds=opens_in)).isoformat(),
    )  # fmt: skip
    return Market(options, goods["products"], goods["words"], planned["drop"], limited, opens)


def endpoints(found: dict[str, Timings], seconds: float) -> list[Endpoint]:
    """What was measured by kind of request, and "all" last. Rates are of what was answered in the day; what
    people finish after its end counts for everything else."""
    everything = Timings()
    for timings in found.values():
        everything.took.extend(timings.took)
        everything.statuses.update(timings.statuses)
        everything.errors += timings.errors
        everything.in_time += timings.in_time
    return [
        Endpoint(
            name, len(t.took), t.errors, round(t.in_time / seconds, 1),
            *(round(t.percentile(p), 1) for p in (50, 95, 99)),
            {str(status): count for status, count in sorted(t.statuses.items())},
        )
        for name, t in (*sorted(found.items()), ("all", everything))
    ]  # fmt: skip


# --- Meanwhile --------------------------------------------------------------------------------------------


async def _live(
    day: Day, shop: Shop, owners: list[tuple[str, int]], plan: Plan, restart: Callable[[], None],
    say: Callable[[str], None],
) -> list[str]:  # fmt: skip
    """Everybody at once, to the end; the faults that happened meanwhile."""
    dice = random.Random("zeal")
    tokens = [line.rpartition(" ")[2] for line in shop.shoppers.read_text().splitlines()]
    mean = plan.habits.orders.mean
    people: list[Shopper | Owner] = [
        Shopper(day, token, buyer, plan.habits.orders.pick(dice) / mean) for buyer, token in enumerate(tokens)
    ]
    people += [Owner(day, token, store) for token, store in owners]
    day.wire.counts_until = day.ends
    watch = asyncio.create_task(day.wire.watch())
    faults = asyncio.create_task(_go_wrong(shop, plan, restart, say))
    # Thousands of requests in flight survive every young collection, and nothing here makes cycles.
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        await asyncio.gather(*(person.live() for person in people))
        return await faults
    finally:
        watch.cancel()
        faults.cancel()
        day.wire.close()
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _go_wrong(
    shop: Shop, plan: Plan, restart: Callable[[], None], say: Callable[[str], None]
) -> list[str]:
    if not plan.faults:
        return []
    await asyncio.sleep(plan.seconds / 3)
    victim = shop.server().workers()[0]
    os.kill(victim, signal.SIGKILL)
    say(f"{FAULTS[0]}: {victim}")
    await asyncio.sleep(plan.seconds / 3)
    say(FAULTS[1])
    started = time.monotonic()
    await asyncio.to_thread(restart)
    return [FAULTS[0], f"{FAULTS[1]} ({time.monotonic() - started:.1f} s)"]


@contextmanager
def _run_worker(shop: Shop) -> Iterator[None]:
    """`run_worker` beside the day, as it is deployed."""
    with (shop.directory / "run_worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"], cwd=ROOT, env=shop.environment, stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield
    finally:
        ended = process.poll()
        if ended is None:
            process.terminate()
            process.wait()
    if ended is not None:
        raise RuntimeError(f"run_worker ended during the day with status {ended}")


@contextmanager
def _operators(
    shop: Shop, clerk: int, told: Path, reconcile_after: float, work: dict[str, Any]
) -> Iterator[None]:
    """Operators at work; `work` says afterwards what they did."""
    keywords = {"clerk": clerk, "journal": str(told), "reconcile_after": reconcile_after}
    told.touch()
    process = subprocess.Popen(
        shop.command("day.staff", "work", **keywords), cwd=ROOT, env=shop.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield
    finally:
        printed, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the operators of the day failed:\n{complaint[-3000:]}")
    work.update(json.loads(printed.splitlines()[-1]))


# --- Afterwards -------------------------------------------------------------------------------------------


def _reckon(
    shop: Shop, journal: Journal, before: checks.Mark, operators: str, drop: int
) -> tuple[str, list[str]]:
    """Settle what is open, and compare: what was compared, and what does not agree. `operators`: what they
    were told, a line each."""
    told = [(number, status) for number, status in map(str.split, operators.splitlines())]
    settled = shop.inside("day.staff", "settle", drop=drop)
    books = audit.read_orders(shop.query, before.last_id)
    found = [*settled["differences"]]
    found += audit.compare(journal, books, buyers=shop.goods["shopper_ids"], told=told)
    found += audit.compare_units(journal.listings, audit.read_units(shop.query))
    sold = sum(
        sum(line[0] for line in book.lines.values())
        for book in books.values()
        if book.drop == drop and book.status in (*audit.KEPT, "returned")
    )
    if sold > DROP_UNITS:
        found.append(f"the drop of {DROP_UNITS} units sold {sold}")
    try:
        checks.assert_books_balance(shop.query, before)
    except checks.Broken as exc:
        found.append(str(exc))
    words = f"{audit.in_words(journal, books, len(told))}; {sold} of the drop's {DROP_UNITS} units kept"
    return words, found
